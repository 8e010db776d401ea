"""Whether a network begins to learn from its initial weights, how soon, and whether arithmetic predicts it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import pandas as pd

from . import anatomy, batches, signals
from .ablations import STARTS
from .claims import Question
from .planning import Planned
from .records import RunRecord
from .reimplementations import training_images
from .specs import CLASSES, RunSpec

CLAIM = "init-as-written"
FEW = 16  # images that are enough to measure a fresh network; a whole batch of the faithful one takes seconds
DEAD = 0.99  # share of a layer's outputs at zero from which it counts as fallen silent
PREFIXES = {"227": "", "32": "small-"}  # of conditions, by network
NETWORKS = {"227": "the faithful network", "32": "the narrow network for 32 pixels"}
WEIGHTS = {"paper": "as written", "as-run": "as run"}
PIXELS = {"mean-image": "0 to 255", "mean-image-unit": "unit variance"}


def specs(runs: Iterable[tuple[Planned, RunRecord | None]]) -> dict[str, RunSpec]:
    """Condition to the specification of its first seed, network by network in the order of the plan.

    All combinations of weights and pixels are there: one that the profile does not train can be measured all the same.
    """
    networks: dict[str, RunSpec] = {}
    for planned, _ in runs:
        if planned.claim == CLAIM and planned.stage == "seeds":
            networks.setdefault(planned.spec.net.form, planned.spec)
    return {
        f"{PREFIXES[form]}{name}": spec.with_(**change)
        for form, spec in networks.items()
        for name, change in STARTS.items()
    }


def named(spec: RunSpec) -> dict[str, str]:
    """What a condition is made of, in words: network, weights and pixels."""
    return {
        "network": NETWORKS[spec.net.form],
        "weights": WEIGHTS[spec.net.init],
        "pixels": PIXELS[spec.images.scaling],
    }


def predicted(found: Mapping[str, RunSpec]) -> pd.DataFrame:
    """A row a condition: what it is made of, size of the pixels, product of all gains, predicted size of the scores."""
    rows = []
    for condition, spec in found.items():
        size = batches.statistics(spec.dataset).spread if spec.images.scaling == "mean-image" else 1.0
        gain = anatomy.total_gain(spec.net, batches.side_of(spec))
        rows.append({"condition": condition, **named(spec), "size": size, "gain": gain, "predicted": gain * size})
    return pd.DataFrame(rows, columns=["condition", "network", "weights", "pixels", "size", "gain", "predicted"])


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
    curvature 1/C, and with momentum m steps grow instead of settling when r |a|^2 / C is above 2 (1 + m).
    """
    differences, gradients, reach = {}, {}, []
    for name, spec in found.items():
        model, images, labels = signals.fresh(spec)
        images, labels = images[:count], labels[:count]
        differences[name] = anatomy.signal(model, images)
        gradients[name] = {one.layer: one.gradient for one in signals.measure(model, images, labels)}
        recipe = spec.recipe
        moved = recipe.learning_rate * signals.common_input(model, images) / spec.net.classes
        limit = 2 * (1 + recipe.momentum)
        reach.append({"start": name, "step": moved, "limit": limit, "overshoots": moved > limit})
    return BeforeTraining(
        _by_layer(differences),
        _by_layer(gradients),
        pd.DataFrame(reach, columns=["start", "step", "limit", "overshoots"]),
    )


def _by_layer(columns: Mapping[str, Mapping[str, float] | pd.Series]) -> pd.DataFrame:
    return pd.DataFrame(columns).rename_axis(index="layer")


def outcomes(runs: Iterable[tuple[Planned, RunRecord | None]], question: Question) -> pd.DataFrame:
    """A row a run: what it started from, its training error at the end in percent, whether it counts as trained, and
    the steps until the end of the first epoch in which it did (none where it never did).

    A network counts as trained once its running training error over an epoch is the margin below guessing.
    """
    rows = []
    for planned, record in runs:
        if planned.claim != CLAIM or planned.stage != "seeds" or record is None:
            continue
        spec = record.spec
        limit = 1 - 1 / CLASSES[spec.dataset] - (question.margin or 0.0) / 100
        first = next((epoch.epoch for epoch in record.history if epoch.train_error <= limit), None)
        steps = steps_an_epoch(spec)
        rows.append(
            {
                "condition": planned.condition,
                **named(spec),
                "seed": spec.seed,
                "error": 100 * record.final.train_error,
                "trained": record.final.train_error <= limit and record.final.outcome != "diverged",
                "silent": dead(record),
                "steps": None if first is None else first * steps,
                "budget": spec.recipe.epochs * steps,
            }
        )
    columns = ["condition", "network", "weights", "pixels", "seed", "error", "trained", "silent", "steps", "budget"]
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
    return training_images(spec) // spec.recipe.batch_size


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """A row a condition: runs that trained, of how many, the median of their steps, and the budget."""
    rows = []
    for condition, part in found.groupby("condition", sort=False):
        steps = part["steps"].dropna()
        rows.append(
            {
                "condition": condition,
                **part.iloc[0][["network", "weights", "pixels"]].to_dict(),
                "trained": f"{part['trained'].sum()} of {len(part)}",
                "steps until then": f"at most {steps.median():,.0f}" if len(steps) else None,
                "budget": f"{part['budget'].iloc[0]:,} steps",
            }
        )
    columns = ["condition", "network", "weights", "pixels", "trained", "steps until then", "budget"]
    return pd.DataFrame(rows, columns=columns)


