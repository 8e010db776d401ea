"""A test accuracy and its interval, for runs that are compared with a printed figure and not in pairs."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..paper.claims import claims
from ..records.record import RunRecord
from ..training.prepared import split_for
from .effects import Effect, paired_difference, reach


@dataclass(frozen=True)
class Accuracy:
    """A test accuracy in percent: the mean over runs, and an interval for it.

    With several runs a t interval over them; with one, Wilson's interval for the test images of that run.
    """

    values: tuple[float, ...]
    images: int  # that each was measured on

    @property
    def mean(self) -> float:
        """The mean over the runs."""
        return statistics.fmean(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper limit, percent."""
        confidence = claims().rule.confidence
        if len(self.values) == 1:
            right = round(self.values[0] * self.images / 100)
            found = stats.binomtest(right, self.images).proportion_ci(confidence, method="wilson")
            return 100 * found.low, 100 * found.high
        margin = float(reach(np.array(self.values), confidence))
        return self.mean - margin, self.mean + margin

    @property
    def text(self) -> str:
        """As a table shows it: "76.8% [75.9, 77.6], n = 1"."""
        low, high = self.interval
        return f"{self.mean:.2f}% [{low:.2f}, {high:.2f}], n = {len(self.values)}"


def clean_accuracy(record: RunRecord) -> float | None:
    """The test accuracy of a run in percent, after its last epoch."""
    return None if record.final.test_error is None else 100 * (1 - record.final.test_error)


def accuracy(records: Sequence[RunRecord], values: Iterable[float | None] | None = None) -> Accuracy | None:
    """The mean of the runs' test accuracies after their last epochs, or of others; None where there is none."""
    values = map(clean_accuracy, records) if values is None else values
    known = tuple(value for value in values if value is not None)
    return Accuracy(known, len(split_for(records[0].spec).test_labels)) if known else None


def paired_gain(after: Sequence[RunRecord], before: Sequence[RunRecord]) -> Effect | None:
    """Points of test accuracy by which some runs are above others, in pairs of a seed; None where no seed is shared."""
    first, second = (
        {r.spec.seed: (value, r.final.outcome == "diverged") for r in runs if (value := clean_accuracy(r)) is not None}
        for runs in (after, before)
    )
    pairs = [(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]
    if not pairs:
        return None
    ours, theirs = ([value for value, _ in arm] for arm in zip(*pairs, strict=True))
    return paired_difference(ours, theirs, diverged=[lost or lost_too for (_, lost), (_, lost_too) in pairs])
