"""What the first page and the README say first, computed from the board and the records: the answer in five sentences,
what surprised, and the questions of reproducibility checklists. A sentence is said only where it is true."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..experiments.published_runs import CLEAN
from ..figures.base import arm_name
from ..figures.tables import counted, listed
from ..paper.claims import Question, claims, history
from ..records.record import RunRecord
from ..records.specs import NAMES
from ..records.store import Store
from ..runs.planning import Runs
from ..statistics import board, effects, verdicts
from ..statistics.board import Row
from ..statistics.effects import Effect
from ..statistics.measures import WITHIN, collapsed
from ..statistics.verdicts import LABELS, Label

NAMED = 3  # claims that a sentence names at most


# ---- the answer ------------------------------------------------------------------------------------------------------


def waits(row: Row) -> bool:
    """Whether a row has no verdict because its runs are still to be made."""
    return row.verdict.label == "not tested" and not row.question.not_tested


def label(row: Row) -> str:
    """A row's verdict, or what it waits for."""
    if not waits(row):
        return row.verdict.label
    return "waits for a GPU" if row.question.profile == "gpu" else "waits for its runs"


def headline(found: Sequence[Row]) -> dict[Label, list[Row]]:
    """Label to the claims that have it after the correction for many claims, by their primary conditions."""
    primary = [row for row in found if row.question.primary]
    kept, _ = board.corrected(primary)
    return {name: [row for row, left in zip(primary, kept, strict=True) if left == name] for name in LABELS}


def sentences(found: Sequence[Row], records: Iterable[RunRecord]) -> list[str]:
    """What was asked, what held, what did not, what is open, and how sure that is: five sentences."""
    by_label = headline(found)
    primary = [row for row in found if row.question.primary]
    waiting = [row for row in by_label["not tested"] if waits(row)]
    barred = [row for row in by_label["not tested"] if not waits(row)]
    runs = list(records)
    made = f"{counted(len(runs), 'recorded training')} on {listed(sorted({NAMES[run.data.name] for run in runs}))}"
    asked = (
        f"We put {len(primary)} claims of the 2012 paper on AlexNet to the test, with "
        f"{made if runs else 'no recorded training so far'} and a rule that was fixed before the runs it judges."
    )
    so_far = " so far" if waiting else ""
    held = _having(by_label, ("reproduced", "direction reproduced")) or f"none is reproduced{so_far}"
    failed = _having(by_label, ("contradicted", "no effect of that size", "weaker than claimed"))
    failed = failed or f"none is contradicted, weaker than claimed or without an effect of that size{so_far}"
    left = {
        f"{len(by_label['inconclusive'])} inconclusive": by_label["inconclusive"],
        f"{len(waiting)} waiting for runs": waiting,
        f"{len(barred)} that cannot be tested here": barred,
    }
    still_open = listed(words for words, rows in left.items() if rows)
    last = f"Open are {still_open}" if still_open else "None is left open"
    return [asked, f"Of these, {held}.", f"Of the others, {failed}.", f"{last}.", _how_sure(primary)]


def _having(by_label: dict[Label, list[Row]], labels: Sequence[Label]) -> str:
    """ "2 reproduced (A; B) and 1 contradicted (C)"; nothing where none has such a label."""
    return listed(
        f"{len(rows)} {'is' if len(rows) == 1 else 'are'} {_as_said(name)} ({_titles(rows)})"
        for name in labels
        if (rows := by_label[name])
    )


def _as_said(name: Label) -> str:
    if name == "direction reproduced":
        return "reproduced in direction"
    return "without an effect of that size" if name == "no effect of that size" else name


def _titles(rows: Sequence[Row]) -> str:
    named = [f"“{row.question.title}”" for row in rows[:NAMED]]
    return "; ".join(named + [f"{len(rows) - NAMED} more"] * (len(rows) > NAMED))


def _how_sure(primary: Sequence[Row]) -> str:
    """What the corrections for many claims leave, or that nothing rests on runs yet."""
    tests = sum(not math.isnan(value) for value in board.decisive(primary))
    if not tests:
        return "No verdict rests on trainings yet: runs made before the rule are first looks and decide nothing."
    if tests == 1:
        return "One verdict rests on trainings, so that there is nothing to correct for."
    kept, strict = board.corrected(primary)
    lost = sum(row.verdict.label != left for row, left in zip(primary, kept, strict=True))
    tested = [(row, left) for row, left in zip(primary, strict, strict=True) if isinstance(row.effect, Effect)]
    said = [(row, left) for row, left in tested if row.verdict.label not in ("inconclusive", "not tested")]
    firm = sum(left == row.verdict.label for row, left in said)
    return (
        f"The {tests} verdicts that rest on trainings are corrected for their number (Benjamini and Hochberg: of those "
        f"that say something one in twenty is expected to be false), which changed {lost or 'none'} of them"
        + (f"; Holm's stricter way leaves {firm} of {len(said)}." if said else ".")
    )


