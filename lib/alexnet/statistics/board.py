"""Run records -> effects -> the verdict board.

The thin layer between the records of `alexnet.experiments.profiles` and the numbers of `alexnet.statistics.effects`.
"""

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import pandas

from ..errors import SpecError
from ..paper.claims import Question, claims
from ..records.record import RunRecord
from . import effects
from .effects import Effect, Label, Verdict
from .measures import ALSO, MEASURES, OF_TRAINING, WITHIN, Reading, collapsed, epochs_to_target, epochs_to_train_loss

__all__ = [
    "Arms", "PlannedRun", "Reading", "Row", "answer", "command", "corrected", "decisive", "detectable", "effect_of",
    "epochs_to_target", "of_claim", "ours", "paired_records", "paper", "readings", "row", "rows", "verdict_board",
]  # fmt: skip


class PlannedRun(Protocol):
    """A run and its place in an experiment, as `alexnet.experiments.profiles` plans it."""

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
    collapses: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # arm: those, of so many runs

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
    """What a pair of arms contributes, or None while one of its runs is missing, or where an arm's have all collapsed.

    Raises `SpecError` for a measure that cannot be taken from run records.
    """
    if question.measure is None:
        return None
    measure, complete = question.measure, [[record for record in arm if record is not None] for arm in arms]
    if any(len(found) < len(arm) for found, arm in zip(complete, arms, strict=True)):
        return None
    if measure not in OF_TRAINING:
        complete = [[record for record in arm if not collapsed(record)] for arm in complete]
    if not all(complete):
        return None
    if (within := WITHIN.get(measure)) is not None:
        both = [within(record) for record in complete[0]]
        return _mean([first for first, _ in both]), _mean([second for _, second in both])
    if measure == "epochs-to-train-loss" and question.levels:
        read: Callable[[RunRecord], Reading] = functools.partial(epochs_to_train_loss, levels=question.levels)
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

    A pair is left out while one of its runs is missing; collapsed runs are set aside and counted in the row, unless the
    question is whether or how soon networks train. Runs that never arrived are kept, censored.
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
    if question.smallest_of:
        return _smallest(question, runs)
    pairs = paired_records(question, runs).values()
    arms = [_once(pair[place] for pair in pairs) for place in (0, 1)]
    every = [record for arm in arms for record in arm]
    if any(record.spec.images.train_size is not None for record in every):
        question = question.model_copy(update={"scale": "other"})
    effect = count if question.effect == "exact" else effect_of(question, runs)
    collapses: dict[str, tuple[int, int]] = {}
    for name, arm in zip(question.arms or (), arms, strict=False):
        if any(collapsed(record) for record in arm):
            collapses[name] = (sum(collapsed(record) for record in arm), len(arm))
    capped = "; ".join(f"{lost} of {n} runs of the arm {name!r} collapsed" for name, (lost, n) in collapses.items())
    if question.also and all(arms):
        holds, otherwise = ALSO[question.also]
        capped = capped or ("" if holds(*arms) else otherwise)
    if question.measure in ("chance-margin", "epochs-to-trained"):
        capped = ""  # whether they train is what these ask
    found = effects.verdict(question, effect, capped)
    return _marked(Row(question, effect, found, len(pairs), command(question), collapses))


def _once(arms: Iterable[Records]) -> list[RunRecord]:
    return list({record.hash: record for arm in arms for record in arm if record is not None}.values())


def _smallest(question: Question, runs: Runs) -> Row:
    """The row of a claim on any of several: the smallest of their effects, once all of them are there."""
    parts = [row(claims().question(question.claim, condition), runs) for condition in question.smallest_of]
    known = [part.effect for part in parts if isinstance(part.effect, Effect)]
    effect = effects.smallest_of(known) if len(known) == len(parts) else None
    collapses = {part.question.condition: lost for part in parts for lost in part.collapses.values()}
    capped = "; ".join(f"{lost} of {n} runs {name} collapsed" for name, (lost, n) in collapses.items())
    found = effects.verdict(question, effect, capped)
    return _marked(Row(question, effect, found, min(part.planned for part in parts), command(question), collapses))


def _marked(entry: Row) -> Row:
    """A row that says how many of its pairs are missing."""
    if not isinstance(entry.effect, Effect) or entry.effect.n >= entry.planned:
        return entry
    lost = sum(n for n, _ in entry.collapses.values())
    missing = entry.planned - entry.effect.n
    if lost:
        return entry
    more = f" {missing} of {entry.planned} planned pairs of runs are not in the records yet."
    verdict = dataclasses.replace(entry.verdict, reason=(entry.verdict.reason + more).strip())
    return dataclasses.replace(entry, verdict=verdict)


