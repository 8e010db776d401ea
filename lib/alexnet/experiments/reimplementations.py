"""The five published reimplementations: their protocols, our runs of them, and what comes out beside theirs.

What their descriptions leave open or contradict is named in `published.toml`, with what is taken here. 5,000 training
images are held back for validation, and 10,000 for the two rows that held so many back. Every row's protocol is planned
in full. Until those runs are made, a share of images and epochs stands for the four networks at 224 or 227 pixels; such
rows are partial, and say so wherever they are shown.

A row's own protocol may choose its epoch by test images, or keep dropout on in validation. Its figure is read from
what a run wrote down after each epoch; the run itself chooses nothing by it. The clean figure is the test accuracy
after the last epoch of a recipe that was fixed before; where a setting is chosen, validation images choose it.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import SpecError
from ..paper.claims import Reimplementation, claims, published
from ..records.record import RunRecord
from ..records.specs import ImageSpec, NetSpec, RecipeSpec, RunSpec, StageSpec
from ..records.store import Store
from ..runs.planning import A_FIRST_LOOK, check_profile
from ..statistics.accuracy import Accuracy, accuracy
from ..statistics.verdicts import Verdict
from ..training.prepared import dataset_of, split_for
from ..training.recipe import handed_over
from .starts import TRAINED
from .study import CONSTANT, Block, Cell, Change, Study

# ---- protocols -------------------------------------------------------------------------------------------------------

# Ungrouped, with torch's own response normalisation, which divides alpha by the window size; dropout after fc6 and fc7.
UNGROUPED = NetSpec(towers="full", norm="mean", init="torch")

NETWORKS: dict[str, NetSpec] = {
    "mnist-alexnet": UNGROUPED,
    "cifar-bn": NetSpec(name="cifar-bn", norm="none", dropout=0.3, init="torch"),
    "cifar-towers": NetSpec(norm="mean", init="torch"),
    "cifar-transfer": NetSpec(variant="torchvision", towers="full", norm="none", hidden=(4096, 1024), init="torch"),
    "cifar-lrn": UNGROUPED.model_copy(update={"dropout_at": "inputs"}),
}

# Two pixels of border around 224 stand for the padding that conv1 needs there to give the paper's 55x55 maps.
UP_TO_224 = ImageSpec(scaling="standardised", resize=224, padding=2, flip=True)

PROTOCOLS: dict[str, RunSpec] = {
    "mnist-alexnet": RunSpec(
        dataset="mnist",
        images=ImageSpec(scaling="standardised", resize=227),
        net=NETWORKS["mnist-alexnet"],
        recipe=RecipeSpec(optimiser="adam", learning_rate=1e-4, weight_decay=0.0, batch_size=64, epochs=5),
        measured="epochs",
    ),
    "cifar-bn": RunSpec(
        images=ImageSpec(valid_size=10_000, scaling="unit-range"),
        net=NETWORKS["cifar-bn"],
        recipe=RecipeSpec(momentum=0.0, weight_decay=0.0, batch_size=32, epochs=50),
        measured="epochs",
    ),
    "cifar-towers": RunSpec(
        images=UP_TO_224,
        net=NETWORKS["cifar-towers"],
        recipe=RecipeSpec(epochs=10, schedule="steps", drops=(5, 8)),
        measured="epochs",
    ),
    "cifar-transfer": RunSpec(
        images=ImageSpec(scaling="standardised", resize=224, crops="resized", flip=True),
        net=NETWORKS["cifar-transfer"],
        recipe=RecipeSpec(
            weight_decay=0.0,
            batch_size=256,
            epochs=80,
            second=StageSpec(after=40, learning_rate=0.01, last_layer=True),
        ),
        measured="epochs",
    ),
    "cifar-lrn": RunSpec(
        images=ImageSpec(valid_size=10_000, scaling="unit-range", resize=227),
        net=NETWORKS["cifar-lrn"],
        recipe=RecipeSpec(
            optimiser="adam",
            learning_rate=1e-4,
            weight_decay=0.0,
            batch_size=100,
            epochs=80,
            second=StageSpec(after=40, learning_rate=5e-4),
        ),
        measured="epochs",
    ),
}

# The two rows that held 10,000 images back, as they were run at first: 40,000 training images, the project's own 5,000
# for validation.
HELD_BACK_FEWER = {
    row: PROTOCOLS[row].with_(images={"train_size": 40_000, "valid_size": None}) for row in ("cifar-bn", "cifar-lrn")
}

# The variant of cifar-towers for images of 32 pixels, whose accuracy and time its table leaves open: the same network
# with 5x5 kernels of stride 1 in the first layer, on the images as they are.
TOWERS_32 = PROTOCOLS["cifar-towers"].with_(images={"resize": None, "padding": 0}, net={"form": "32"})

# The paper's recipe (section 5): what a network can honestly gain under it. Crops, reflections and colour noise are
# section 4.1's, as far as they suit the images.
PAPER_RECIPE = {
    "optimiser": "sgd",
    "learning_rate": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "batch_size": 128,
    "schedule": "steps",
    "second": None,
}


def with_paper_recipe(row: RunSpec, epochs: int, drops: tuple[int, ...]) -> RunSpec:
    """A row's network on all training images by the paper's recipe."""
    plain: dict[str, Any] = {
        "train_size": None, "valid_size": None, "padding": 0, "crops": "random", "flip": row.dataset != "mnist",
    }  # fmt: skip
    if row.images.resize is None:
        images = plain | {"padding": 4, "crop": 32}
    else:
        images = plain | {"resize": 256, "crop": 224 if row.net.variant == "torchvision" else 227}
    if row.dataset != "mnist":
        images |= {"scaling": "standardised", "colour": 0.1}
    return row.with_(images=images, recipe=PAPER_RECIPE | {"epochs": epochs, "drops": drops})


# ---- our runs --------------------------------------------------------------------------------------------------------

PUBLISHED = "published"  # the arm that follows a row's own protocol, in full
HELD_BACK_5000 = "published-5000"  # the same with 5,000 validation images, where the row held 10,000 back
SHARE = "share"  # the same on a share of its images and epochs, which stands for it while it is not run in full
PUBLISHED_32 = "published-32"  # the same for cifar-towers' variant for 32 pixels
PAPER_START = "paper-start"  # the paper's initial weights instead of the author's, on a share of the images
PAPER_STARTS = {  # the same in full, and for the variant for 32 pixels -> the arm from the author's start beside it
    PAPER_START: SHARE,
    f"{PAPER_START}-full": PUBLISHED,
    f"{PAPER_START}-32": PUBLISHED_32,
    f"{PAPER_START}-32-full": PUBLISHED_32,
    f"{PAPER_START}-zeros-full": PUBLISHED,
    f"{PAPER_START}-zeros-32-full": PUBLISHED_32,
}
TOWERS, BN = "cifar-towers", "cifar-bn"
CLEAN = "clean"  # arms of which one is chosen, on validation images


@dataclass(frozen=True)
class Arm:
    """One way to train a row's network."""

    row: str
    name: str
    title: str  # what it is, in words
    spec: RunSpec
    full: RunSpec | None = None  # what `spec` is a share of
    seeds: int | None = None  # where the experiment's number shall not hold

    @property
    def part(self) -> float:
        """Training images that it sees over all epochs, as a share of those that its whole protocol sees."""
        return 1.0 if self.full is None else self.spec.images_seen / self.full.images_seen

    @property
    def partial(self) -> bool:
        """Whether it sees fewer images than the protocol it stands for."""
        return self.part < 1

    @property
    def share(self) -> str:
        """How much of the protocol is run, in words."""
        if not self.partial or self.full is None:
            return "in full"
        some, every = self.spec.training_images, self.full.training_images
        epochs = f"{self.spec.recipe.epochs} of {self.full.recipe.epochs} epochs"
        return f"partial: {some:,} of {every:,} training images, {epochs}, {self.part:.1%} of the images seen"


