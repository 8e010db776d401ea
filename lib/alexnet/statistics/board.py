"""Run records -> effects -> the verdict board.

The thin layer between the records of planned runs and the numbers of `alexnet.statistics.effects`.
"""

import dataclasses
import functools
import math
import operator
import statistics
from collections.abc import Iterable, Mapping, Sequence

import pandas

from ..errors import SpecError
from ..paper.claims import Question, claims, logs
from ..records.record import RunRecord
from ..runs.planning import Runs
from . import effects, measures, verdicts
from .effects import Effect
from .measures import WITHIN, Reading, collapsed, counted_in
from .verdicts import Label, Verdict

ONE_RUN = ""  # stands for the arms where one run gives both figures
HOW_SOON = [measure for measure in measures.OF_TRAINING if measure != "chance-margin"]
Arms = tuple[list[RunRecord | None], list[RunRecord | None]]  # the runs of a pair; None for one not in the records


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the board: a question, what came out, and how to run it again."""

    question: Question
    effect: Effect | float | None  # a number for exact questions; None where nothing was run
    verdict: Verdict
    planned: int  # pairs of runs that the profile plans; more than the effect's n while records are missing
    command: str  # runs the row again
    collapses: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # arm: those, of so many runs
    recorded: tuple[int, int] = (0, 0)  # runs that have a record, of those that are planned

    @property
    def link(self) -> str:
        """The row's anchor on a page."""
        return f"{self.question.claim}-{self.question.condition}"

    @property
    def waits(self) -> bool:
        """Whether it has no verdict because its runs are still to be made."""
        made, of = self.recorded
        return self.verdict.label == "not tested" and not self.question.not_tested and not 0 < made == of

    @property
    def told(self) -> Effect | float | None:
        """The effect, as far as it is shown: while runs are missing, no part of them stands for it."""
        return None if self.waits else self.effect

    @property
    def why(self) -> str:
        """The verdict's reason; of a row without runs no more than that, since the command stands beside it."""
        return self.verdict.reason if self.recorded[0] or not self.waits else "no run that decides yet"

    @property
    def label(self) -> str:
        """The verdict, or what it waits for."""
        if not self.waits:
            return self.verdict.label + " (first look)" * self.question.seen
        return "waits for a GPU" if self.question.profile == "gpu" else "waits for its runs"


def paired_records(question: Question, runs: Runs) -> dict[int, Arms]:
    """The runs that count for a question, by seed, in the order of its arms.

    An arm may have several runs a seed, which are averaged. Where one run gives both arms, it stands in both.
    """
    found: dict[int, Arms] = {}
    names, within = question.arms or (), question.measure in WITHIN
    for planned, record in runs if names else ():
        if (planned.claim, planned.condition, planned.stage) == (question.claim, question.condition, "seeds"):
            if not within and planned.arm not in names:
                raise SpecError(f"{question.id} compares {' and '.join(names)}; a run is of {planned.arm!r}.")
            for arm, of in zip(names, found.setdefault(planned.seed, ([], [])), strict=True):
                if within or arm == planned.arm:
                    of.append(record)
    return dict(sorted(found.items()))


def readings(question: Question, arms: Arms) -> tuple[Reading, Reading] | None:
    """What a pair of arms contributes; None while one of its runs is missing, or where one has collapsed.

    Raises `SpecError` for a measure that cannot be taken from run records.
    """
    if question.measure is None or not all(arms) or any(record is None for arm in arms for record in arm):
        return None
    complete = [[record for record in arm if record is not None] for arm in arms]
    if question.measure not in measures.OF_TRAINING and any(collapsed(record) for arm in complete for record in arm):
        return None
    read = measures.reader(question)
    first, second = (_mean([read(record)[place] for record in arm]) for place, arm in enumerate(complete))
    return first, second


