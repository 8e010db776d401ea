"""Noise of the test set beside noise of the seeds: what another test set of the same size could have changed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..paper.claims import Question
from ..records.record import RunRecord
from ..records.store import Store
from ..training import batches
from . import effects
from .board import Row, Runs, paired_records
from .effects import Effect, SamplingNoise


def noise_of(question: Question, runs: Runs, store: Store) -> SamplingNoise | None:
    """The paired test on the stored test predictions of a question's runs, averaged over its complete pairs.

    None where the question does not compare the test errors of two arms, or has no complete pair of runs. An arm of
    several runs a seed pairs each of them with the other arm's. Raises `RecordError` for predictions that are missing
    or not the recorded ones.
    """
    if question.measure != "test-error":
        return None
    first, second = [], []
    for one, other in paired_records(question, runs).values():
        complete = [record for record in (*one, *other) if record is not None]
        if not one or not other or len(complete) < len(one) + len(other):
            continue
        for place in range(max(len(one), len(other))):
            first.append(_correct(one[place % len(one)], store))
            second.append(_correct(other[place % len(other)], store))
    return effects.sampling_noise(np.array(first), np.array(second)) if first else None


def _correct(record: RunRecord | None, store: Store) -> np.ndarray:
    """Whether each test image is classified right, [N]; none is by a run that diverged before it was tested."""
    assert record is not None  # only complete pairs come here
    labels = batches.test_labels(record.spec)
    if record.predictions is None:
        return np.zeros(len(labels), dtype=bool)
    found: np.ndarray = store.predictions(record)["predicted"] == labels
    return found


def table(rows: Sequence[Row], runs: Runs, store: Store) -> pd.DataFrame:
    """A line a row that compares test errors: the difference, its interval over seeds, and that over test images.

    The difference is in percentage points; `over images` is for these very networks, as is p.
    """
    runs = list(runs)
    lines = []
    for row in rows:
        noise = noise_of(row.question, runs, store)
        if noise is None or not isinstance(row.effect, Effect):
            continue
        over_seeds = f"{row.effect.low:.2f} to {row.effect.high:.2f}" if row.effect.has_interval else "–"
        lines.append(
            {
                "claim": row.question.title,
                "condition": row.question.condition_title,
                "difference": noise.difference,
                "over seeds": over_seeds,
                "over images": f"{noise.low:.2f} to {noise.high:.2f}",
                "p": "< 0.001" if noise.p_value < 0.001 else f"{noise.p_value:.3f}",
            }
        )
    return pd.DataFrame(lines, columns=["claim", "condition", "difference", "over seeds", "over images", "p"])
