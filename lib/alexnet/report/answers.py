"""What the first page and the README say first, computed from the board and the records: the answer in five sentences,
what surprised, and the questions of reproducibility checklists. A sentence is said only where it is true."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ..figures.base import arm_name
from ..figures.tables import counted, listed
from ..paper.claims import Question, claims
from ..records.specs import NAMES
from ..runs.planning import Runs
from ..statistics import board, effects, measures, verdicts
from ..statistics.board import Row
from ..statistics.effects import Effect
from ..statistics.verdicts import LABELS, Label

NAMED = 3  # claims that a sentence names at most
AS_SAID: dict[Label, str] = {  # labels that read otherwise in a sentence
    "direction reproduced": "reproduced in direction",
    "no effect of that size": "shown to lack an effect of the size claimed",
}


# ---- the answer ------------------------------------------------------------------------------------------------------


def headline(found: Sequence[Row]) -> dict[Label, list[Row]]:
    """Label to the claims that have it after the correction for many claims, by their primary conditions."""
    primary = [row for row in found if row.question.primary]
    kept, _ = board.corrected(primary)
    return {name: [row for row, left in zip(primary, kept, strict=True) if left == name] for name in LABELS}


def sentences(found: Sequence[Row], runs: Runs) -> list[str]:
    """What was asked, what held, what did not, what is open, and how sure that is: five sentences."""
    by_label = headline(found)
    primary = [row for row in found if row.question.primary]
    waiting = [row for row in by_label["not tested"] if row.waits]
    barred = [row for row in by_label["not tested"] if not row.waits]
    ids = {row.question.claim for row in found}
    own = {record.hash: record for planned, record in runs if record and planned.claim in ids}.values()
    more = len({record.hash for _, record in runs if record}) - len(own)
    made = f"{counted(len(own), 'recorded training')} on {listed(sorted({NAMES[run.data.name] for run in own}))}"
    old = sum(not claims().rule.precedes(record.created) for record in own)
    aside = [f"{old} of them older than the rule, first looks that decide nothing"] * bool(old)
    aside += [f"{more} more choose learning rates or serve other questions"] * bool(more)
    besides = f" ({'; '.join(aside)})" if aside else ""
    asked = (
        f"We put {len(primary)} claims of the 2012 paper on AlexNet to the test, by a rule that was fixed before the "
        f"runs it judges, with {made if own else 'no recorded training so far'}{besides}."
    )
    so_far = " so far" if waiting else ""
    held = _having(by_label, ("reproduced", "direction reproduced")) or f"none is reproduced{so_far}"
    failed = _having(by_label, ("contradicted", "no effect of that size", "weaker than claimed"))
    failed = (
        failed or f"none is contradicted, weaker than claimed or shown to lack an effect of the size claimed{so_far}"
    )
    left = {
        f"{len(by_label['inconclusive'])} inconclusive": by_label["inconclusive"],
        f"{len(waiting)} waiting for runs": waiting,
        f"{len(barred)} that cannot be tested here": barred,
    }
    still_open = listed(words for words, rows in left.items() if rows)
    last = f"Open are {still_open}" if still_open else "None is left open"
    return [asked, f"Of these, {held}.", f"Of the others, {failed}.", f"{last}.", _how_sure(primary, runs)]


def _having(by_label: dict[Label, list[Row]], labels: Sequence[Label]) -> str:
    """ "2 reproduced (A; B) and 1 contradicted (C)"; nothing where none has such a label."""
    return listed(
        f"{len(rows)} {'is' if len(rows) == 1 else 'are'} {AS_SAID.get(name, name)} ({_titles(rows)})"
        for name in labels
        if (rows := by_label[name])
    )


def _titles(rows: Sequence[Row]) -> str:
    named = [f"“{row.question.title}”" for row in rows[:NAMED]]
    return "; ".join(named + [f"{len(rows) - NAMED} more"] * (len(rows) > NAMED))


def _how_sure(primary: Sequence[Row], runs: Runs) -> str:
    """What the corrections for many claims leave, or that nothing rests on runs yet."""
    tests = sum(not math.isnan(value) for value in board.decisive(primary))
    if not tests:
        return (
            "No claim's verdict rests on trainings yet: no comparison that decides one is complete, and runs made "
            "before the rule are first looks and decide nothing."
        )
    if tests == 1:
        return "One verdict rests on trainings, so that there is nothing to correct for."
    kept, strict = board.corrected(primary)
    lost = sum(row.verdict.label != left for row, left in zip(primary, kept, strict=True))
    tested = [(row, left) for row, left in zip(primary, strict, strict=True) if isinstance(row.effect, Effect)]
    said = [(row, left) for row, left in tested if row.verdict.label not in ("inconclusive", "not tested")]
    firm = sum(left == row.verdict.label for row, left in said)
    judged = [row for row, value in zip(primary, board.decisive(primary), strict=True) if not math.isnan(value)]
    asked = [claims().question(row.question.claim, part) for row in judged for part in board.parts(row.question)]
    pairs = [pair for question in asked for pair in board.pairs_of_effect(question, runs)]
    behind = len({record.hash for pair in pairs for arm in pair for record in arm})
    resting = f" ({counted(behind, 'run')} in all)" if behind else ""
    return (
        f"The {tests} verdicts that rest on trainings{resting} are corrected for their number (Benjamini and Hochberg: "
        "of those that say something at most one in twenty is expected to be false), which changed "
        f"{lost or 'none'} of them" + (f"; Bonferroni's stricter way leaves {firm} of {len(said)}." if said else ".")
    )


def corrections(found: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """Link of a claim's row -> a mark and a sentence, where a correction for many claims changes its label."""
    primary = [row for row in found if row.question.primary]
    said: dict[str, tuple[str, str]] = {}
    for row, kept, strict in zip(primary, *board.corrected(primary), strict=True):
        if kept != row.verdict.label:
            said[row.link] = "†", f"After the correction of Benjamini and Hochberg it is “{kept}”."
        elif strict != row.verdict.label:
            said[row.link] = "‡", f"By Bonferroni's stricter correction it is “{strict}”."
    return said