def share(row: str, images: int, epochs: int, **recipe: Any) -> Arm:
    """A row's protocol on some of its images, for some of its epochs; the test set is used once, at the end."""
    full = HELD_BACK_FEWER.get(row, PROTOCOLS[row])
    spec = full.with_(images={"train_size": images}, recipe={"epochs": epochs, **recipe}, measured="splits")
    return Arm(row, SHARE, "as published, on a share of the images", spec, full)


def in_full(row: str, seeds: int | None = None, stop_after: int | None = None) -> Arm:
    """A row's protocol in full; a stage ends after `stop_after` epochs without a better validation error."""
    spec = PROTOCOLS[row].with_(recipe={"stop_after": stop_after})
    return Arm(row, PUBLISHED, "as published", spec, PROTOCOLS[row], seeds)


VARIANT = Arm(TOWERS, PUBLISHED_32, "as published, on 32 pixels", TOWERS_32, TOWERS_32)
SHARE_224 = share(TOWERS, 8_000, 10)
STANDING = (PUBLISHED, HELD_BACK_5000, SHARE, PUBLISHED_32)  # for a row's own protocol, the first that is recorded
PATIENCE = 8  # epochs without a better validation error after which a tail is cut


def remedies(base: RunSpec, drops: tuple[int, ...], suffix: str = "") -> Iterator[Arm]:
    """cifar-bn's open question, how to stop the overfitting: the paper's remedies, each alone, and all together."""
    changes: dict[str, tuple[str, Change]] = {
        "crops-flips": ("random crops and reflections", {"images": {"padding": 4, "crop": 32, "flip": True}}),
        "weight-decay": ("weight decay 0.0005", {"recipe": {"weight_decay": 0.0005}}),
        "drops": ("two drops of the learning rate", {"recipe": {"schedule": "steps", "drops": drops}}),
    }
    together = base
    for name, (title, change) in changes.items():
        yield Arm(BN, f"{name}{suffix}", f"with {title}", base.with_(**change))
        together = together.with_(**change)
    yield Arm(BN, f"together{suffix}", "with all three", together)


