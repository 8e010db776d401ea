"""What a run contributes to an effect: one number for each measure of `claims.toml`, and whether it is a bound."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from ..errors import SpecError
from ..paper.claims import Also, Measure, Question
from ..records.record import RunRecord, epochs_to
from ..records.specs import CLASSES

COLLAPSE = 5.0  # points below guessing that a run must come to, or it has collapsed
TRAINED = 0.1  # share of the images by which a network that has begun to learn is better than guessing
# Measures of whether and how soon a network trains, for which nothing is set aside.
OF_TRAINING = ("epochs-to-target", "epochs-to-trained", "epochs-to-train-loss", "early-train-loss", "chance-margin")


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a run contributes to an effect."""

    value: float
    censored: bool = False  # it was stopped at its cap before its target, or diverged


Both = tuple[Reading, Reading]  # what one run contributes to both arms


def guessing(record: RunRecord) -> float:
    """The error of blind guessing, in percent."""
    return 100.0 * (1 - 1 / CLASSES[record.spec.dataset])


def diverged(record: RunRecord) -> bool:
    """Whether a run's loss was no longer a number."""
    return record.final.outcome == "diverged"


def collapsed(record: RunRecord) -> bool:
    """Whether a run diverged, or ended within 5 points of blind guessing on validation images."""
    return diverged(record) or 100.0 * record.final.valid_error > guessing(record) - COLLAPSE


# ---- how soon: epochs, interpolated, or the cap for a run that never arrived -----------------------------------------


def _or_cap(record: RunRecord, epochs: float | None) -> Reading:
    return Reading(float(record.spec.recipe.epochs), censored=True) if epochs is None else Reading(epochs)


def epochs_to_target(record: RunRecord) -> Reading:
    """Epochs until the target."""
    return _or_cap(record, record.final.epochs_to_target if record.final.outcome == "reached" else None)


def epochs_to_trained(record: RunRecord) -> Reading:
    """Epochs until the running training error is 10 points below guessing."""
    errors = [epoch.train_error for epoch in record.history]
    return _or_cap(record, epochs_to(guessing(record) / 100 - TRAINED, errors))


def epochs_to_train_loss(record: RunRecord, levels: Sequence[float]) -> Reading:
    """Epochs until the loss on training images with dropout off falls to a level in nats: the geometric mean over
    several levels, censored if one of them is not reached."""
    losses = [epoch.clean_train_loss for epoch in record.history if epoch.clean_train_loss is not None]
    if len(losses) < len(record.history):
        raise SpecError(f"Run {record.hash} has no training loss with dropout off; its spec must ask for it.")
    found = [_or_cap(record, epochs_to(level, losses)) for level in levels]
    mean = statistics.geometric_mean([reading.value for reading in found])
    return Reading(mean, any(reading.censored for reading in found))


# ---- how well --------------------------------------------------------------------------------------------------------


def _percent(record: RunRecord, name: str, value: float | None) -> Reading:
    """An error in percent; that of blind guessing for a diverged run."""
    if diverged(record):
        return Reading(guessing(record), censored=True)
    if value is None:
        raise SpecError(f"Run {record.hash} has no {name}; its spec does not ask for it.")
    return Reading(100.0 * value)


def test_error(record: RunRecord) -> Reading:
    """Test error in percent."""
    return _percent(record, "test error", record.final.test_error)


def ten_crop_error(record: RunRecord) -> Reading:
    """Test error with ten crops, in percent."""
    return _percent(record, "ten-crop error", getattr(record.learned, "ten_crop_error", None))


def train_error(record: RunRecord) -> Reading:
    """Error on all training images, dropout off, without augmentation, in percent."""
    return _percent(record, "training error with dropout off", record.final.clean_train_error)


def generalisation_gap(record: RunRecord) -> Reading:
    """Test error less training error, both with dropout off and without augmentation, in points; 0 for a diverged
    run, which has learned nothing that it could fail to generalise."""
    return Reading(test_error(record).value - train_error(record).value, diverged(record))


def early_train_loss(record: RunRecord) -> Reading:
    """Mean training loss over all epochs of a short run, in nats; that of blind guessing for a diverged run."""
    if diverged(record):
        return Reading(math.log(CLASSES[record.spec.dataset]), censored=True)
    return Reading(statistics.fmean(epoch.train_loss for epoch in record.history))


