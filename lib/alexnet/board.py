"""Run records -> effects -> the verdict board.

The thin layer between the records of `alexnet.experiments` and the numbers of `alexnet.effects`.
"""

import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import pandas

from . import effects
from .claims import Question, claims
from .effects import Effect, Label, Verdict
from .errors import SpecError
from .measures import MEASURES, WITHIN, Reading, epochs_to_target, epochs_to_train_loss
from .records import RunRecord

__all__ = [
    "Arms", "PlannedRun", "Reading", "Row", "adjusted_labels", "command", "detectable", "effect_of",
    "epochs_to_target", "ours", "paired_records", "paper", "readings", "row", "rows", "verdict_board",
]  # fmt: skip


class PlannedRun(Protocol):
    """A run and its place in an experiment, as `alexnet.experiments` plans it."""

    @property
    def claim(self) -> str:
        """The claim it is for."""

    @property
    def condition(self) -> str:
        """The condition of the claim."""

    @property
    def stage(self) -> str:
        """The stage: "grid" for a run that chooses a setting, "seeds" for one that counts."""

    @property
    def arm(self) -> str:
        """The arm of the comparison."""

    @property
    def seed(self) -> int:
        """The seed, by which runs are paired."""


Runs = Iterable[tuple[PlannedRun, RunRecord | None]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the board: a question, what came out, and how to run it again."""

    question: Question
    effect: Effect | float | None  # a number for exact questions; None where nothing was run
    verdict: Verdict
    planned: int  # pairs of runs that the profile plans; more than the effect's n while records are missing
    command: str  # runs the row again

    @property
    def link(self) -> str:
        """The row's anchor on a page."""
        return f"{self.question.claim}-{self.question.condition}"


Records = Sequence[RunRecord | None]
Arms = tuple[Records, Records]


def paired_records(question: Question, runs: Runs) -> dict[int, Arms]:
    """The runs that count for a question, by seed, in the order of its arms; None for a run not in the records.

    An arm may have several runs a seed, which are averaged. Where one run gives both arms, it stands in both.
    """
    if question.arms is None:
        return {}
    found: dict[int, dict[str, list[RunRecord | None]]] = {}
    for planned, record in runs:
        if (planned.claim, planned.condition, planned.stage) == (question.claim, question.condition, "seeds"):
            within = question.measure in WITHIN
            if not within and planned.arm not in question.arms:
                raise SpecError(f"{question.id} compares {' and '.join(question.arms)}; a run is of {planned.arm!r}.")
            for arm in question.arms if within else (planned.arm,):
                found.setdefault(planned.seed, {}).setdefault(arm, []).append(record)
    first, second = question.arms
    return {seed: (arms.get(first, []), arms.get(second, [])) for seed, arms in sorted(found.items())}


def readings(question: Question, arms: Arms) -> tuple[Reading, Reading] | None:
    """What a pair of arms contributes, or None while one of its runs is missing.

    Raises `SpecError` for a measure that cannot be taken from run records.
    """
    if question.measure is None:
        return None
    complete = [[record for record in arm if record is not None] for arm in arms]
    if any(not found or len(found) < len(arm) for found, arm in zip(complete, arms, strict=True)):
        return None
    measure = question.measure
    if (within := WITHIN.get(measure)) is not None:
        return within(complete[0][0])
    if measure == "epochs-to-train-loss" and question.level is not None:
        read: Callable[[RunRecord], Reading] = functools.partial(epochs_to_train_loss, level=question.level)
    elif (known := MEASURES.get(measure)) is not None:
        read = known
    else:
        raise SpecError(f"{question.id}: its measure, {measure}, cannot be taken from run records.")
    first, second = (_mean([read(record) for record in arm]) for arm in complete)
    return first, second


def _mean(found: Sequence[Reading]) -> Reading:
    return Reading(statistics.fmean(r.value for r in found), any(r.censored for r in found))


def effect_of(question: Question, runs: Runs) -> Effect | None:
    """The effect over the complete pairs, or None when there is none.

    A pair is left out only while one of its runs is missing. Runs that diverged or never arrived are kept, censored.
    """
    if question.null is None or question.measure is None:
        return None
    found = [pair for arms in paired_records(question, runs).values() if (pair := readings(question, arms)) is not None]
    if not found:
        return None
    values = [[pair[arm].value for pair in found] for arm in (0, 1)]
    censored = [[pair[arm].censored for pair in found] for arm in (0, 1)]
    if question.effect == "ratio":
        return effects.paired_ratio(
            *values,
            numerator_censored=censored[0],
            denominator_censored=censored[1],
            null=question.null,
            confidence=question.confidence,
        )
    diverged = [one or other for one, other in zip(*censored, strict=True)]
    return effects.paired_difference(
        *values, diverged=diverged, unit=question.unit, null=question.null, confidence=question.confidence
    )


def command(question: Question) -> str:
    """The command that computes a row anew: its runs, whatever the records say; counts are part of every report."""
    if question.effect == "none":
        return ""
    return "make report" if question.effect == "exact" else f"make runs CLAIM={question.claim} FRESH=1"


def row(question: Question, runs: Runs = (), count: float | None = None) -> Row:
    """The board's row for a question, from its runs, or from a count for an exact question.

    Runs on a part of the images (the smoke profile) are on another scale than the paper's, whatever the question says.
    """
    runs = list(runs)
    pairs = paired_records(question, runs).values()
    every = [record for pair in pairs for arm in pair for record in arm if record is not None]
    if any(record.spec.images.train_size is not None for record in every):
        question = question.model_copy(update={"scale": "other"})
    planned = len(pairs)
    effect = count if question.effect == "exact" else effect_of(question, runs)
    found = effects.verdict(question, effect)
    if isinstance(effect, Effect) and effect.n < planned:
        missing = f" {planned - effect.n} of {planned} planned pairs of runs are not in the records yet."
        found = dataclasses.replace(found, reason=found.reason + missing)
    return Row(question, effect, found, planned, command(question))


def rows(runs: Runs, counts: Mapping[str, float] | None = None, primary_only: bool = False) -> list[Row]:
    """The board: a row a question, in the order of `claims.toml`.

    `counts` holds the numbers of the exact questions, by their measure ("parameters", "neurons", ...).
    """
    runs, counts = list(runs), counts or {}
    return [row(question, runs, counts.get(question.measure or "")) for question in claims().questions(primary_only)]


def adjusted_labels(found: Sequence[Row]) -> list[Label]:
    """The labels under a Holm correction over all rows that are tests, in the order of the rows."""
    p_values = [entry.effect.p_value if isinstance(entry.effect, Effect) else float("nan") for entry in found]
    return effects.holm_labels([entry.verdict for entry in found], p_values, claims().rule.confidence)


def ours(entry: Row) -> str:
    """What came out, as the board shows it: "6.1 [5.2, 7.1], n = 5"."""
    if entry.effect is None:
        return "–"
    return entry.effect.text if isinstance(entry.effect, Effect) else f"{entry.effect:,.0f}"


def paper(question: Question) -> str:
    """The paper's figure, as the board shows it, marked where it was measured on another scale."""
    if question.figure is None:
        return "–"
    elsewhere = question.scale == "other" and question.figure.value is not None
    return question.figure.text + (" (another scale)" if elsewhere else "")


def verdict_board(found: Sequence[Row]) -> pandas.DataFrame:
    """The board as a table: claim, condition, section, paper, ours, unit, verdict, why, command."""
    return pandas.DataFrame(
        [
            {
                "claim": entry.question.claim,
                "condition": entry.question.condition_title,
                "section": entry.question.section,
                "paper": paper(entry.question),
                "ours": ours(entry),
                "unit": entry.question.unit if entry.effect is not None else "–",
                "verdict": entry.verdict.label,
                "why": entry.verdict.reason,
                "command": entry.command,
            }
            for entry in found
        ],
        columns=["claim", "condition", "section", "paper", "ours", "unit", "verdict", "why", "command"],
    )


def detectable(found: Sequence[Row], power: float = 0.8) -> pandas.DataFrame:
    """How large each effect had to be for its runs to show it with that probability: what "inconclusive" rules out.

    `smallest` is a distance from the null in the unit of the row, or for ratios how many times the null.
    """
    return pandas.DataFrame(
        [
            {
                "claim": entry.question.claim,
                "condition": entry.question.condition_title,
                "seeds": entry.effect.n,
                "smallest": entry.effect.smallest_detectable(power),
                "unit": entry.question.unit,
                "paper": paper(entry.question),
                "verdict": entry.verdict.label,
            }
            for entry in found
            if isinstance(entry.effect, Effect)
        ],
        columns=["claim", "condition", "seeds", "smallest", "unit", "paper", "verdict"],
    )