def paper(row: str, epochs: int, drops: tuple[int, ...], variant: RunSpec | None = None) -> Arm:
    """A row's network, or its variant for 32 pixels, by the paper's whole recipe."""
    name, on = (f"-32-{epochs}", f", on 32 pixels, {epochs} epochs") if variant else ("", "")
    spec = with_paper_recipe(variant or PROTOCOLS[row], epochs, drops)
    return Arm(row, f"paper-recipe{name}", f"by the paper's recipe{on}", spec)


def paper_start(base: RunSpec, name: str, title: str, ones: bool = True, **recipe: Any) -> Arm:
    """cifar-towers' open question, whether the paper's initialisation really fails there: its weights, with its biases
    of one, or with zeros."""
    net = {"init": "paper", "bias_ones": ones}
    return Arm(TOWERS, name, title, base.with_(net=net, recipe={**CONSTANT, **recipe}))


def paper_starts_in_full() -> Iterator[Arm]:
    """The same on all images, for the protocol's ten epochs, or until it has trained."""
    starts = {"": "the paper's initialisation", "-zeros": "the paper's initial weights and biases of zero"}
    for suffix, start in starts.items():
        title = f"with {start}, on all images"
        for base, size, of in ((PROTOCOLS[TOWERS], "", ""), (TOWERS_32, "-32", " of 32 pixels")):
            name = f"{PAPER_START}{suffix}{size}-full"
            yield paper_start(base, name, f"{title}{of}", not suffix, stop_at_train_error=TRAINED)


def fresh_rates() -> tuple[Arm, ...]:
    """cifar-lrn's two learning rates, each with a network of its own; one is chosen on validation images."""
    full = PROTOCOLS["cifar-lrn"]
    second = full.recipe.second
    rates = (full.recipe.learning_rate, second.learning_rate) if second else ()
    return tuple(
        Arm("cifar-lrn", f"{CLEAN}-{rate:g}", f"a fresh network, learning rate {rate:g}",
            full.with_(recipe={"learning_rate": rate, "epochs": 40, "second": None}))
        for rate in rates
    )  # fmt: skip