def pairs_of_effect(question: Question, runs: Runs) -> list[list[list[RunRecord]]]:
    """The runs that a question's effect rests on: of each pair that counts, those of either arm."""
    pairs = [arms for arms in paired_records(question, runs).values() if readings(question, arms) is not None]
    return [[[record for record in arm if record is not None] for arm in arms] for arms in pairs]


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
    first, second = ([pair[arm].value for pair in found] for arm in (0, 1))
    late, late_too = ([pair[arm].censored for pair in found] for arm in (0, 1))
    null, confidence = question.null, question.confidence
    if question.effect == "ratio":
        return effects.paired_ratio(
            first, second, numerator_censored=late, denominator_censored=late_too, null=null, confidence=confidence
        )
    diverged = [one or other for one, other in zip(late, late_too, strict=True)]
    return effects.paired_difference(
        first, second, diverged=diverged, unit=question.unit, null=null, confidence=confidence
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
    if question.smallest_of:
        return _smallest(question, runs)
    pairs = paired_records(question, runs).values()
    arms = [_once(pair[place] for pair in pairs) for place in (0, 1)]
    each = 1 if question.measure in WITHIN else 2  # arms that have runs of their own
    # The runs of an arm whose learning rate is still to be chosen are not named yet: one of them is missing.
    made = [record for pair in pairs for arm in pair[:each] for record in arm or [None]]
    recorded = sum(record is not None for record in made), len(made)
    if any(record.spec.images.train_size is not None for arm in arms for record in arm):
        question = question.model_copy(update={"scale": "other"})
    effect = count if question.effect == "exact" else effect_of(question, runs)
    names = (ONE_RUN,) if question.measure in WITHIN else question.arms or ()
    lost = {name: (sum(map(collapsed, arm)), len(arm)) for name, arm in zip(names, arms, strict=False)}
    collapses = {name: counts for name, counts in lost.items() if counts[0]}
    capped = "; ".join(
        f"{lost} of {n} runs{f' of the arm {name!r}' * (name != ONE_RUN)} collapsed"
        for name, (lost, n) in collapses.items()
    )
    if question.measure in HOW_SOON and all(arms) and all(dead == of for dead, of in lost.values()):
        reason = f"None of the {sum(map(len, arms))} runs trained, in either arm, so nothing is known of how soon."
        found = Verdict("inconclusive" if min(map(len, arms)) > 1 else "not tested", reason)
        return Row(question, None, found, len(pairs), command(question), collapses, recorded)
    if not capped and question.also and all(arms):
        holds, _, otherwise = measures.ALSO[question.also]
        capped = "" if holds(*arms) else otherwise
    if question.measure in ("chance-margin", "epochs-to-trained"):
        capped = ""  # whether they train is what these ask
    return _judged(question, effect, capped, len(pairs), collapses, recorded)


def _once(arms: Iterable[Sequence[RunRecord | None]]) -> list[RunRecord]:
    return list({record.hash: record for arm in arms for record in arm if record is not None}.values())


def _smallest(question: Question, runs: Runs) -> Row:
    """The row of a claim on any of several: the smallest of their effects, once all of them are there."""
    parts = [row(claims().question(question.claim, condition), runs) for condition in question.smallest_of]
    known = [part.effect for part in parts if isinstance(part.effect, Effect)]
    effect = effects.smallest_of(known) if len(known) == len(parts) else None
    collapses = {part.question.condition: lost for part in parts for lost in part.collapses.values()}
    capped = "; ".join(f"{lost} of {n} runs {name} collapsed" for name, (lost, n) in collapses.items())
    # Parts share runs. Those whose learning rate is still to be chosen are in no plan yet.
    named = [_named(part.question, runs) for part in parts]
    distinct = functools.reduce(operator.or_, named)
    unnamed = sum(part.recorded[1] - len(found) for part, found in zip(parts, named, strict=True))
    recorded = sum(record is not None for record in distinct.values()), len(distinct) + unnamed
    return _judged(question, effect, capped, min(part.planned for part in parts), collapses, recorded)


def _named(question: Question, runs: Runs) -> dict[str, RunRecord | None]:
    """Hash to record of the runs that count for a question."""
    asked = (question.claim, question.condition, "seeds")
    return {p.spec.hash: record for p, record in runs if (p.claim, p.condition, p.stage) == asked}


def _judged(
    question: Question,
    effect: Effect | float | None,
    capped: str,  # what forbids "reproduced", in words
    planned: int,
    collapses: dict[str, tuple[int, int]],
    recorded: tuple[int, int],
) -> Row:
    """A row with its verdict, or while pairs are missing with how many: a look before the end is none at the end."""
    found = verdicts.verdict(question, effect, capped)
    made, of = recorded
    if effect is None and made:
        left = (
            f"no pair is complete; {verdicts.to_make(question)} makes the others"
            if made < of
            else "all collapsed"
            if question.measure in WITHIN
            else "in each pair one collapsed"
        )
        found = dataclasses.replace(found, reason=f"{made} of {of} runs are recorded, and {left}.")
    if isinstance(effect, Effect) and (made < of if collapses else effect.n < planned):
        pairs = f"{planned - effect.n} of {planned} planned {counted_in(question, planned)}"
        lacking = f"{of - made} of {of} planned runs" if collapses else pairs
        found = Verdict("not tested", f"{lacking} are not in the records yet, so there is no verdict.")
    return Row(question, effect, found, planned, command(question), collapses, recorded)


def rows(runs: Runs, counts: Mapping[str, float] | None = None, primary_only: bool = False) -> list[Row]:
    """The board: a row a question, in the order of `claims.toml`.

    `counts` holds the numbers of the exact questions, by their measure ("parameters", "neurons", ...).
    """
    counts = counts or {}
    return [row(question, runs, counts.get(question.measure or "")) for question in claims().questions(primary_only)]


def of_claim(claim: str, runs: Runs) -> list[Row]:
    """The rows of a claim: the primary one first, whether it has runs or not, then those that the profile plans."""
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
    """Of a claim's rows the one to show: the primary, or while its runs are missing the first that has an interval. One
    of several whose smallest effect decides says nothing of them all."""
    some = (entry for entry in found if entry.question.condition not in found[0].question.smallest_of)
    return next((entry for entry in some if entry.told is not None and getattr(entry.told, "n", 2) > 1), found[0])


def answer(found: Sequence[Row]) -> str:
    """What a page says first of a claim, as Markdown: the verdict, the effect, and what it rests on."""
    first, entry = found[0], shown(found)
    title = first.question.title
    if entry.told is None:
        why = entry.verdict.reason if entry.recorded[0] else "No run of it is recorded yet."
        return f"**{title}: {first.label}.** {why}"
    said = f"{entry.question.condition_title}: {with_unit(entry)}. {entry.verdict.reason}"
    if entry is first:
        return f"**{title}: {first.label}.** {said[0].upper()}{said[1:]}"
    another = (
        "A first look, seen before the rule was fixed," if entry.question.seen else "Another, which does not decide,"
    )
    made, of = first.recorded
    return (
        f"**{title}: {first.label}.** Of those that decide ({first.question.condition_title}) "
        f"{f'{made} of {of} are recorded so far' if made else 'none is recorded yet'}. "
        f"{another} would be called *{entry.verdict.label}*. {said[0].upper()}{said[1:]}"
    )


def with_unit(entry: Row) -> str:
    """What came out with its unit before the number of seeds: "2.9 [0.7, 5.1] points, n = 3"."""
    result, comma, seeds = ours(entry).partition(", n = ")
    unit = entry.question.unit.replace("percentage points", "points")
    return result if entry.told is None else f"{result} {unit}{comma}{seeds}"


def decisive(found: Sequence[Row]) -> list[float]:
    """The p-value of each row's label; NaN where there is no test."""
    return [verdicts.decisive(one.question, one.told) if isinstance(one.told, Effect) else math.nan for one in found]


def corrected(found: Sequence[Row]) -> tuple[list[Label], list[Label]]:
    """What is left of the labels of a family of rows after Benjamini and Hochberg, and by simultaneous intervals.

    The first gives each row the label of its interval at the level that keeps the rate of false discoveries, the second
    that of its interval at the level at which all of them hold at once (Bonferroni).
    """
    rule, p_values = claims().rule, decisive(found)

    def left(entry: Row, level: float) -> Label:
        if not isinstance(entry.told, Effect):
            return entry.verdict.label
        capped = entry.verdict.label == "direction reproduced"
        return verdicts.labelled(entry.question, entry.told, 1 - level, capped)

    kept = verdicts.false_discovery_level(p_values, rule.false_discoveries)
    strict = verdicts.simultaneous_level(p_values, 1 - rule.confidence)
    return [left(entry, kept) for entry in found], [left(entry, strict) for entry in found]


def ours(entry: Row) -> str:
    """What came out, as the board shows it: "6.1 [5.2, 7.1], n = 5"."""
    if entry.told is None:
        return "–"
    return entry.told.text if isinstance(entry.told, Effect) else f"{entry.told:,.0f}"


def paper(question: Question) -> str:
    """The paper's figure, as the board shows it, marked where it was measured on another scale."""
    if question.figure is None:
        return "–"
    elsewhere = question.scale == "other" and question.figure.value is not None
    return question.figure.text + (" (another scale)" if elsewhere else "")


def verdict_board(found: Sequence[Row]) -> pandas.DataFrame:
    """The board as a table: claim, condition, section, paper, ours, unit, verdict, why, command."""
    columns = ["claim", "condition", "section", "paper", "ours", "unit", "verdict", "why", "command"]
    lines = [
        (
            entry.question.title,
            entry.question.condition_title,
            entry.question.section,
            paper(entry.question),
            ours(entry),
            entry.question.unit if entry.told is not None else "–",
            entry.label,
            entry.why,
            entry.command,
        )
        for entry in found
    ]
    return pandas.DataFrame(lines, columns=columns)


def beside_logs(found: Sequence[Row]) -> pandas.DataFrame:
    """What the paper prints, what the original code's own logs say, and what came out here: a line a pair of runs in
    the logs; the row shown is the claim's that decides, or while its runs are missing a first look."""
    lines = []
    for pair in logs().pair:
        claim, own = claims()[pair.claim], [entry for entry in found if entry.question.claim == pair.claim]
        printed, here = ["–"], ("–", "–")
        if pair.printed:
            printed = [f"{figure.value:g}" for figure in claim.figures]
            entry = shown(sorted(own, key=lambda entry: not entry.question.primary))
            here = with_unit(entry), entry.label
        logged = " and ".join(f"{points:.2f}" for points in pair.points)
        lines.append((claim.title, f"{pair.what} against {pair.against}", " and ".join(printed), logged, *here))
    columns = ["claim", "compared in the logs", "paper (points)", "logs (points)", "here", "verdict here"]
    return pandas.DataFrame(lines, columns=columns)


def detectable(found: Sequence[Row]) -> pandas.DataFrame:
    """How large each effect had to be for its runs to show it in four tries of five: what "inconclusive" rules out.

    `smallest` is a distance from the null in the unit of the row, or for ratios how many times the null.
    """
    columns = ["claim", "condition", "pairs", "smallest", "unit", "paper", "verdict"]
    lines = [
        (
            entry.question.title,
            entry.question.condition_title,
            entry.effect.n,
            entry.effect.smallest_detectable(),
            entry.question.unit,
            paper(entry.question),
            entry.verdict.label,
        )
        for entry in found
        if isinstance(entry.effect, Effect)
    ]
    return pandas.DataFrame(lines, columns=columns)
