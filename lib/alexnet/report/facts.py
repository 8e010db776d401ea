"""What the first page says of the runs behind it: cost, machines, data, the audit, and the questions of checklists."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from .. import paths
from ..audit import audit
from ..experiments.reimplementations import CLEAN
from ..figures.tables import counted, listed
from ..paper.claims import claims, history, published
from ..records.record import RunRecord
from ..records.specs import NAMES
from ..records.store import Store
from ..runs.planning import Runs
from ..statistics.board import Row
from ..statistics.effects import Effect
from ..statistics.measures import collapsed
from ..training.prepared import WEIGHTS

Facts = list[tuple[str, str]]

ENDED = {  # what a record calls its outcome, in words
    "completed": "went to their planned end",
    "reached": "reached it",
    "censored": "did not reach the error they were to reach in time (censored)",
    "diverged": "diverged",
}


def once(runs: Runs, stage: str | None = None) -> list[RunRecord]:
    """The records of some runs, each once; of one stage if it is given."""
    return list({record.hash: record for planned, record in runs if record and stage in (None, planned.stage)}.values())


# ---- cost, machines, data, audit -------------------------------------------------------------------------------------


def cost(runs: Runs) -> Facts:
    """How many runs, epochs and hours, and how fast each machine was."""
    records = once(runs)
    if not records:
        return [("Runs", "none recorded")]
    seconds = sum(record.wall_seconds for record in records)
    epochs = sum(record.final.epochs for record in records)
    facts = [
        ("Runs", f"{len(records)}, of which {len(once(runs, 'grid'))} only chose a learning rate"),
        ("Epochs", f"{epochs:,} in all, {epochs / len(records):.0f} a run"),
        ("Training time", f"{_duration(seconds)} in all, {_duration(seconds / len(records))} a run"),
    ]
    for place, group in groupby(sorted(records, key=_place), key=_place):
        paces = sorted(record.images_per_second for record in group)
        pace = f"{paces[len(paces) // 2]:,.0f} training images a second (median)"
        facts.append((f"On {place}", f"{counted(len(paces), 'run')}, {pace}"))
    return facts


def _place(record: RunRecord) -> str:
    where = record.environment
    return f"{where.place}{'' if where.device == 'cuda' else ' a run'}, {where.precision}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def made(records: Sequence[RunRecord]) -> Facts:
    """When and on what the records were made."""
    if not records:
        return [("Records", "none yet")]
    dates = sorted(record.created[:10] for record in records)
    places = [record.environment for record in records]
    used = {
        "Processor": {f"{place.cpu}, {counted(place.cores, 'core')}" for place in places},
        "GPU": {place.gpu for place in places},
        "System": {place.system for place in places},
        "Python": {place.python for place in places},
        "PyTorch": {place.torch for place in places},
        "Precision": {place.precision for place in places},
    }
    trained = f"{dates[0]} to {dates[-1]}" if dates[0] != dates[-1] else dates[0]
    return [("Trained", trained), *((name, ", ".join(sorted(values))) for name, values in used.items())]


def data(records: Sequence[RunRecord]) -> list[tuple[str, str, Facts]]:
    """Data set, where it was read from, and the digest of each of its arrays."""
    found = []
    for name in sorted({record.data.name for record in records}):
        used = [record.data for record in records if record.data.name == name]
        digests = {(array, digest) for one in used for array, digest in one.hashes.items() if array != WEIGHTS}
        sources = ", ".join(sorted({one.source for one in used}))
        arrays = [(array.replace("_", " "), digest) for array, digest in sorted(digests)]
        found.append((NAMES.get(name, name), f"Read from: {sources}.", arrays))
    weights = sorted({r.data.hashes[WEIGHTS] for r in records if WEIGHTS in r.data.hashes})
    if weights:
        where = (
            "All convolutional layers together, in the runs that start from them; the page on transfer has the sources."
        )
        found.append(("Weights trained on ImageNet", where, [("weights", digest) for digest in weights]))
    return found


def last_audit(records: Sequence[RunRecord], folder: Path = paths.AUDITS) -> Facts:
    """When the last audit was, what it found, and how many of the records shown it speaks of."""
    found = audit.latest(folder)
    if found is None:
        return [("Last audit", "None is recorded yet.")]
    covered = sum(map(found.covers, records))
    shown = f"all {covered} runs shown here"
    if covered < len(records):
        shown = f"{covered} of the {len(records)} runs shown here; the others were made or changed after it"
    return [("Last audit", found.created[:10]), ("It found", found.summary), ("It covers", shown)]


# ---- the checklist ---------------------------------------------------------------------------------------------------


def deciding(runs: Runs) -> list[RunRecord]:
    """The records that give primary conditions their verdicts, each once."""
    places = set()
    for question in claims().questions(primary_only=True):
        places |= {(question.claim, part) for part in question.smallest_of or (question.condition,)}
    return once([pair for pair in runs if (pair[0].claim, pair[0].condition) in places], "seeds")


def too_early(runs: Runs) -> list[RunRecord]:
    """Records that decide a primary condition though they are older than the rule: there must be none."""
    return [record for record in deciding(runs) if not claims().rule.precedes(record.created)]


def checklist(found: Sequence[Row], runs: Runs, store: Store | None = None) -> Facts:
    """The questions of reproducibility checklists, answered from the records and what was written down of changes."""
    records = once(runs)
    if not records:
        return []
    chosen, after, rule = once(runs, "grid"), [event for event in history().event if event.after], claims().rule
    changed = f"Yes, {counted(len(after), 'time')}; the list below says when and how." if after else "No."
    first = f"Yes: no run that decides a claim was made before {rule.fixed:%-d %B %Y}, when the rule was fixed."
    if early := too_early(runs):
        verbs = "that decide a claim are" if len(early) > 1 else "that decides a claim is"
        first = f"No: {counted(len(early), 'run')} {verbs} older than the rule."
    elif len(rules := [event for event in history().event if event.rule]) > 1:
        first += f" It replaced a rule of {rules[0].date:%-d %B %Y} when first looks had been seen, which never count."
    if amended := sorted({f"{event.date:%-d %B %Y}" for event in history().event if event.amended}):
        first += f" It was amended on {listed(amended)}, as the list below tells; no claim's verdict changed by that."
        if rows := sorted({published()[row].title for event in history().event for row in event.rows}):
            first += f" A published row's did, after its run had been seen: {listed(rows)}, inconclusive before."
    return [
        ("Which data?", _which_data(records)),
        ("Which splits?", "Validation images are split off the training images, stratified, by a fixed seed."),
        ("What was searched?", _searched(chosen, any(planned.arm.startswith(CLEAN) for planned, _ in runs))),
        ("Was the test set used to choose?", _test_set(chosen, records)),
        ("Was the rule there first?", first),
        ("Was a plan changed after results were seen?", changed),
        ("How many seeds?", _seeds(found)),
        ("Were runs left out?", _left_out(records, once(runs, "replaced"), store)),
        (
            "Which statistics?",
            f"Means over pairs of runs with {rule.confidence:.0%} t intervals, labels by a rule fixed on "
            f"{rule.fixed:%-d %B %Y}, corrected for the number of claims.",
        ),
        ("Is the code there?", "All of it, with its dependencies pinned, under the MIT licence."),
    ]


def _which_data(records: Sequence[RunRecord]) -> str:
    names = listed(sorted({NAMES[record.data.name] for record in records}))
    part = sum(record.spec.images.train_size is not None for record in records)
    some = f" {part} of {len(records)} runs train on a part of the training images, as their pages say." if part else ""
    return f"{names}, public; the digests of the arrays stand above.{some}"


def _searched(chosen: Sequence[RunRecord], remedies: bool) -> str:
    more = "Which remedy of a reimplementation is shown is chosen by validation errors." if remedies else ""
    if not chosen:
        return more or "Nothing."
    rates = sorted({record.spec.recipe.learning_rate for record in chosen})
    return (
        f"Learning rates: {counted(len(chosen), 'run')} over {counted(len(rates), 'rate')}, {rates[0]:g} to "
        f"{rates[-1]:g}, chosen by training or validation errors. {more}"
    ).strip()


def _test_set(chosen: Sequence[RunRecord], records: Sequence[RunRecord]) -> str:
    looked = sum(record.final.test_error is not None for record in chosen)
    number, said = counted(len(chosen), "run"), []
    if looked:
        verbs = "choose a rate have" if len(chosen) > 1 else "chooses a rate has"
        said.append(f"{looked} of {number} that {verbs} seen the test set.")
    elif chosen:
        said.append(f"No run that chooses a rate has a test error on record ({number}).")
    watched = sum(any(epoch.test_error is not None for epoch in record.history) for record in records)
    if watched:
        said.append(
            f"{counted(watched, 'run')} of the reimplementations' networks wrote the test error down after each epoch, "
            "as some of their authors chose by it; nothing of ours is chosen by it."
        )
    return " ".join(said) or "No run chose anything."


def _seeds(found: Iterable[Row]) -> str:
    counts = Counter(row.told.n for row in found if isinstance(row.told, Effect))
    if not counts:
        return "None yet."
    each = listed(f"{n} in {counted(rows, 'effect')}" for n, rows in sorted(counts.items()))
    return f"Pairs of runs, or where one gives both figures runs or means of two: {each}."


def _left_out(records: Sequence[RunRecord], replaced: Sequence[RunRecord], store: Store | None) -> str:
    ends = Counter(record.final.outcome for record in records)
    lost = sum(collapsed(record) for record in records if record.final.valid_error is not None)
    unused = sorted(set(store.hashes()) - {record.hash for record in records}) if store else []
    ended = listed(f"{n} {ENDED[end]}" for end, n in sorted(ends.items()))
    said = [
        f"Of {counted(len(records), 'run')} {ended}. {lost}, any "
        "that diverged among them, ended at guessing: such runs are counted, and their pairs left out of effects on "
        "errors, beside which the rows say how many there were."
    ]
    if replaced:
        first = counted(len(replaced), "transfer run")
        verb = "are" if len(replaced) > 1 else "is"
        said.append(f"{first} of the first plan {verb} shown beside those in their place, and not counted.")
    if unused:
        names, verb = ", ".join(name[:8] for name in unused), "counts" if len(unused) == 1 else "count"
        said.append(f"{counted(len(unused), 'record')} ({names}) {verb} nowhere, as no plan names it any more.")
    return " ".join(said)