def notes(row: Row, runs: Runs) -> list[str]:
    """What else a row has to say: its margin, the size beside the paper's, collapses, the test errors of its arms."""
    question, effect = row.question, row.told
    if not isinstance(effect, Effect):
        return []
    found = []
    if question.primary:
        besides = f"; besides, {measures.ALSO[question.also][1]}" if question.also else ""
        found.append(f"The margin is {verdicts.size(question, effect)}: {question.margin_why}{besides}.")
    if agreement := verdicts.agreement(question, effect):
        meets = "The interval meets" if agreement == "agrees" else f"The whole interval is {agreement} than"
        found.append(f"{meets} the paper's figure.")
    for arm, (lost, n) in row.collapses.items() if question.primary else ():
        low, high = effects.proportion(lost, n)
        of = f"A run of the arm “{arm_name(arm)}”" if arm else "A run"
        found.append(f"{of} collapses with a probability of {low:.0%} to {high:.0%} ({lost} of {n} did).")
    if errors := test_errors(question, runs):
        found.append(f"Mean test error{', of the centre crop' * (question.measure == 'ten-crop-error')}: {errors}.")
    return found


def test_errors(question: Question, runs: Runs) -> str:
    """The mean test error of each arm over the runs that the effect rests on: "without 25.1%, with 22.6%"; where the
    claim is on any of several, of the arms of each."""
    means = []
    for part in (claims().question(question.claim, condition) for condition in board.parts(question)):
        pairs = board.pairs_of_effect(part, runs)
        for place, arm in enumerate(part.arms or ()):
            found = {record.hash: record for pair in pairs for record in pair[place]}
            known = [record.final.test_error for record in found.values() if record.final.test_error is not None]
            title = part.condition_title.partition(",")[0] if question.smallest_of and not place else arm_name(arm)
            if known:
                name = "" if question.measure in measures.WITHIN else f"{title} "
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
    made = (_neurons(rows), _start(rows, runs), _gap(rows, runs), _settings(rows), _depth(rows))
    return [surprise for surprise in made if surprise is not None]


def _tested(rows: dict[str, Row], claim: str, *conditions: str) -> Row | None:
    """The first of a claim's conditions that has an effect."""
    known = (rows.get(f"{claim}/{condition}") for condition in conditions)
    return next((row for row in known if row and isinstance(row.told, Effect) and row.told.n > 1), None)


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


