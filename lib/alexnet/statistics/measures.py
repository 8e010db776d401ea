"""What a run contributes to an effect: one number for each measure of `claims.toml`, and whether it is a bound."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from ..errors import SpecError
from ..paper.claims import Also, Measure
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
    censored: bool  # it was stopped at its cap before its target, or diverged


def guessing(record: RunRecord) -> float:
    """The error of blind guessing, in percent."""
    return 100.0 * (1 - 1 / CLASSES[record.spec.dataset])


def epochs_to_target(record: RunRecord) -> Reading:
    """Epochs until the target, or the cap for a run that never arrived there, diverged ones included."""
    reached = record.final.epochs_to_target
    if record.final.outcome == "reached" and reached is not None:
        return Reading(reached, censored=False)
    return Reading(float(record.spec.recipe.epochs), censored=True)


def collapsed(record: RunRecord) -> bool:
    """Whether a run diverged, or ended within 5 points of blind guessing on validation images."""
    return record.final.outcome == "diverged" or 100.0 * record.final.valid_error > guessing(record) - COLLAPSE


def _epochs_to(record: RunRecord, level: float, values: list[float]) -> Reading:
    reached = epochs_to(level, values)
    return Reading(float(record.spec.recipe.epochs), True) if reached is None else Reading(reached, False)


def epochs_to_train_loss(record: RunRecord, levels: Sequence[float]) -> Reading:
    """Epochs, interpolated, until the loss on training images with dropout off falls to a level in nats, or the cap;
    the geometric mean over several levels, censored if one of them is not reached."""
    losses = [epoch.clean_train_loss for epoch in record.history]
    known = [loss for loss in losses if loss is not None]
    if len(known) < len(losses):
        raise SpecError(f"Run {record.hash} has no training loss with dropout off; its spec must ask for it.")
    found = [_epochs_to(record, level, known) for level in levels]
    mean = statistics.geometric_mean([reading.value for reading in found])
    return Reading(mean, any(reading.censored for reading in found))


def epochs_to_trained(record: RunRecord) -> Reading:
    """Epochs, interpolated, until the running training error is 10 points below guessing, or the cap."""
    target = guessing(record) / 100 - TRAINED
    return _epochs_to(record, target, [epoch.train_error for epoch in record.history])


def _percent(record: RunRecord, name: str, value: float | None) -> Reading:
    """An error in percent; that of blind guessing for a diverged run."""
    if record.final.outcome == "diverged":
        return Reading(guessing(record), censored=True)
    if value is None:
        raise SpecError(f"Run {record.hash} has no {name}; its spec does not ask for it.")
    return Reading(100.0 * value, censored=False)


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
    gap = test_error(record).value - train_error(record).value
    return Reading(gap, censored=record.final.outcome == "diverged")


def early_train_loss(record: RunRecord) -> Reading:
    """Mean training loss over all epochs of a short run, in nats; that of blind guessing for a diverged run."""
    if record.final.outcome == "diverged":
        return Reading(math.log(CLASSES[record.spec.dataset]), censored=True)
    return Reading(statistics.fmean(epoch.train_loss for epoch in record.history), censored=False)


def chance_margin(record: RunRecord) -> tuple[Reading, Reading]:
    """Error of blind guessing, and the training error over the last epoch, in percent."""
    return Reading(guessing(record), False), _percent(record, "training error", record.final.train_error)


def crop_errors(record: RunRecord) -> tuple[Reading, Reading]:
    """Test error with one crop and with ten."""
    return test_error(record), ten_crop_error(record)


def _learned(record: RunRecord, *names: str, unit: float = 1.0) -> tuple[Reading, Reading]:
    """Two figures of what a network has learned; equal, and censored, for a diverged run."""
    if record.final.outcome == "diverged":
        return Reading(0.0, True), Reading(0.0, True)
    values = [getattr(record.learned, name, None) for name in names]
    if None in values:
        raise SpecError(f"Run {record.hash} has no {' and '.join(names)}; its spec does not ask for them.")
    first, second = (Reading(unit * value, False) for value in values if value is not None)
    return first, second


def _over_half(record: RunRecord, name: str) -> tuple[Reading, Reading]:
    """A share in percent, and one half, which is what "most" must be above."""
    half, found = Reading(50.0, record.final.outcome == "diverged"), _learned(record, name, name, unit=100.0)[0]
    return (half, half) if half.censored else (found, half)


MEASURES: Mapping[Measure, Callable[[RunRecord], Reading]] = {
    "epochs-to-target": epochs_to_target,
    "epochs-to-trained": epochs_to_trained,
    "test-error": test_error,
    "ten-crop-error": ten_crop_error,
    "train-error": train_error,
    "generalisation-gap": generalisation_gap,
    "early-train-loss": early_train_loss,
}
# Measures that take both arms from one run.
WITHIN: Mapping[Measure, Callable[[RunRecord], tuple[Reading, Reading]]] = {
    "chance-margin": chance_margin,
    "crop-error": crop_errors,
    "colour-separation": lambda record: _learned(record, "tower_colour", "half_colour"),
    "tower-colour": lambda record: _learned(record, "tower_colour", "untrained_tower_colour"),
    "neighbour-share": lambda record: _over_half(record, "feature_neighbours_share"),
    "top5-share": lambda record: _over_half(record, "runner_up_kind"),
}


def test_error_not_lower(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> bool:
    """Whether the first arm's mean test error is not below the second's."""
    means = [statistics.fmean(test_error(record).value for record in arm) for arm in (first, second)]
    return means[0] >= means[1]


def _each_above(high: str, low: str) -> Callable[[Sequence[RunRecord], Sequence[RunRecord]], bool]:
    return lambda first, _: all(a.value > b.value for a, b in (_learned(record, high, low) for record in first))


# What a claim may need besides its effect: the condition over the runs of both arms, and what is said where it fails.
ALSO: Mapping[Also, tuple[Callable[[Sequence[RunRecord], Sequence[RunRecord]], bool], str]] = {
    "test-error-not-lower": (
        test_error_not_lower, "the gap is there, but the test error is lower without, so nothing is lost by it",
    ),
    "nearer-than-pixels": (
        _each_above("feature_neighbours_share", "pixel_neighbours_share"), "neighbours in pixels share it as often",
    ),
    "above-random-order": (_each_above("runner_up_kind", "random_kind"), "a random order does as well"),
}  # fmt: skip