def small(full: RunSpec, name: str, row: str, **changes: Any) -> Arm:
    """A first look: an epoch on 1,000 images with a narrow network."""
    narrow = full.with_(images={"train_size": 1000, **A_FIRST_LOOK}, recipe={"epochs": 1, **CONSTANT}, **changes)
    return Arm(row, name, f"as published, {narrow.net.width:g} times the width", narrow, full)


ARMS: dict[str, tuple[Arm, ...]] = {
    "smoke": (
        small(PROTOCOLS[BN], PUBLISHED, BN, net={"width": 0.25}),
        small(TOWERS_32, PUBLISHED_32, TOWERS, net={"width": 0.125}, measured="splits"),
    ),
    "cpu": (
        in_full("mnist-alexnet"),
        in_full(TOWERS, seeds=3),
        in_full("cifar-transfer", stop_after=PATIENCE),
        in_full("cifar-lrn", stop_after=PATIENCE),
        in_full(BN, seeds=3),
        VARIANT,
        Arm(BN, HELD_BACK_5000, "as published, with 5,000 validation images", HELD_BACK_FEWER[BN]),
        SHARE_224,
        Arm(TOWERS, "share-32", "on 32 pixels, the same share",
            TOWERS_32.with_(images={"train_size": 8_000}, measured="splits"), TOWERS_32),
        share("mnist-alexnet", 12_000, 5),
        share("cifar-lrn", 8_000, 7, second=None),
        share("cifar-transfer", 8_000, 12, second={"after": 9, "learning_rate": 0.01, "last_layer": True}),
        *remedies(HELD_BACK_FEWER[BN].with_(recipe={"epochs": 8}), (5, 7)),
        *remedies(PROTOCOLS[BN], (35, 45), "-full"),
        paper(BN, 16, (11, 14)),
        paper_start(SHARE_224.spec, PAPER_START, "with the paper's initialisation", epochs=2),
        paper_start(TOWERS_32.with_(measured="splits"), f"{PAPER_START}-32",
                    "with the paper's initialisation, on 32 pixels", epochs=2),
        *paper_starts_in_full(),
        paper(TOWERS, 8, (5, 7), TOWERS_32),
        paper(TOWERS, 30, (20, 26), TOWERS_32),
    ),
    "gpu": (
        *(in_full(row) for row in PROTOCOLS),
        VARIANT,
        *fresh_rates(),
        *remedies(PROTOCOLS[BN], (35, 45), "-full"),
        paper(BN, 90, (60, 80)),
        *paper_starts_in_full(),
        paper("mnist-alexnet", 12, (8, 10)),
        paper(TOWERS, 60, (40, 52)),
        paper(TOWERS, 60, (40, 52), TOWERS_32),
        paper("cifar-transfer", 60, (40, 52)),
        paper("cifar-lrn", 60, (40, 52)),
    ),
}  # fmt: skip


SEEDS = {"smoke": 1, "cpu": 1, "gpu": 3}  # an arm, unless it has its own number


def study(profile: str) -> Study:
    """The runs of a profile's arms; none depends on another."""
    return Study(
        tuple(
            Block((Cell(arm.row, arm.name, arm.name, arm.spec),), arm.seeds or SEEDS[profile]) for arm in ARMS[profile]
        )
    )


# The longest trained first layers of two towers (section 6.1) are those of cifar-towers, run in full.
FIRST_LAYERS = Study((Block((Cell("kernel-towers", PUBLISHED, "network", PROTOCOLS[TOWERS]),), seeds=3),))


def arms_of(profile: str, row: str) -> list[Arm]:
    """A profile's arms of a row, its own protocol first. Raises `SpecError` for a row without runs."""
    arms = ARMS[check_profile(profile)]
    found = sorted((arm for arm in arms if arm.row == row), key=lambda arm: arm.name != PUBLISHED)
    if not found:
        known = ", ".join(sorted({arm.row for arm in arms}))
        raise SpecError(f"No runs are planned for {row!r}; those with runs: {known}.")
    return found