def rows(runs: Runs, counts: Mapping[str, float] | None = None, primary_only: bool = False) -> list[Row]:
    """The board: a row a question, in the order of `claims.toml`.

    `counts` holds the numbers of the exact questions, by their measure ("parameters", "neurons", ...).
    """
    runs, counts = list(runs), counts or {}
    return [row(question, runs, counts.get(question.measure or "")) for question in claims().questions(primary_only)]


def of_claim(claim: str, runs: Runs) -> list[Row]:
    """The rows of a claim: the primary one first, whether it has runs or not, then those that the profile plans."""
    runs = list(runs)
    planned = {(entry.claim, entry.condition) for entry, _ in runs if entry.stage == "seeds"}
    found = [
        row(question, runs)
        for question in claims().questions()
        if question.claim == claim and (question.primary or any((claim, part) in planned for part in parts(question)))
    ]
    return sorted(found, key=lambda entry: not entry.question.primary)


def parts(question: Question) -> tuple[str, ...]:
    """The conditions whose runs a question reads: its own, or those of which the smallest effect decides."""
    return question.smallest_of or (question.condition,)


def shown(found: Sequence[Row]) -> Row:
    """Of a claim's rows the one to show: the primary, or while its runs are missing the first that has an effect."""
    return next((entry for entry in found if entry.effect is not None), found[0])


def answer(found: Sequence[Row]) -> str:
    """What a page says first of a claim, as Markdown: the verdict, the effect, and what it rests on."""
    first, entry = found[0], shown(found)
    title = first.question.title
    if entry.effect is None:
        return f"**{title}: waits for its runs.** No run of it is recorded yet."
    said = f"{entry.question.condition_title}: {with_unit(entry)}. {entry.verdict.reason}"
    if entry is first:
        return f"**{title}: {entry.verdict.label}.** {said[0].upper()}{said[1:]}"
    looked = "seen before the rule was fixed, " if entry.question.seen else ""
    return (
        f"**{title}: waits for its runs.** Those that decide ({first.question.condition_title}) are not recorded yet. "
        f"A first look, {looked}would be called *{entry.verdict.label}*. {said[0].upper()}{said[1:]}"
    )


def with_unit(entry: Row) -> str:
    """What came out with its unit before the number of seeds: "2.9 [0.7, 5.1] points, n = 3"."""
    result, comma, seeds = ours(entry).partition(", n = ")
    unit = entry.question.unit.replace("percentage points", "points")
    return result if entry.effect is None else f"{result} {unit}{comma}{seeds}"


def decisive(found: Sequence[Row]) -> list[float]:
    """The p-value of each row's label; NaN where there is no test."""
    return [effects.decisive(one.question, one.effect) if isinstance(one.effect, Effect) else math.nan for one in found]


def corrected(found: Sequence[Row]) -> tuple[list[Label], list[Label]]:
    """What is left of the labels of a family of rows after Benjamini and Hochberg, and after Holm.

    The first gives each row the label of its interval at the level that keeps the rate of false discoveries; the second
    keeps a label or makes it inconclusive.
    """
    rule, p_values = claims().rule, decisive(found)
    level = effects.false_discovery_level(p_values, rule.false_discoveries)
    kept: list[Label] = []
    for entry in found:
        tested = isinstance(entry.effect, Effect) and entry.effect.n > 1
        capped = entry.verdict.label == "direction reproduced"
        kept.append(
            effects.labelled(entry.question, entry.effect, 1 - level, capped)  # type: ignore[arg-type]
            if tested
            else entry.verdict.label
        )
    strict: list[Label] = [
        entry.verdict.label if math.isnan(value) or value <= 1 - rule.confidence else "inconclusive"
        for entry, value in zip(found, effects.holm(p_values), strict=True)
    ]
    return kept, strict


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
                "claim": entry.question.title,
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
                "claim": entry.question.title,
                "condition": entry.question.condition_title,
                "pairs": entry.effect.n,
                "smallest": entry.effect.smallest_detectable(power),
                "unit": entry.question.unit,
                "paper": paper(entry.question),
                "verdict": entry.verdict.label,
            }
            for entry in found
            if isinstance(entry.effect, Effect)
        ],
        columns=["claim", "condition", "pairs", "smallest", "unit", "paper", "verdict"],
    )