def corrections(found: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """Link of a claim's row -> a mark and a sentence, where a correction for many claims changes its label."""
    primary = [row for row in found if row.question.primary]
    said: dict[str, tuple[str, str]] = {}
    for row, kept, strict in zip(primary, *board.corrected(primary), strict=True):
        if kept != row.verdict.label:
            said[row.link] = "†", f"After the correction of Benjamini and Hochberg it is “{kept}”."
        elif strict != row.verdict.label:
            said[row.link] = "‡", f"After Holm's correction, the stricter one, it is “{strict}”."
    return said


def notes(row: Row, runs: Runs) -> list[str]:
    """What else a row has to say: its margin, the size beside the paper's, collapses, the test errors of its arms."""
    found: list[str] = []
    question, effect = row.question, row.effect
    if not isinstance(effect, Effect):
        return found
    if question.primary:
        found.append(f"The margin is {verdicts.size(question, effect)}: {question.margin_why}.")
    if agreement := verdicts.agreement(question, effect):
        met = "The interval meets the paper's figure"
        found.append(
            f"{met}." if agreement == "agrees" else f"The whole interval is {agreement} than the paper's figure."
        )
    for lost, n in dict.fromkeys(row.collapses.values()) if question.primary else ():
        low, high = effects.proportion(lost, n)
        found.append(f"A run collapses with a probability of {low:.0%} to {high:.0%} ({lost} of {n} did).")
    if errors := test_errors(question, runs):
        found.append(f"Mean test error: {errors}.")
    return found


def test_errors(question: Question, runs: Runs) -> str:
    """The mean test error of each arm over its runs, collapsed ones included: "without 25.1%, with 22.6%"."""
    pairs = board.paired_records(question, runs).values()
    means = []
    for place, arm in enumerate(question.arms or ()):
        found = {record.hash: record for pair in pairs for record in pair[place] if record is not None}
        known = [record.final.test_error for record in found.values() if record.final.test_error is not None]
        if known:
            name = "" if question.measure in WITHIN else f"{arm_name(arm)} "
            means.append(f"{name}{statistics.fmean(known):.1%}")
    return ", ".join(dict.fromkeys(means))


# ---- surprises -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Surprise:
    """What nobody would have guessed from the paper."""

    text: str
    first_look: bool  # it rests on runs that were seen before the rule was fixed


def surprises(found: Sequence[Row], runs: Runs) -> list[Surprise]:
    """Each by a sentence of its own, said only where the board bears it out."""
    rows = {row.question.id: row for row in found}
    made = (_neurons(rows), _start(rows), _gap(rows, runs), _settings(rows), _depth(rows))
    return [surprise for surprise in made if surprise is not None]


def _tested(rows: dict[str, Row], claim: str, *conditions: str) -> Row | None:
    """The first of a claim's conditions that has an effect."""
    known = (rows.get(f"{claim}/{condition}") for condition in conditions)
    return next((row for row in known if row and isinstance(row.effect, Effect) and row.effect.n > 1), None)


def _neurons(rows: dict[str, Row]) -> Surprise | None:
    """Figure 2's count of the first layer does not fit the paper's total."""
    total, first = rows.get("arch-neurons/total"), rows.get("arch-neurons/first-layer")
    if total is None or first is None or not isinstance(total.effect, float | int):
        return None
    printed, last = first.question.figure, total.question.figure
    if not isinstance(first.effect, float | int) or printed is None or printed.value is None or last is None:
        return None
    summed = total.effect - first.effect + printed.value
    fits = verdicts.verdict(total.question, summed).label == "reproduced"
    if fits or (total.verdict.label, first.verdict.label) != ("reproduced", "contradicted"):
        return None
    return Surprise(
        f"The paper's own numbers of neurons do not fit together: it prints {printed.value:,.0f} for the first layer "
        f"and {last.value:,.0f} in all. The network as written has {first.effect:,.0f} and {total.effect:,.0f}; with "
        f"the printed first layer it would be {summed:,.0f} in all.",
        first_look=False,
    )


def _start(rows: dict[str, Row]) -> Surprise | None:
    """Biases of one, which the paper gives to speed up the early stages, may be what stops the network."""
    row = _tested(rows, "bias-ones", "own-rate-written", "faithful")
    if row is None or "zeros" in row.collapses:
        return None
    lost, n = row.collapses.get("ones", (0, 0))
    if not n or lost < n:
        return None
    return Surprise(
        f"The paper gives some layers biases of one to speed up the early stages. From the weights it prints, all {n} "
        "runs of the network as written ended at guessing with such biases, and none did with biases of zero.",
        row.question.seen,
    )


def _gap(rows: dict[str, Row], runs: Runs) -> Surprise | None:
    """Dropout may close the gap between training and test and still cost test error."""
    row = _tested(rows, "dropout-overfit", "overfit", "cifar")
    if row is None or not isinstance(row.effect, Effect) or not row.effect.low > 0:
        return None
    error = board.effect_of(row.question.model_copy(update={"measure": "test-error"}), runs)
    if error is None or not error.high < 0:
        return None
    return Surprise(
        f"Dropout narrows the gap between training and test error, by {row.effect.estimate:.2f} points, and still "
        f"makes the test error worse, by {-error.estimate:.2f} [{-error.high:.2f}, {-error.low:.2f}] points: the gap "
        "alone does not say which network is better.",
        row.question.seen,
    )


def _settings(rows: dict[str, Row]) -> Surprise | None:
    """ReLU's lead depends on settings that the paper did not vary."""
    paper, modern = _tested(rows, "relu-speed", "arrived", "original"), _tested(rows, "relu-speed", "modern")
    if paper is None or modern is None or not isinstance(paper.effect, Effect) or not isinstance(modern.effect, Effect):
        return None
    if not paper.effect.low > modern.effect.high > modern.effect.low > 1:
        return None
    return Surprise(
        "How far ReLU is ahead of tanh hangs on what the paper did not vary: tanh takes "
        f"{_times(paper.effect)} as many epochs with the original inputs and initial weights, and "
        f"{_times(modern.effect)} as many with inputs of unit variance and a modern start.",
        paper.question.seen or modern.question.seen,
    )


def _times(effect: Effect) -> str:
    return f"{'at least ' * effect.lower_bound}{effect.number(effect.estimate)} times"


def _depth(rows: dict[str, Row]) -> Surprise | None:
    """Some layer may be better taken out, where the paper says that any costs accuracy."""
    regimes = [[f"depth/{start}conv{layer}" for layer in (2, 3, 4, 5)] for start in ("long-", "")]
    for regime in regimes:
        known = [rows[name] for name in regime if name in rows and isinstance(rows[name].effect, Effect)]
        worse = [row for row in known if row.verdict.label == "contradicted"]
        if len(known) < len(regime):
            continue
        if not worse:
            return None
        each = listed(
            f"{row.question.condition_title.split(',')[0]} the test error is {-row.effect.estimate:.2f} "
            f"[{-row.effect.high:.2f}, {-row.effect.low:.2f}] points lower"
            for row in worse
            if isinstance(row.effect, Effect)
        )
        return Surprise(
            f"The paper says that removing any middle layer costs about two points on ImageNet; in the small network "
            f"on CIFAR-10, {each}.",
            worse[0].question.seen,
        )
    return None


# ---- the checklist ---------------------------------------------------------------------------------------------------


def deciding(runs: Runs) -> list[RunRecord]:
    """The records that give primary conditions their verdicts, each once."""
    places = set()
    for question in claims().questions(primary_only=True):
        places |= {(question.claim, part) for part in question.smallest_of or (question.condition,)}
    found = [
        record
        for planned, record in runs
        if record is not None and planned.stage == "seeds" and (planned.claim, planned.condition) in places
    ]
    return list({record.hash: record for record in found}.values())


def too_early(runs: Runs) -> list[RunRecord]:
    """Records that decide a primary condition though they are older than the rule: there must be none."""
    return [record for record in deciding(runs) if record.created[:10] < claims().rule.fixed.isoformat()]


def checklist(found: Sequence[Row], runs: Runs, store: Store | None = None) -> list[tuple[str, str]]:
    """The questions of reproducibility checklists, answered from the records and what was written down of changes."""
    runs = list(runs)
    records = list({record.hash: record for _, record in runs if record is not None}.values())
    if not records:
        return []
    of = {stage: _once(runs, stage) for stage in ("grid", "seeds", "replaced")}
    after = [event for event in history().event if event.after]
    rule = claims().rule
    return [
        ("Which data?", _which_data(records)),
        ("Which splits?", "Validation images are split off the training images, stratified, by a fixed seed."),
        ("What was searched?", _searched(of["grid"], any(planned.arm.startswith(CLEAN) for planned, _ in runs))),
        ("Was the test set used to choose?", _test_set(of["grid"], records)),
        ("Was the rule there first?", _rule_first(runs)),
        (
            "Was a plan changed after results were seen?",
            f"Yes, {counted(len(after), 'time')}; the list below says when and how." if after else "No.",
        ),
        ("How many seeds?", _seeds(found)),
        ("Were runs left out?", _left_out(records, of["replaced"], store)),
        (
            "Which statistics?",
            f"Means over pairs of runs with {rule.confidence:.0%} t intervals, labels by a rule fixed on "
            f"{rule.fixed:%-d %B %Y}, corrected for the number of claims.",
        ),
        ("Is the code there?", "All of it, with its dependencies pinned, under the MIT licence."),
    ]


def _once(runs: Runs, stage: str) -> list[RunRecord]:
    return list({record.hash: record for planned, record in runs if record and planned.stage == stage}.values())


def _which_data(records: Sequence[RunRecord]) -> str:
    names = listed(sorted({NAMES[record.data.name] for record in records}))
    part = sum(record.spec.images.train_size is not None for record in records)
    some = f" {part} of {len(records)} runs train on a part of the training images, as their pages say." if part else ""
    return f"{names}, public; the digests of the arrays stand above.{some}"


def _searched(chosen: Sequence[RunRecord], remedies: bool) -> str:
    more = " Which remedy of a reimplementation is shown is chosen by validation errors." if remedies else ""
    if not chosen:
        return more.strip() or "Nothing."
    rates = sorted({record.spec.recipe.learning_rate for record in chosen})
    return (
        f"Learning rates: {counted(len(chosen), 'run')} over {counted(len(rates), 'rate')}, {rates[0]:g} to "
        f"{rates[-1]:g}, chosen by training or validation errors.{more}"
    )


def _test_set(chosen: Sequence[RunRecord], records: Sequence[RunRecord]) -> str:
    looked = sum(record.final.test_error is not None for record in chosen)
    number = counted(len(chosen), "run")
    if looked:
        said = f"{looked} of {number} that chooses a rate has seen the test set."
        if len(chosen) > 1:
            said = f"{looked} of {number} that choose a rate have seen the test set."
    else:
        said = f"No run that chooses a rate has a test error on record ({number})." if chosen else ""
    watched = sum(any(epoch.test_error is not None for epoch in record.history) for record in records)
    if watched:
        said += (
            f" {counted(watched, 'run')} of published protocols wrote the test error down after each epoch, because "
            "those protocols chose by it; the figures by our own protocol do not."
        )
    return said.strip() or "No run chose anything."


def _rule_first(runs: Runs) -> str:
    early = too_early(runs)
    if early:
        return f"No: {counted(len(early), 'run')} that decide a claim are older than the rule."
    fixed = claims().rule.fixed
    return f"Yes: no run that decides a claim was made before {fixed:%-d %B %Y}, when the rule was fixed."


def _seeds(found: Sequence[Row]) -> str:
    counts = Counter(row.effect.n for row in found if isinstance(row.effect, Effect))
    if not counts:
        return "None yet."
    each = listed(f"{n} in {counted(rows, 'effect')}" for n, rows in sorted(counts.items()))
    return f"Pairs of runs, or runs where one gives both figures: {each}."


def _left_out(records: Sequence[RunRecord], replaced: Sequence[RunRecord], store: Store | None) -> str:
    ends = Counter(record.final.outcome for record in records)
    lost = sum(collapsed(record) for record in records if record.final.valid_error is not None)
    used = {record.hash for record in records}
    unused = sorted(set(store.hashes()) - used) if store else []
    said = [f"{listed(f'{n} {end}' for end, n in sorted(ends.items()))}; {lost} ended at guessing and are counted so."]
    if replaced:
        first = counted(len(replaced), "transfer run")
        said.append(f"{first} of the first plan are shown beside those in their place, and not counted.")
    if unused:
        names = ", ".join(name[:8] for name in unused)
        verb = "counts" if len(unused) == 1 else "count"
        said.append(f"{counted(len(unused), 'record')} ({names}) {verb} nowhere, as no plan names it any more.")
    return " ".join(said)