# ---- figures ---------------------------------------------------------------------------------------------------------

MARGIN = 1.0  # points below a published accuracy within which ours agrees with it

BEST_TEST = "the best test accuracy of all epochs"
NOISY_VALIDATION = "the best validation accuracy of all epochs, with dropout on"
LAST_TEST = "the test accuracy after the last epoch"
MEASURED_AS = {  # what each row's headline figure is, under its own protocol
    "mnist-alexnet": LAST_TEST,
    "cifar-bn": LAST_TEST,
    "cifar-towers": BEST_TEST,
    "cifar-transfer": BEST_TEST,
    "cifar-lrn": NOISY_VALIDATION,
}


@dataclass(frozen=True)
class ArmResult:
    """An arm and its records, seed by seed."""

    arm: Arm
    records: tuple[RunRecord, ...]
    planned: int

    @property
    def share(self) -> str:
        """How much of the protocol was run, in words, and where and why a tail was cut."""
        one = "a run " * (len(self.records) > 1)
        return "; ".join(f"{one}{cut}" for cut in filter(None, map(_cut, self.records))) or self.arm.share

    @property
    def extent(self) -> str:
        """The same in few words."""
        if self.arm.partial:
            return f"partial: {self.arm.part:.1%} of the images seen"
        return "in full" if self.share == self.arm.share else "in full, but for its tail"

    @property
    def command(self) -> str:
        """What makes its missing records."""
        return f"make runs CLAIM={self.arm.row}"


def _cut(record: RunRecord) -> str:
    """Where and why a run ended whose stages end for want of a better validation error; nothing if it ran in full."""
    recipe, rows = record.spec.recipe, [{"valid_error": epoch.valid_error} for epoch in record.history]
    if recipe.stop_after is None or recipe.second is None or len(rows) == recipe.epochs:
        return ""
    first, planned = handed_over(recipe, rows), recipe.second.after
    if first is None or record.final.outcome == "diverged":
        why = "it diverged"
    else:
        both = first < planned and len(rows) - first < recipe.epochs - planned
        stage = "each" if both else "the first" if first < planned else "the second"
        why = f"{stage} stage was cut when its validation error had not become better for {recipe.stop_after}"
    return f"ended after {len(rows)} of {recipe.epochs} epochs: {why}"


Found = Mapping[str, Sequence[ArmResult]]  # a row's id -> its arms


def results(profile: str, store: Store, seeds: int | None = None) -> dict[str, list[ArmResult]]:
    """Row to its arms with their records, its own protocol first; the rows that the profile runs."""

    def result(arm: Arm) -> ArmResult:
        count = seeds or arm.seeds or SEEDS[profile]
        found = [store.get(arm.spec.with_(seed=seed)) for seed in range(count)]
        return ArmResult(arm, tuple(record for record in found if record is not None), count)

    rows = {arm.row for arm in ARMS[check_profile(profile)]}
    return {row.id: [result(arm) for arm in arms_of(profile, row.id)] for row in published().row if row.id in rows}


def find(arms: Sequence[ArmResult], name: str) -> ArmResult | None:
    """The arm of that name, if the profile has it."""
    return next((result for result in arms if result.arm.name == name), None)


def protocol(arms: Sequence[ArmResult]) -> ArmResult | None:
    """The arm that stands for a row's own protocol: in full, else on a share, else its variant; recorded ones first."""
    known = [result for name in STANDING if (result := find(arms, name)) is not None]
    return next((result for result in known if result.records), known[0] if known else None)


def own_accuracy(row: str, record: RunRecord) -> float | None:
    """The accuracy in percent that a row's own protocol would have published of this run; None where it wasn't written
    down (a run on a share of the images looks at the test set once)."""
    kind = MEASURED_AS[row]
    if kind == LAST_TEST:
        errors: list[float | None] = [record.final.test_error]
    elif kind == BEST_TEST:
        errors = [epoch.test_error for epoch in record.history]
        if errors[-1] is not None:  # the clean figure measured the last epoch again, in float32
            errors[-1] = record.final.test_error
    else:
        errors = [epoch.dropout_valid_error for epoch in record.history]
    known = [error for error in errors if error is not None]
    return 100 * (1 - min(known)) if known else None