Cells = dict[tuple[str, str], tuple[int, int]]  # weights and pixels -> runs that trained, runs


def answers(runs: Sequence[tuple[Planned, RunRecord | None]], question: Question) -> list[str]:
    """What came out, a paragraph a network, computed from the runs; says nothing of a network while a condition that
    the profile plans is without a run."""
    said = []
    found, prediction = outcomes(runs, question), predicted(specs(runs))
    expected = dict(zip(prediction["condition"], prediction["predicted"], strict=True))
    planned = {p.condition: named(p.spec)["network"] for p, _ in runs if p.claim == CLAIM and p.stage == "seeds"}
    for network in dict.fromkeys(planned.values()):
        part = found[found["network"] == network]
        if {condition for condition, of in planned.items() if of == network} - set(part["condition"]):
            continue
        cells: Cells = {
            (weights, pixels): (int(own["trained"].sum()), len(own))
            for weights in WEIGHTS.values()
            for pixels in PIXELS.values()
            if len(own := part[(part["weights"] == weights) & (part["pixels"] == pixels)])
        }
        counts = "; ".join(
            f"{weights} on {pixels}: {trained} of {every}" for (weights, pixels), (trained, every) in cells.items()
        )
        sizes = part["condition"].map(expected)
        separated = _separates(list(sizes[part["trained"]]), list(sizes[~part["trained"]]))
        said.append(
            f"**{network[0].upper()}{network[1:]}.** Runs that trained, by weights and pixels: {counts}. "
            f"{_why(cells)} {separated} {_how(part)}"
        )
    return said


AT_THE_EDGE = "So the weights as written train in some of these runs and not in others: the start is at the edge."


def _why(cells: Cells) -> str:
    """What the four cells say about the reports that the paper's initialisation fails."""
    trained, every = cells["as written", "0 to 255"]
    if ("as written", "unit variance") not in cells:
        if trained == every:
            return "So the paper's initialisation trains on the paper's pixels."
        if not trained:
            return (
                "So the weights as written do not train within this budget on the paper's own pixels, and those who "
                "report that they fail report what happens here too."
            )
        return AT_THE_EDGE
    trained_scaled, every_scaled = cells["as written", "unit variance"]
    if trained == every and not trained_scaled:
        return (
            "So the paper's initialisation trains on the paper's pixels, and fails once these are scaled to unit "
            "variance, as nearly every reimplementation does: those who report that it fails changed the inputs."
        )
    if not trained and not trained_scaled:
        return (
            "So the weights as written do not train within this budget whatever the pixels, and those who report that "
            "they fail report what happens here too."
        )
    if trained == every and trained_scaled == every_scaled:
        return "So the weights as written train here whatever the pixels: the reports that they fail are not borne out."
    return AT_THE_EDGE


def _how(part: pd.DataFrame) -> str:
    """Whether those that failed stood still or fell silent."""
    failed = part[~part["trained"]]
    if failed.empty:
        return ""
    share = f"{int(failed['silent'].sum())} of the {len(failed)} runs that did not train"
    return f"In {share}, a layer has fallen silent by the end: {DEAD:.0%} of its outputs or more are zero."


def _separates(trained: list[float], failed: list[float]) -> str:
    """Whether a threshold on the predicted size of the scores tells which runs train."""
    if not trained or not failed:
        low, high = min(trained + failed), max(trained + failed)
        return (
            f"As {'no' if failed else 'every'} run trained, the predicted size of the scores ({low:.0e} to {high:.0e}) "
            "has nothing to tell apart."
        )
    lowest, highest = min(trained), max(failed)
    if lowest > highest:
        return f"The arithmetic predicts it: all with scores from {lowest:.0e} on trained, none up to {highest:.0e}."
    if lowest == highest:
        above = " and all above" if max(trained) > lowest else ""
        return (
            f"The arithmetic predicts the order: at scores of {lowest:.0e} {trained.count(lowest)} of "
            f"{trained.count(lowest) + failed.count(lowest)} runs trained, none below{above}."
        )
    return (
        f"The arithmetic alone does not predict it: a network with scores of {lowest:.0e} trained, and one with "
        f"{highest:.0e} did not."
    )
