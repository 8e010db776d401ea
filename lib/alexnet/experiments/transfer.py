"""Transfer from ImageNet to CIFAR-10: how accurate a network gets on few labelled images, from its layers or without.

Every approach trains torchvision's AlexNet at 224 pixels, from ImageNet's convolutional layers or from nothing. Its
learning rates are chosen on the validation split, by a seed that does not count. Each seed draws its own labelled
images, the same for all approaches, and the test set is used once a run. Accuracies are in percent, on the test set.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..data import weights
from ..errors import SpecError
from ..records.record import RunRecord
from ..records.specs import ImageSpec, NetSpec, RecipeSpec, RunSpec, TransferSpec
from ..runs.planning import Planned, Runs, check_profile
from ..statistics.accuracy import Accuracy, accuracy, paired_gain
from ..statistics.effects import Effect
from ..training.prepared import WEIGHTS
from .study import Block, Cell, Rates, Search, Study, rate_of_grid

Sizes = dict[int, list[RunRecord]]  # number of labelled images -> runs, one a seed
RANDOM, SHORT = "random start", "random start, first runs"  # with as many steps as its rivals, or mostly fewer
CLAIM = "transfer"
TITLE = "Transfer from ImageNet to CIFAR-10"
ALL = 45000  # images of the training split
PUBLISHED_HIDDEN = (4096, 1024)  # the classifier 9216-4096-1024-10

IMAGES = ImageSpec(scaling="imagenet", resize=224, flip=True)
NET = NetSpec(
    variant="torchvision", towers="full", norm="none", init="kaiming", bias_ones=False, hidden=PUBLISHED_HIDDEN
)
RECIPE = RecipeSpec(schedule="one-cycle")
CLASSIFIER = RunSpec(images=IMAGES, net=NET, recipe=RECIPE, transfer=TransferSpec())
PROBE = CLASSIFIER.with_(net={"hidden": (), "dropout": 0.0})
FINE_TUNING = CLASSIFIER.with_(transfer={"unfreeze": (1, 2), "rate_ratio": 10.0})
RANDOM_START = RunSpec(images=IMAGES, net=NET, recipe=RECIPE)


@dataclass(frozen=True)
class Budget:
    """What a run of some number of labelled images may cost."""

    batch_size: int
    epochs: int
    seeds: int
    valid_size: int | None = None  # validation images an epoch ends with; None: all that are held back


@dataclass(frozen=True)
class First:
    """Runs that were made first, before the plan was changed in sight of their test accuracy."""

    rate: float
    budgets: dict[int, Budget]


@dataclass(frozen=True)
class Approach:
    """One way to train, and how much of it for each number of labelled images."""

    name: str
    spec: RunSpec
    rates: tuple[float, ...]  # learning rates at the top of the cycle that are tried
    grid_sizes: tuple[int, ...]  # labelled images with which they are
    budgets: dict[int, Budget]
    first: First | None = None

    def run(self, size: int, rate: float, budget: Budget | None = None) -> RunSpec:
        """The run with `size` labelled images, within the budget of that size unless another is given."""
        budget = budget or self.budgets[size]
        images = {} if size == ALL else {"train_size": size, "subset": "own"}
        images["valid_size"] = budget.valid_size
        recipe = {"learning_rate": rate, "batch_size": budget.batch_size, "epochs": budget.epochs}
        return self.spec.with_(images=images, recipe=recipe)

    def study(self) -> Study:
        """The grids, and the runs of each size, the largest number of images first.

        The learning rate is that of the largest number of images with which rates were tried that is not above the
        size; with fewer images than any, that of the smallest.
        """
        rates = Rates(self.rates)
        grids = {
            size: Search(CLAIM, str(size), self.name, self.run(size, self.rates[0]), rates) for size in self.grid_sizes
        }

        def block(size: int) -> Block:
            of = max((tried for tried in grids if tried <= size), default=min(grids))
            cell = Cell(CLAIM, str(size), self.name, self.run(size, self.rates[0]), grids[of])
            return Block((cell,), self.budgets[size].seeds, self._replaced(size))

        return Study(tuple(map(block, sorted(self.budgets, reverse=True))), tuple(grids.values()))

    def _replaced(self, size: int) -> tuple[Planned, ...]:
        """The runs with `size` images that were made first and do not count; nobody has to make them again."""
        if self.first is None or size not in self.first.budgets:
            return ()
        budget = self.first.budgets[size]
        specs = (self.run(size, self.first.rate, budget).with_(seed=seed) for seed in range(budget.seeds))
        return tuple(Planned(CLAIM, str(size), "replaced", self.name, spec.seed, spec) for spec in specs)


def budgets(*rows: tuple[int, ...]) -> dict[int, Budget]:
    """Budgets from rows of labelled images, batch size, epochs, seeds, and validation images if not all are read."""
    return {size: Budget(*rest) for size, *rest in rows}


# An epoch ends with all 5,000 validation images, which for a few labelled images is nearly all it costs when layers are
# trained. So small sizes take small batches, and not more epochs than their accuracy still gains from.
FROZEN_CPU = budgets(
    (100, 10, 20, 5), (300, 20, 20, 5), (1000, 50, 20, 5), (3000, 100, 15, 3), (10000, 125, 10, 3), (ALL, 250, 6, 3)
)  # fmt: skip
RANDOM_CPU = budgets(  # at least as many steps as the frozen approaches take
    (100, 10, 20, 3, 1000), (300, 20, 20, 3, 1000), (1000, 50, 20, 3, 1000), (3000, 100, 15, 3, 1000),
    (10000, 125, 10, 1, 1000), (ALL, 125, 4, 1)
)  # fmt: skip
SHORT_CPU = budgets(
    (100, 10, 4, 3), (300, 20, 4, 3), (1000, 50, 4, 3), (3000, 100, 4, 1), (10000, 125, 3, 1), (ALL, 125, 4, 1)
)  # fmt: skip
FINE_TUNING_CPU = budgets((3000, 50, 3, 1), (ALL, 125, 4, 1))
GPU = budgets(
    (100, 10, 20, 5), (300, 20, 20, 5), (1000, 50, 20, 5), (3000, 100, 20, 5), (10000, 125, 20, 5), (ALL, 125, 15, 5)
)  # fmt: skip

PROBE_RATES, CLASSIFIER_RATES = (0.0003, 0.001, 0.003, 0.01, 0.03), (0.001, 0.002, 0.005, 0.01, 0.02, 0.04)
FINE_TUNING_RATES, RANDOM_RATES = (0.003, 0.01, 0.02, 0.03), (0.005, 0.01, 0.02)
FROZEN_SIZES = (100, 300, 1000, 3000)  # rates are tried with each, since with features a run takes minutes at most

# The first plan tried rates with 3,000 images alone and had three epochs where there are four now. It was changed when
# its test accuracies were known: the new classifier diverged with 100 images. Its runs are shown and do not count.
FEW = {size: FROZEN_CPU[size] for size in (100, 300, 1000)}
PROBE_FIRST, CLASSIFIER_FIRST = First(0.01, FEW), First(0.02, FROZEN_CPU)
ALL_FIRST = First(0.01, budgets((ALL, 125, 3, 1)))

APPROACHES: dict[str, tuple[Approach, ...]] = {
    "smoke": (),  # features alone would take longer than the profile has
    "cpu": (
        Approach("linear probe", PROBE, PROBE_RATES, FROZEN_SIZES, FROZEN_CPU, PROBE_FIRST),
        Approach("new classifier", CLASSIFIER, CLASSIFIER_RATES, FROZEN_SIZES, FROZEN_CPU, CLASSIFIER_FIRST),
        Approach("fine-tuning", FINE_TUNING, FINE_TUNING_RATES, (3000,), FINE_TUNING_CPU, ALL_FIRST),
        Approach(SHORT, RANDOM_START, RANDOM_RATES, (1000,), SHORT_CPU, ALL_FIRST),
        Approach(RANDOM, RANDOM_START, RANDOM_RATES, FROZEN_SIZES, RANDOM_CPU),
    ),
    "gpu": (
        Approach("linear probe", PROBE, PROBE_RATES, FROZEN_SIZES, GPU),
        Approach("new classifier", CLASSIFIER, CLASSIFIER_RATES, FROZEN_SIZES, GPU),
        Approach("fine-tuning", FINE_TUNING, (0.001, *FINE_TUNING_RATES), FROZEN_SIZES, GPU),
        Approach(RANDOM, RANDOM_START, RANDOM_RATES, (1000, 10000), GPU),
    ),
}


# ---- what comes out -------------------------------------------------------------------------------------------------


def approaches(profile: str) -> tuple[Approach, ...]:
    """The approaches of a profile; none where it has no transfer runs."""
    return APPROACHES[check_profile(profile)]


def by_size(runs: Runs, stage: str = "seeds") -> dict[str, Sizes]:
    """Approach -> number of images -> the records of the runs that count (or of another stage), in the order of seeds.

    `runs` may hold those of other claims, which are left out.
    """
    counted = [(p, record) for p, record in runs if p.claim == CLAIM and p.stage == stage and record is not None]
    found: dict[str, Sizes] = {planned.arm: {} for planned, _ in counted}
    for planned, record in sorted(counted, key=lambda pair: (int(pair[0].condition), pair[0].seed)):
        found[planned.arm].setdefault(int(planned.condition), []).append(record)
    return found


def curves(runs: Runs) -> dict[str, dict[int, Accuracy]]:
    """Approach -> number of images -> test accuracy."""
    return {
        name: {size: value for size, records in sizes.items() if (value := accuracy(records)) is not None}
        for name, sizes in by_size(runs).items()
    }


def steps(record: RunRecord) -> int:
    """Updates of the weights that a run made."""
    return record.final.epochs * (record.spec.training_images // record.spec.recipe.batch_size)


def _frozen_steps(runs: Runs) -> dict[int, int]:
    """Number of images -> the most steps that a run with frozen layers made."""
    records = [r for sizes in by_size(runs).values() for found in sizes.values() for r in found if r.spec.frozen]
    return {r.spec.training_images: steps(r) for r in sorted(records, key=steps)}


def comparable(runs: Runs, start: str = RANDOM) -> Sizes:
    """Runs of a random start (`RANDOM` has rates of its own) that made at least as many steps as the approaches with
    frozen layers did with as many images. Others would show what few steps cost, not what ImageNet's layers are worth.
    """
    rivals, sizes = _frozen_steps(runs), by_size(runs).get(start, {})
    return {size: sizes[size] for size in sorted(sizes) if min(map(steps, sizes[size])) >= rivals.get(size, 0)}


def waiting(runs: Runs) -> tuple[list[int], list[int]]:
    """Numbers of labelled images of the frozen approaches with which no random start can be compared yet: since none
    made as many steps, and since the one that did has no rate of its own."""
    lacking, first = sorted(_frozen_steps(runs).keys() - comparable(runs).keys()), comparable(runs, SHORT)
    return [size for size in lacking if size not in first], [size for size in lacking if size in first]


def gain(runs: Runs, approach: str, size: int) -> Effect | None:
    """Points of test accuracy over a random start, the seeds paired: they share their labelled images."""
    return paired_gain(by_size(runs).get(approach, {}).get(size, []), comparable(runs).get(size, []))


def start_curve(runs: Runs) -> dict[int, Accuracy]:
    """Number of labelled images -> test accuracy of a random start that can be compared."""
    return {size: value for size, records in comparable(runs).items() if (value := accuracy(records)) is not None}


def images_needed(curve: Mapping[int, Accuracy], target: float) -> tuple[float, str]:
    """How many labelled images a curve needs for an accuracy: the number, and it in words.

    Between the measured sizes the accuracy is taken to be linear in the logarithm of the number of images. The number
    is infinite where the curve never comes there, and the smallest size where it starts above.
    """
    sizes = sorted(curve)
    if not sizes:
        raise SpecError("A curve without points needs no images.")
    if curve[sizes[0]].mean >= target:
        return sizes[0], f"{sizes[0]:,} or fewer"
    for low, high in itertools.pairwise(sizes):
        below, above = curve[low].mean, curve[high].mean
        if above >= target:
            number = low * (high / low) ** ((target - below) / (above - below))
            return number, f"{float(f'{number:.2g}'):,.0f}"
    return math.inf, f"more than {sizes[-1]:,}"


def at(curve: Mapping[int, Accuracy], images: float) -> float | None:
    """The accuracy at a number of images, linear in its logarithm between the sizes measured; None beyond them."""
    sizes = sorted(curve)
    if not sizes or not sizes[0] <= images <= sizes[-1]:
        return None
    return float(np.interp(math.log(images), np.log(sizes), [curve[size].mean for size in sizes]))


def best(runs: Runs, size: int = ALL) -> tuple[str, Accuracy] | None:
    """The approach that does best on validation images, with its test accuracy."""
    known = {name: sizes[size] for name, sizes in by_size(runs).items() if sizes.get(size)}
    if not known:
        return None
    name = min(known, key=lambda name: statistics.fmean(record.final.valid_error for record in known[name]))
    value = accuracy(known[name])
    return None if value is None else (name, value)


# ---- tables ----------------------------------------------------------------------------------------------------------


def sources() -> pd.DataFrame:
    """The chain of sources of the weights, in the order in which they are asked."""
    found = weights.IMAGENET
    rows = [
        ("a file that the user names (LOCAL=)", "; ".join(map(str, found.layouts))),
        ("torchvision's weights API", "AlexNet_Weights.IMAGENET1K_V1, cached or downloaded"),
        ("the package registry", f"{found.package}, {found.package_size}"),
    ]
    return pd.DataFrame(rows, columns=["source", "what it is"])


def pinned() -> pd.DataFrame:
    """The arrays that every source has to give, to the last bit."""
    return pd.DataFrame(
        {"array": name, "shape": "×".join(map(str, one.shape)), "sha256": f"{one.sha256[:16]}…"}
        for name, one in weights.IMAGENET.arrays.items()
    )


def described(profile: str) -> pd.DataFrame:
    """What each approach starts from and trains, and how much of it."""
    return pd.DataFrame(
        {
            "approach": approach.name,
            "convolutional layers": _convolutions(approach),
            "classifier": "-".join(map(str, (9216, *approach.spec.net.hidden, approach.spec.net.classes))),
            "learning rates tried": ", ".join(f"{rate:g}" for rate in approach.rates),
            "with images": ", ".join(f"{size:,}" for size in approach.grid_sizes),
            "labelled images": ", ".join(f"{size:,}" for size in approach.budgets),
            "batches of": ", ".join(f"{budget.batch_size}" for budget in approach.budgets.values()),
            "epochs": ", ".join(f"{budget.epochs}" for budget in approach.budgets.values()),
            "seeds": ", ".join(f"{budget.seeds}" for budget in approach.budgets.values()),
        }
        for approach in approaches(profile)
    )


def _convolutions(approach: Approach) -> str:
    given = approach.spec.transfer
    if given is None:
        return "from random weights"
    if given.frozen:
        return "ImageNet's, frozen"
    upper, lower = given.unfreeze
    return (
        f"ImageNet's; layers 3 to 5 are trained after epoch {upper}, 1 and 2 after epoch {lower}, "
        f"at 1/{given.rate_ratio:g} of the classifier's rate at the bottom"
    )


def rates(runs: Runs) -> pd.DataFrame:
    """A line an approach and number of images: the validation accuracy at every learning rate, and the chosen one."""
    found = _tried(runs)
    every = sorted({rate for cell in found.values() for rate in cell})
    lines = []
    for (name, size), cell in found.items():
        line: dict[str, str | None] = {"approach": name, "labelled images": f"{size:,}"}
        line |= {f"{rate:g}": _validation(cell.get(rate)) for rate in every}
        chosen = rate_of_grid(cell.values())
        lines.append(line | {"chosen": None if chosen is None else f"{chosen:g}"})
    return pd.DataFrame(lines)


def at_the_edge(runs: Runs) -> list[str]:
    """Where the chosen rate is the lowest or the highest that was tried: a better one may lie beyond."""
    found: dict[str, list[str]] = {}
    for (name, size), cell in _tried(runs).items():
        if rate_of_grid(cell.values()) in (min(cell), max(cell)):
            found.setdefault(name, []).append(f"{size:,}")
    return [f"{name} ({', '.join(sizes)} images)" for name, sizes in found.items()]


def _tried(runs: Runs) -> dict[tuple[str, int], dict[float, RunRecord | None]]:
    """(approach, number of images) -> learning rate -> the run that tried it, where at least one has a record."""
    found: dict[tuple[str, int], dict[float, RunRecord | None]] = {}
    for planned, record in runs:
        if planned.claim == CLAIM and planned.stage == "grid":
            cell = found.setdefault((planned.arm, int(planned.condition)), {})
            cell[planned.spec.recipe.learning_rate] = record
    return {place: cell for place, cell in found.items() if any(cell.values())}


def _validation(record: RunRecord | None) -> str | None:
    if record is None:
        return None
    return "diverged" if record.final.outcome == "diverged" else f"{1 - record.final.valid_error:.1%}"


def overview(runs: Runs, size: int = ALL) -> pd.DataFrame:
    """A line an approach at one number of images: validation and test accuracy, the gain, the minutes of a run."""
    gains = {name: gain(runs, name, size) for name in by_size(runs) if name not in (RANDOM, SHORT)}
    return pd.DataFrame(
        {
            "approach": name,
            "epochs": f"{records[0].final.epochs}",
            "validation accuracy": f"{1 - statistics.fmean(r.final.valid_error for r in records):.1%}",
            "test accuracy": value.text,
            "points over a random start": over.text if (over := gains.get(name)) else None,
            "minutes a run": f"{statistics.fmean(r.wall_seconds for r in records) / 60:.1f}",
            "threads": " or ".join(sorted({str(r.environment.threads) for r in records})),
        }
        for name, sizes in by_size(runs).items()
        if (records := sizes.get(size)) and (value := accuracy(records))
    )


def replaced(runs: Runs) -> pd.DataFrame:
    """The runs that were made first and do not count, a line an approach and number of images, beside those that do."""
    counted = by_size(runs)
    lines = []
    for name, sizes in by_size(runs, "replaced").items():
        for size, records in reversed(sizes.items()):
            line: dict[str, object] = {"approach": name, "labelled images": f"{size:,}"}
            for word, of in (("first", records), ("now", counted.get(name, {}).get(size, []))):
                line |= {
                    f"{word}: learning rate": f"{of[0].spec.recipe.learning_rate:g}" if of else None,
                    f"{word}: epochs": f"{of[0].spec.recipe.epochs}" if of else None,
                    f"{word}: test accuracy": _told(of),
                }
            lines.append(line)
    return pd.DataFrame(lines)


def grid(runs: Runs) -> pd.DataFrame:
    """Test accuracy of every approach (columns) for every number of labelled images (rows).

    A cell says how many of its runs diverged; they count with the accuracy they were left with.
    """
    found = by_size(runs)
    sizes = sorted({size for cells in found.values() for size in cells})
    columns: dict[str, list[str | None]] = {"labelled images": [f"{size:,}" for size in sizes]}
    for name, cells in found.items():
        columns[name] = [_told(cells.get(size, [])) for size in sizes]
    return pd.DataFrame(columns)


def _told(records: Sequence[RunRecord]) -> str | None:
    value = accuracy(records) if records else None
    lost = _lost(records)
    return None if value is None else value.text + (f", {lost} diverged" if lost else "")


def _lost(records: Sequence[RunRecord]) -> int:
    return sum(record.final.outcome == "diverged" for record in records)


def lines(runs: Runs) -> list[list[str]]:
    """The same as text, the head first; empty without runs. Without the random start's first runs, which made too few
    steps to stand beside the others without a word."""
    table = grid(runs).drop(columns=SHORT, errors="ignore").fillna("–")
    return [list(table.columns), *table.to_numpy().tolist()] if len(table) else []


def diverged(runs: Runs) -> dict[tuple[str, int], int]:
    """How many runs diverged, by approach and number of images; nothing where none did."""
    counts = {(name, size): _lost(records) for name, sizes in by_size(runs).items() for size, records in sizes.items()}
    return {cell: count for cell, count in counts.items() if count}


def worth(runs: Runs) -> pd.DataFrame:
    """What transfer is worth in labelled images: how many a random start needs for the same accuracy."""
    start, lines = start_curve(runs), []
    for name, curve in curves(runs).items():
        for size, value in curve.items() if start and name not in (RANDOM, SHORT) else ():
            number, words = images_needed(start, value.mean)
            times = "–" if number == min(start) else f"{'> ' * math.isinf(number)}{min(number, max(start)) / size:.1f}"
            lines.append(
                {
                    "approach": name,
                    "labelled images": f"{size:,}",
                    "test accuracy": f"{value.mean:.1f}%",
                    "a random start needs": words,
                    "times as many": times,
                }
            )
    return pd.DataFrame(lines)


def missing(runs: Runs) -> int:
    """How many runs that can be named now have no record."""
    return sum(record is None for _, record in runs)


def foreign(runs: Runs) -> list[str]:
    """Records of runs from ImageNet's weights that were made with other weights than the pinned ones."""
    used = {r.hash: r.data.hashes.get(WEIGHTS) for _, r in runs if r and r.spec.transfer is not None}
    return sorted(name for name, digest in used.items() if digest != weights.pinned_sha256())