# ---- both arms from one run ------------------------------------------------------------------------------------------


def chance_margin(record: RunRecord) -> Both:
    """Error of blind guessing, and the training error over the last epoch, in percent."""
    return Reading(guessing(record)), _percent(record, "training error", record.final.train_error)


def crop_errors(record: RunRecord) -> Both:
    """Test error with one crop and with ten."""
    return test_error(record), ten_crop_error(record)


def _learned(record: RunRecord, *names: str) -> Both:
    """Two figures of what a network has learned; equal, and censored, for a diverged run."""
    if diverged(record):
        return Reading(0.0, censored=True), Reading(0.0, censored=True)
    first, second = (getattr(record.learned, name, None) for name in names)
    if first is None or second is None:
        raise SpecError(f"Run {record.hash} has no {' and '.join(names)}; its spec does not ask for them.")
    return Reading(first), Reading(second)


def _over_half(record: RunRecord, name: str) -> Both:
    """A share in percent, and one half, which is what "most" must be above."""
    found, _ = _learned(record, name, name)
    half = Reading(50.0, found.censored)
    return half if found.censored else Reading(100 * found.value), half


MEASURES: Mapping[Measure, Callable[[RunRecord], Reading]] = {
    "epochs-to-target": epochs_to_target,
    "epochs-to-trained": epochs_to_trained,
    "test-error": test_error,
    "ten-crop-error": ten_crop_error,
    "train-error": train_error,
    "generalisation-gap": generalisation_gap,
    "early-train-loss": early_train_loss,
}
WITHIN: Mapping[Measure, Callable[[RunRecord], Both]] = {
    "chance-margin": chance_margin,
    "crop-error": crop_errors,
    "colour-separation": lambda record: _learned(record, "tower_colour", "half_colour"),
    "tower-colour": lambda record: _learned(record, "tower_colour", "untrained_tower_colour"),
    "neighbour-share": lambda record: _over_half(record, "feature_neighbours_share"),
    "top5-share": lambda record: _over_half(record, "runner_up_kind"),
}


def counted_in(question: Question, number: int = 1, averaged: int = 1) -> str:
    """What a row counts: runs where one gives both figures, else pairs; `averaged` runs of a seed by their mean."""
    s = "" if number == 1 else "s"
    if question.measure in WITHIN:
        return f"run{s}" if averaged == 1 else f"mean{s} of {averaged} runs"
    return f"pair{s} of runs" if averaged == 1 else f"pair{s} of a run and the mean of {averaged}"


def reader(question: Question) -> Callable[[RunRecord], Both]:
    """What takes from a record its readings for the first and for the second arm, by a question's measure.

    Raises `SpecError` for a measure that cannot be taken from run records.
    """
    measure, levels = question.measure, question.levels
    if measure and (within := WITHIN.get(measure)):
        return within
    if measure == "epochs-to-train-loss" and levels:
        return lambda record: (epochs_to_train_loss(record, levels),) * 2
    if measure and (of_an_arm := MEASURES.get(measure)):
        return lambda record: (of_an_arm(record),) * 2
    raise SpecError(f"{question.id}: its measure, {measure}, cannot be taken from run records.")


# ---- what a claim may need besides its effect ------------------------------------------------------------------------

Arm = Sequence[RunRecord]


def _test_error_not_lower(first: Arm, second: Arm) -> bool:
    one, other = (statistics.fmean(test_error(record).value for record in arm) for arm in (first, second))
    return one >= other


def _each_above(high: str, low: str) -> Callable[[Arm, Arm], bool]:
    return lambda first, _: all(a.value > b.value for a, b in (_learned(record, high, low) for record in first))


# The condition over the runs of both arms, what it asks, and what is said where it fails.
ALSO: Mapping[Also, tuple[Callable[[Arm, Arm], bool], str, str]] = {
    "test-error-not-lower": (
        _test_error_not_lower,
        "the test error may not be lower without",
        "the gap is there, but the test error is lower without, so nothing is lost by it",
    ),
    "nearer-than-pixels": (
        _each_above("feature_neighbours_share", "pixel_neighbours_share"),
        "in each run more of the neighbours in features than of those in pixels must share the class",
        "neighbours in pixels share it as often",
    ),
    "above-random-order": (
        _each_above("runner_up_kind", "random_kind"),
        "each run must do better than a random order",
        "a random order does as well",
    ),
}
