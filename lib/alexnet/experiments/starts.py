"""Whether a network begins to learn from its initial weights, how soon, and whether arithmetic predicts it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import pandas as pd

from ..networks import anatomy
from ..paper.claims import Question, claims
from ..records.record import RunRecord
from ..records.specs import CLASSES, ImageSpec, NetSpec, RunSpec
from ..records.store import Store
from ..runs.planning import Planned, Runs
from ..training import signals
from ..training.prepared import prepare, split_of
from .study import CONSTANT, FIRST_SEED, Block, Cell, Change, Comparison, Rates, Search, Study

CLAIM = "init-as-written"
FEW = 16  # images that are enough to measure a fresh network; a whole batch of the faithful one takes seconds
DEAD = 0.99  # share of a layer's outputs at zero from which it counts as fallen silent
NETWORKS = {"227": "the faithful network", "32": "the narrow network for 32 pixels"}
WEIGHTS = {"paper": "as written", "as-run": "as run"}
PIXELS = {"mean-image": "0 to 255", "mean-image-unit": "unit variance"}
BOTH_WEIGHTS = {"as-run": "as-run", "as-written": "paper"}  # condition, initialisation
MADE_OF = ("network", "weights", "biases", "pixels", "outputs")  # what tells starts apart
TRAINED = 0.8  # training error, 10 points below guessing among ten classes, from which a start counts as trained

# The paper's initialisation and the code's, on pixels of 0..255 and of unit variance.
STARTS: dict[str, Change] = {
    f"{weights}-{pixels}": {"images": {"scaling": scaling}, "net": {"init": init}}
    for weights, init in (("written", "paper"), ("run", "as-run"))
    for pixels, scaling in (("255", "mean-image"), ("unit", "mean-image-unit"))
}
# The start of training does not need augmentation, and the as-written rate is 0.01.
START_32 = RunSpec(images=ImageSpec(crop=27), net=NetSpec(form="32", width=0.25))
START_227 = RunSpec(images=ImageSpec(train_size=9000, resize=227, flip=True))

# ---- plans -----------------------------------------------------------------------------------------------------------


def trained(epochs: int, prefix: str = "", names: Iterable[str] = STARTS) -> list[Comparison]:
    """Some of `STARTS`, trained for so long at a constant learning rate."""
    short = {"recipe": {"epochs": epochs, **CONSTANT}}
    return [Comparison(CLAIM, f"{prefix}{name}", {"trained": STARTS[name] | short}) for name in names]


def biases(epochs: int, seeds: int, conditions: Mapping[str, str] = BOTH_WEIGHTS) -> list[Comparison]:
    """Biases of one against zero, with the weights as the code drew them and as written."""
    common = {"images": {"scaling": "mean-image"}, "recipe": {"epochs": epochs, **CONSTANT}}

    def arms(init: str) -> dict[str, Change]:
        ones = {"zeros": False, "ones": True}
        return {arm: {**common, "net": {"init": init, "bias_ones": one}} for arm, one in ones.items()}

    return [Comparison("bias-ones", condition, arms(init), seeds) for condition, init in conditions.items()]


@dataclass(frozen=True)
class Ladder(Search):
    """The first learning rate at which a network trains, from the paper's own down.

    All rates are tried for `epochs[0]` epochs, until one trains; if none does, the one with the lowest training loss is
    tried for `epochs[1]`. The runs that count have the rate and the epochs at which it trained, or the paper's rate and
    `epochs[0]`.
    """

    epochs: tuple[int, int] = (4, 8)

    def outcome(self, store: Store) -> tuple[list[Planned], Change | None]:
        """The runs that can be named now, and what the recipes of the runs that count take, or None while one has no
        record."""
        tried: list[Planned] = []
        losses: dict[float, float] = {}

        def attempts() -> Iterator[Change]:
            yield from ({"learning_rate": rate, "epochs": self.epochs[0]} for rate in self.rates.first)
            if losses:
                yield {"learning_rate": min(losses, key=losses.__getitem__), "epochs": self.epochs[1]}

        for recipe in attempts():
            tried.append(self.planned({**recipe, "stop_at_train_error": TRAINED}))
            record = store.get(tried[-1].spec)
            if record is None:
                return tried, None
            if record.final.outcome == "reached":
                return tried, recipe
            if record.final.outcome != "diverged":
                losses[recipe["learning_rate"]] = record.history[-1].train_loss
        return tried, {"learning_rate": self.rates.first[0], "epochs": self.epochs[0]}


AS_WRITTEN = START_227.with_(images={"scaling": "mean-image"})
# One factor at a time from the start as written: AlexNet at 227 pixels, N(0, 0.01), biases of one, pixels on 0..255.
FACTORS: dict[str, Change] = {
    "own-rate": {},
    "own-rate-zeros": {"net": {"bias_ones": False}},
    "own-rate-run": {"net": {"init": "as-run"}},
    "own-rate-run-zeros": {"net": {"init": "as-run", "bias_ones": False}},
    "own-rate-1000": {"net": {"classes": 1000}},
    "own-rate-unit": {"images": {"scaling": "mean-image-unit"}},
}
BIASES = {  # condition of bias-ones -> where its arms start
    "own-rate": {"zeros": "own-rate-run-zeros", "ones": "own-rate-run"},
    "own-rate-written": {"zeros": "own-rate-zeros", "ones": "own-rate"},
}


def at_own_rates(
    baseline: RunSpec = AS_WRITTEN,
    seeds: int = 3,
    rates: tuple[float, ...] = (0.01, 0.003, 0.001, 0.0003),
    epochs: tuple[int, int] = (4, 8),
) -> Study:
    """Starts under rule 2, each at the first learning rate at which it trains."""
    cells = {}
    for name, change in FACTORS.items():
        spec = baseline.with_(**change).with_(recipe={"epochs": epochs[0], **CONSTANT})
        ladder = Ladder("starts-own-rates", name, name, spec, Rates(rates), epochs=epochs)
        cells[name] = Cell(CLAIM, name, "trained", spec, ladder)
    pairs = [
        replace(cells[start], claim="bias-ones", condition=condition, arm=arm)
        for condition, arms in BIASES.items()
        for arm, start in arms.items()
    ]
    searches = tuple(cell.search for cell in cells.values() if cell.search)
    return Study((Block((*cells.values(), *pairs), seeds),), searches, first_seed=FIRST_SEED)


OWN_RATES = at_own_rates()

# ---- before training, and after --------------------------------------------------------------------------------------


def specs(runs: Runs) -> dict[str, RunSpec]:
    """Each start of the faithful and the narrow network in words, with the specification of its first run.

    All combinations of weights and pixels are there, and the same with biases of zero: one that the profile does not
    train can be measured all the same.
    """
    networks: dict[str, RunSpec] = {}
    for planned, _ in runs:
        if planned.claim == CLAIM and planned.stage == "seeds":
            networks.setdefault(planned.spec.net.form, planned.spec)
    every = [
        spec.with_(**change).with_(net={"bias_ones": ones, "classes": 10})
        for spec in networks.values()
        for change in STARTS.values()
        for ones in (True, False)
    ]
    every += [spec.with_(**STARTS["written-255"]).with_(net={"classes": 1000}) for spec in networks.values()]
    return {title(spec): spec for spec in every}


def named(spec: RunSpec) -> dict[str, str]:
    """What a start is made of, in words: network, weights, biases, pixels and outputs."""
    return {
        "network": NETWORKS[spec.net.form],
        "weights": WEIGHTS[spec.net.init],
        "biases": "one" if spec.net.bias_ones else "zero",
        "pixels": PIXELS[spec.images.scaling],
        "outputs": f"{spec.net.classes:,}",
    }


def title(spec: RunSpec) -> str:
    """The same in one line."""
    made = named(spec)
    outputs = "" if spec.net.classes == 10 else f", {made['outputs']} outputs"
    narrow = "" if spec.net.form == "227" else ", narrow"
    return f"{made['weights']}, biases of {made['biases']}, {made['pixels']}{outputs}{narrow}"


def predicted(found: Mapping[str, RunSpec]) -> pd.DataFrame:
    """A row a start: size of the pixels, product of all gains, predicted size of the scores (biases are left out)."""
    rows = []
    for name, spec in found.items():
        size = split_of(spec.dataset).statistics.spread if spec.images.scaling == "mean-image" else 1.0
        gain = anatomy.total_gain(spec.net, spec.side)
        rows.append({"start": name, "size": size, "gain": gain, "predicted": gain * size})
    return pd.DataFrame(rows, columns=["start", "size", "gain", "predicted"])


@dataclass(frozen=True)
class BeforeTraining:
    """What fresh networks do with their first images; dropout is off."""

    differences: pd.DataFrame  # what is left of those between images after each layer of weights; a column a network
    gradients: pd.DataFrame  # standard deviation of the loss's at each nonlinearity; a column a network
    reach: pd.DataFrame  # how far the first steps move the scores of all images alike; a row a network


def before_training(found: Mapping[str, RunSpec], count: int = FEW) -> BeforeTraining:
    """Build each network once and measure it on the first `count` images of its first batch.

    Reach: a step of learning rate r changes a class's score by r |a|^2 times the gradient by that score, where a is
    what the last layer is given by all images. The cross-entropy of C classes that are about equally probable has the
    curvature 1/C, and with momentum m steps grow instead of settling when r |a|^2 / C is above 2 (1 + m): the last
    column is the learning rate at which that begins.
    """
    differences: dict[str, pd.Series] = {}
    gradients: dict[str, dict[str, float]] = {}
    reach = []
    model, built = None, None
    for name, spec in sorted(found.items(), key=lambda item: repr(item[1].net)):  # the same network one after the other
        one = (spec.net, spec.side, spec.seed)
        model, _, images, labels = prepare(spec).beginning(model if one == built else None, count)
        built = one
        with anatomy.watching(model) as seen:
            gradients[name] = {one.layer: one.gradient for one in signals.measure(model, images, labels)}
        differences[name] = anatomy.signal_of(images, seen)
        recipe, (last, _) = spec.recipe, list(seen.values())[-1]
        moved = recipe.learning_rate * signals.common_input(last) / spec.net.classes
        limit = 2 * (1 + recipe.momentum)
        rate = recipe.learning_rate * limit / moved if moved else math.inf
        reach.append({"start": name, "step": moved, "limit": limit, "steps grow": moved > limit, "rate": rate})
    return BeforeTraining(
        _by_layer(differences)[list(found)],
        _by_layer(gradients)[list(found)],
        pd.DataFrame(reach, columns=["start", "step", "limit", "steps grow", "rate"])
        .set_index("start")
        .loc[list(found)]
        .reset_index(),
    )


def _by_layer(columns: Mapping[str, Mapping[str, float] | pd.Series]) -> pd.DataFrame:
    return pd.DataFrame(columns).rename_axis(index="layer")


def outcomes(runs: Runs, question: Question) -> pd.DataFrame:
    """A row a run of any start that counts: what it started from, its learning rate, its training error at the end in
    percent, whether it counts as trained, the steps until the end of the first epoch in which it did (none where
    never), and whether it had been seen before the rule was fixed.

    A network counts as trained once its running training error over an epoch is the margin below guessing.
    """
    found = {
        record.hash: record
        for planned, record in runs
        if record is not None and planned.claim in (CLAIM, "bias-ones") and planned.stage == "seeds"
    }
    rows = []
    for record in found.values():
        spec = record.spec
        limit = 1 - 1 / CLASSES[spec.dataset] - (question.margin or 0.0) / 100
        first = next((epoch.epoch for epoch in record.history if epoch.train_error <= limit), None)
        steps = steps_an_epoch(spec)
        rows.append(
            {
                "start": title(spec),
                **named(spec),
                "rate": spec.recipe.learning_rate,
                "error": 100 * record.final.train_error,
                "trained": record.final.train_error <= limit and record.final.outcome != "diverged",
                "silent": dead(record),
                "steps": None if first is None else first * steps,
                "budget": spec.recipe.epochs * steps,
                "seen": not claims().rule.precedes(record.created),
            }
        )
    columns = ["start", *MADE_OF, "rate", "error", "trained", "silent", "steps", "budget", "seen"]
    return pd.DataFrame(rows, columns=columns)


def silent(found: Mapping[str, Sequence[RunRecord]]) -> pd.DataFrame:
    """Share of outputs that are zero on one batch after training: a row a nonlinearity, a column a group of runs, means
    over them. A ReLU that is at zero for every image passes no gradient back and never learns again."""
    shares: dict[str, dict[str, list[float]]] = {}
    for name, records in found.items():
        for signal in (signal for record in records for signal in record.signals or ()):
            shares.setdefault(name, {}).setdefault(signal.layer, []).append(signal.flat)
    means = {name: {layer: fmean(values) for layer, values in of.items()} for name, of in shares.items()}
    return _by_layer(means)


def dead(record: RunRecord) -> bool:
    """Whether a layer has fallen silent: nearly all of its outputs are zero on one batch."""
    return any(signal.flat >= DEAD for signal in record.signals or ())


def steps_an_epoch(spec: RunSpec) -> int:
    """Updates of the weights an epoch; the last, incomplete batch is left out."""
    return spec.training_images // spec.recipe.batch_size


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """A row a start, rate and budget: runs that trained, of how many, the median of their steps, and in how many of
    all runs a layer has fallen silent."""
    rows = [
        {
            **dict(zip([*MADE_OF, "learning rate"], keys, strict=False)),
            "trained": f"{part['trained'].sum()} of {len(part)}",
            "steps until then": f"at most {part['steps'].median():,.0f}" if part["steps"].notna().any() else None,
            "budget": f"{keys[-1]:,} steps",
            "a layer at zero": f"{part['silent'].sum()} of {len(part)}",
        }
        for keys, part in found.groupby([*MADE_OF, "rate", "budget"], sort=False)
    ]
    columns = [*MADE_OF, "learning rate", "trained", "steps until then", "budget", "a layer at zero"]
    return pd.DataFrame(rows, columns=columns)


def finding(found: pd.DataFrame) -> str:
    """What the biases alone change in the faithful network as written, in words; nothing without runs of both."""
    faithful = found[(found["network"] == NETWORKS["227"]) & (found["weights"] == "as written")]
    faithful = faithful[(faithful["pixels"] == "0 to 255") & (faithful["outputs"] == "10")]
    said = []
    for (rate, budget, seen), part in faithful.groupby(["rate", "budget", "seen"], sort=False):
        zeros, ones = (part[part["biases"] == biases] for biases in ("zero", "one"))
        if len(zeros) and len(ones):
            counts = [f"{int(arm['trained'].sum())} of {len(arm)}" for arm in (zeros, ones)]
            said.append(
                f"From the same weights as written, on the same pixels and at a learning rate of {rate:g}, "
                f"{counts[0]} networks with biases of zero train within {budget:,} steps, and {counts[1]} with biases "
                f"of one{', in runs seen before the rule was fixed' if seen else ''}."
            )
    return " ".join(said)