def clean_records(arms: Sequence[ArmResult]) -> list[RunRecord]:
    """The runs that give the clean figure: for each seed, of the settings tried, that with the lowest validation error;
    where none are tried, the runs of the row's protocol."""
    tried = [record for result in arms if result.arm.name.startswith(CLEAN) for record in result.records]
    if tried:
        seeds = sorted({record.spec.seed for record in tried})
        of = [[record for record in tried if record.spec.seed == seed] for seed in seeds]
        return [min(found, key=lambda record: record.final.valid_error) for found in of]
    own = protocol(arms)
    return list(own.records) if own else []


def own(row: str, arms: Sequence[ArmResult]) -> Accuracy | None:
    """Ours under the row's own protocol, flaws included."""
    found = protocol(arms)
    records = found.records if found else ()
    return accuracy(records, [own_accuracy(row, record) for record in records])


def clean(arms: Sequence[ArmResult]) -> Accuracy | None:
    """Ours under the clean protocol."""
    return accuracy(clean_records(arms))


def best(arms: Sequence[ArmResult]) -> tuple[ArmResult, Accuracy] | None:
    """The arm that does best on validation images, with its test accuracy: how far the network goes."""
    known = [result for result in arms if result.records and not result.arm.name.startswith(PAPER_START)]
    if not known:
        return None
    found = min(known, key=lambda result: statistics.fmean(r.final.valid_error for r in result.records))
    value = accuracy(found.records)
    return None if value is None else (found, value)


def extent(arms: Sequence[ArmResult]) -> str:
    """How much of a row's protocol is run, in few words."""
    found = protocol(arms)
    return found.extent if found else "in full"


def verdict(row: Reimplementation, arms: Sequence[ArmResult]) -> Verdict:
    """Whether the clean test accuracy reaches the published figure, by the rule of `claims.toml` for published rows."""
    found, target, stands = clean(arms), row.headline.value, protocol(arms)
    if found is None or stands is None:
        return Verdict("not tested", "It waits for its runs: none is recorded yet.")
    over = "seeds" if len(found.values) > 1 else "the test images of one run"
    said = f"Published {target:g}% on {row.headline.measured_on}; ours {found.text} on the test set, clean protocol"
    said = f"{said}, interval over {over}{f' ({stands.share})' * (stands.share != 'in full')}."
    made, lacking = len(stands.records), stands.planned > len(stands.records)
    if lacking:
        said += f" {made} of its {stands.planned} runs {'is' if made == 1 else 'are'} recorded; the others decide too."
    if stands.arm.partial or lacking or found.interval[0] < target - MARGIN <= found.interval[1]:
        return Verdict("inconclusive", said)
    return Verdict("reproduced" if found.interval[0] >= target - MARGIN else "contradicted", said)


def first_look(arms: Sequence[ArmResult]) -> bool:
    """Whether a row stands on a run that was seen before the rule was fixed."""
    return not all(claims().rule.precedes(record.created) for record in clean_records(arms))


# ---- tables ----------------------------------------------------------------------------------------------------------


def overview(found: Found) -> pd.DataFrame:
    """A line a row, what matters most first, since a narrow screen cuts off the rest."""
    lines = []
    for row in published().row:
        arms = found.get(row.id, [])
        value, same, top = clean(arms), own(row.id, arms), best(arms)
        lines.append(
            {
                "reimplementation": row.title,
                "published": f"{row.headline.value:g}%",
                "ours, clean": value.text if value else None,
                "verdict": verdict(row, arms).label + " (first look)" * first_look(arms),
                "run": extent(arms) if value else None,
                "measured on": row.headline.measured_on,
                "ours, its protocol": same.text if same else None,
                "best recipe": f"{top[1].mean:.2f}%, {top[0].arm.title}" if top and value else None,
            }
        )
    return pd.DataFrame(lines)


