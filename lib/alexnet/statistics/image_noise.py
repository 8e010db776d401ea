"""Noise of the test set beside noise of the seeds: what another test set of the same size could have changed."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas
from numpy.typing import ArrayLike
from scipy import stats

from ..errors import SpecError
from ..paper.claims import Question, claims
from ..records.record import RunRecord
from ..records.store import Store
from ..runs.planning import Runs
from ..training.prepared import split_for
from .board import Row, pairs_of_effect
from .effects import Effect


@dataclasses.dataclass(frozen=True)
class SamplingNoise:
    """What another test set of the same size could have changed: accuracy of two arms on the same images."""

    difference: float  # error of the first less error of the second, percentage points
    low: float
    high: float
    p_value: float  # exact McNemar test for one pair of runs, normal approximation over several
    images: int
    pairs: int


def sampling_noise(
    first_correct: ArrayLike,  # [images] or [pairs, images] whether the first arm's prediction is right
    second_correct: ArrayLike,  # the same for the second arm
) -> SamplingNoise:
    """Difference in test error and its interval over test images, for fixed trained networks.

    Seed noise is not in this interval, and test-set noise is not in that over seeds: report both. The interval is
    normal over the per-image differences, averaged over pairs of runs. For one pair, the p-value is that of the exact
    McNemar test, a binomial test on the images that only one of the two gets right.
    """
    first, second = np.atleast_2d(np.asarray(first_correct)), np.atleast_2d(np.asarray(second_correct))
    if first.shape != second.shape or first.ndim != 2:
        raise SpecError(f"Both arms need predictions for the same images; shapes are {first.shape} and {second.shape}.")
    if first.dtype != bool or second.dtype != bool:
        raise SpecError("Give for each prediction whether it is right (True) or wrong (False).")
    pairs, images = first.shape
    if images < 2:
        raise SpecError("An interval over test images needs at least two of them.")
    each = 100.0 * (second.astype(np.int8) - first.astype(np.int8)).mean(axis=0)
    mean, error = float(each.mean()), float(each.std(ddof=1)) / math.sqrt(images)
    reach = float(stats.norm.ppf((1 + claims().rule.confidence) / 2)) * error
    if pairs == 1:
        only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
        discordant = only_first + only_second
        p_value = float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    else:
        p_value = float(2 * stats.norm.sf(abs(mean) / error)) if error else 1.0
    return SamplingNoise(mean, mean - reach, mean + reach, p_value, images, pairs)


def noise_of(question: Question, runs: Runs, store: Store) -> SamplingNoise | None:
    """The paired test on the stored test predictions of a question's runs, averaged over the pairs of its effect.

    None where the question does not compare the test errors of two arms, or has no complete pair of runs. An arm of
    several runs a seed pairs each of them with the other arm's. Raises `RecordError` for predictions that are missing
    or not the recorded ones.
    """
    if question.measure != "test-error":
        return None
    first, second = [], []
    for arms in pairs_of_effect(question, runs):
        one, other = ([_correct(record, store) for record in arm] for arm in arms)
        several = range(max(len(one), len(other)))
        first += [one[place % len(one)] for place in several]
        second += [other[place % len(other)] for place in several]
    return sampling_noise(np.array(first), np.array(second)) if first else None


def _correct(record: RunRecord, store: Store) -> np.ndarray:
    """Whether each test image is classified right, [N]; none is by a run that diverged before it was tested."""
    labels = split_for(record.spec).test_labels
    if record.predictions is None:
        return np.zeros(len(labels), dtype=bool)
    found: np.ndarray = store.predictions(record)["predicted"] == labels
    return found


def table(rows: Sequence[Row], runs: Runs, store: Store) -> pandas.DataFrame:
    """A line a row that compares test errors: the difference, its interval over seeds, and that over test images.

    The difference is in percentage points; `over images` is for these very networks, as is p.
    """
    lines = [
        {
            "claim": row.question.title,
            "condition": row.question.condition_title,
            "difference": noise.difference,
            "over seeds": f"{row.effect.low:.2f} to {row.effect.high:.2f}" if row.effect.has_interval else "–",
            "over images": f"{noise.low:.2f} to {noise.high:.2f}",
            "p": "< 0.001" if noise.p_value < 0.001 else f"{noise.p_value:.3f}",
        }
        for row in rows
        if (noise := noise_of(row.question, runs, store)) is not None and isinstance(row.effect, Effect)
    ]
    return pandas.DataFrame(lines, columns=["claim", "condition", "difference", "over seeds", "over images", "p"])