def _start(rows: dict[str, Row], runs: Runs) -> Surprise | None:
    """Biases of one, which the paper gives to speed up the early stages, may be what stops the network."""
    row = _tested(rows, "bias-ones", "own-rate-written", "faithful")
    if row is None or "zeros" in row.collapses:
        return None
    lost, n = row.collapses.get("ones", (0, 0))
    if not n or lost < n:
        return None
    return Surprise(
        f"The paper gives some layers biases of one to speed up the early stages. From the weights it prints, all {n} "
        "runs of the network as written stayed at guessing with such biases, and none did with biases of zero"
        f"{_budget(row, runs)}.",
        row.question.seen,
    )


def _budget(row: Row, runs: Runs) -> str:
    """How long the runs of a row were, in words: ", within 280 steps at a learning rate of 0.01, on 9,000 images"."""
    place = (row.question.claim, row.question.condition, "seeds")
    specs = [planned.spec for planned, _ in runs if (planned.claim, planned.condition, planned.stage) == place]
    if not specs:
        return ""
    steps = max(spec.training_images // spec.recipe.batch_size * spec.recipe.epochs for spec in specs)
    rates = sorted({spec.recipe.learning_rate for spec in specs})
    rate = f"at a learning rate of {rates[0]:g}" if len(rates) == 1 else "each at its own learning rate"
    return f", within {steps:,} steps {rate}, on {specs[0].training_images:,} images"


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
        f"makes the test error worse, by {-error.estimate:.2f} [{-error.high:.2f}, {-error.low:.2f}] points"
        f"{_budget(row, runs)}: the gap alone does not say which network is better.",
        row.question.seen,
    )


def _settings(rows: dict[str, Row]) -> Surprise | None:
    """ReLU's lead depends on settings that the paper did not vary."""
    paper, modern = _tested(rows, "relu-speed", "arrived", "original"), _tested(rows, "relu-speed", "modern")
    if paper is None or modern is None or not isinstance(paper.effect, Effect) or not isinstance(modern.effect, Effect):
        return None
    if not paper.effect.low > modern.effect.high > modern.effect.low > 1:
        return None
    other = _tested(rows, "relu-speed", "alexnet")
    behind = other.effect if other and isinstance(other.effect, Effect) and other.effect.high < 1 else None
    return Surprise(
        "How far ReLU is ahead of tanh hangs on what the paper did not vary: in the four-layer network tanh takes "
        f"{_times(paper.effect)} as many epochs with the original inputs and initial weights, and "
        f"{_times(modern.effect)} as many with inputs of unit variance and a modern start, at rates chosen by short "
        "trials" + (f"; in the small AlexNet, likewise, {_times(behind)}: there ReLU is behind." if behind else "."),
        paper.question.seen or modern.question.seen,
    )


def _times(effect: Effect) -> str:
    return f"{'at least ' * effect.lower_bound}{effect.number(effect.estimate)} times"


def _depth(rows: dict[str, Row]) -> Surprise | None:
    """Some layer may be better taken out, where the paper says that any costs accuracy."""
    for start, smallest in (("long-", "long"), ("", "smallest")):  # the first regime in which every layer was tried
        tried = [rows.get(f"depth/{start}conv{layer}") for layer in (2, 3, 4, 5)]
        effects_of = [(row, row.told) for row in tried if row and isinstance(row.told, Effect)]
        if len(effects_of) < len(tried):
            continue
        worse = [(row, effect) for row, effect in effects_of if row.verdict.label == "contradicted"]
        if not worse or rows[f"depth/{smallest}"].verdict.label != "contradicted":  # else luck, of the worst of four
            return None
        each = listed(
            f"{row.question.condition_title.split(',')[0]} the test error is {-effect.estimate:.2f} "
            f"[{-effect.high:.2f}, {-effect.low:.2f}] points lower"
            for row, effect in worse
        )
        return Surprise(
            f"The paper says that removing any middle layer costs about two points on ImageNet; in the small network "
            f"on CIFAR-10, {each}.",
            worse[0][0].question.seen,
        )
    return None