def arms_table(arms: Sequence[ArmResult]) -> pd.DataFrame:
    """A line an arm: how much was run, accuracies and gap at the end, time an epoch and where (means over seeds)."""
    return pd.DataFrame([_arm_line(result) for result in arms])


def _arm_line(result: ArmResult) -> dict[str, object]:
    records = result.records

    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known else None

    train = mean(None if r.final.clean_train_error is None else 1 - r.final.clean_train_error for r in records)
    test = mean(None if r.final.test_error is None else 1 - r.final.test_error for r in records)
    seconds = mean(r.wall_seconds / r.final.epochs for r in records)
    places = " and ".join(dict.fromkeys(r.environment.place for r in records))
    return {
        "arm": result.arm.title,
        "epochs": f"{result.arm.spec.recipe.epochs}",
        "runs": f"{len(records)} of {result.planned}",
        "train accuracy": train,
        "validation accuracy": mean(1 - r.final.valid_error for r in records),
        "test accuracy": test,
        "train less test": None if train is None or test is None else f"{100 * (train - test):.1f} points",
        "time an epoch": None if seconds is None else f"{seconds:.0f} s ({places})",
    }


def published_figures(row: Reimplementation) -> pd.DataFrame:
    """Every figure a row published and what it was measured on."""
    units = {"percent": "%", "nats": " nats", "seconds": " s"}
    rows = [(f"{one.metric}, {one.split}", f"{one.value:g}{units[one.unit]}", one.measured_on) for one in row.figures]
    return pd.DataFrame(rows, columns=["figure", "published", "measured on"])


def splits_table(row: Reimplementation, record: RunRecord) -> pd.DataFrame:
    """Loss and accuracy on the three splits, dropout off, beside what was published for them."""
    final, last = record.final, record.history[-1]
    ours = {
        "train": (final.clean_train_loss, final.clean_train_error),
        "validation": (last.valid_loss, final.valid_error),
        "test": (final.test_loss, final.test_error),
    }
    theirs = {
        ("test" if "the test set" in figure.measured_on else figure.split, figure.metric): figure.value
        for figure in row.figures
    }
    return pd.DataFrame(
        {
            "split": split,
            "loss": loss,
            "published loss": theirs.get((split, "loss")),
            "accuracy": None if error is None else 100 * (1 - error),
            "published accuracy": theirs.get((split, "accuracy")),
        }
        for split, (loss, error) in ours.items()
    ).astype({"published loss": float, "published accuracy": float})


def labelled(record: RunRecord, store: Store) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Split to its labels and predictions, both [N]. Raises `RecordError` when the predictions are damaged."""
    arrays = store.predictions(record)
    split = split_for(record.spec)
    labels = split.dataset.train_labels
    return {
        "train": (labels[split.train], arrays["train_predicted"]),
        "validation": (labels[split.valid], arrays["valid_predicted"]),
        "test": (split.test_labels, arrays["predicted"]),
    }


def class_table(record: RunRecord, store: Store) -> pd.DataFrame:
    """Precision, recall and F1 of each class on each split."""
    from sklearn.metrics import precision_recall_fscore_support  # a second to import

    classes = dataset_of(record.spec.dataset).classes
    columns: dict[str, Sequence[object]] = {"class": list(classes)}
    for split, (labels, predicted) in labelled(record, store).items():
        figures = precision_recall_fscore_support(labels, predicted, labels=range(len(classes)), zero_division=0.0)
        for name, values in zip(("precision", "recall", "F1"), figures, strict=False):
            columns[f"{split} {name}"] = list(values)
    return pd.DataFrame(columns)


def published_class_table(row: Reimplementation) -> pd.DataFrame | None:
    """The same as it was published; None where it was not."""
    if row.per_class is None:
        return None
    columns: dict[str, Sequence[object]] = {"class": [str(place) for place in range(len(row.per_class["test"].f1))]}
    for split, figures in row.per_class.items():
        columns |= {
            f"{split} precision": figures.precision,
            f"{split} recall": figures.recall,
            f"{split} F1": figures.f1,
        }
    return pd.DataFrame(columns)
