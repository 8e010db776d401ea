"""The report: runs that are missing, notebooks executed, pages built, and only then the last good report replaced."""

import contextlib
import dataclasses
import math
import os
import re
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from .. import paths
from ..audit import audit
from ..errors import NothingToDraw, ReportError
from ..experiments import profiles, published_results, transfer_results
from ..experiments.profiles import Planned
from ..experiments.published_runs import published_runs
from ..figures import display, forest
from ..networks import anatomy
from ..paper.claims import Question, Reimplementation, claims, history, published
from ..records.record import RunRecord
from ..records.specs import NAMES
from ..records.store import Store
from ..runs import pool
from ..statistics import board
from ..statistics.effects import Effect
from ..statistics.measures import WITHIN
from ..statistics.verdicts import LABELS, relative
from . import answers, api, assemble, check, convert, front, notebooks

Runs = Sequence[tuple[Planned, RunRecord | None]]
Say = Callable[[str], None]
LONGEST_WAIT = 900.0  # seconds of training that a report makes up for by itself where it has other records to show
SECONDS_A_NOTEBOOK = 8  # of one notebook on a two-core machine, two at a time
TRANSFER_PAGE = "09_transfer_learning"
TEMPORARY = ".new-"  # start of the name of the folder in which pages wait until all are sound


@dataclasses.dataclass(frozen=True)
class Built:
    """A finished report."""

    index: Path
    pages: int
    tally: Mapping[str, int]  # verdict to number of claims
    seconds: float

    @property
    def summary(self) -> str:
        """One line: where it is, what it says, how long it took."""
        counts = ", ".join(f"{count} {label}" for label, count in self.tally.items() if count)
        return f"Report: {self.index} ({self.pages} pages, {self.seconds:.0f} s). Claims: {counts}."


def build(
    profile: str = "cpu",
    seeds: int | None = None,  # seeds an arm; None: the profile's own number
    fresh: bool = False,  # ignore the committed records
    out: Path | None = None,  # folder of the pages; None: the profile's
    sources: Sequence[Path] | None = None,  # notebooks to show; None: all
    limit: float = notebooks.TIME_LIMIT,  # seconds a notebook may take
    workers: int | None = None,  # runs, then notebooks at a time; None: runs one a core, notebooks at most two
    say: Say = print,
) -> Built:
    """Build the report of a profile and return where it is.

    Says first what will run and how long that takes. Whatever fails (a run, a notebook, a page, the disk), the report
    that was there stays as it was. Raises SpecError for an unknown profile, RecordError, and ReportError.
    """
    profiles.check_profile(profile)
    started = time.monotonic()
    out = (out or paths.pages_folder(profile, fresh)).absolute()
    sources = notebooks.sources() if sources is None else sources
    store = Store(paths.runs_folder(profile, fresh))
    with _waiting_room(out) as room:
        _make_missing_runs(profile, store, seeds, workers, len(sources), say)
        executed = _execute(sources, _parameters(profile, seeds, fresh), limit, workers, say)
        runs = profiles.records(profile, store, seeds)
        found = board.rows(runs, anatomy.exact_counts())
        reimplementations = _reimplementations(profile, store, seeds, sources)
        pages = _pages(executed, found, runs, reimplementations, store, profile, out)
        _replace(pages, room, out)
    return Built(out / "index.html", len(pages), tally(found), time.monotonic() - started)


# ---- steps -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _waiting_room(out: Path) -> Iterator[Path]:
    """A new folder inside `out`, where finished pages wait. Fails before any work when `out` cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for old in out.glob(f"{TEMPORARY}*"):  # left by a build that was killed
            if time.time() - old.stat().st_mtime > 3600:
                shutil.rmtree(old, ignore_errors=True)
        room = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=out))
    except OSError as error:
        raise ReportError(_cannot_write(out, error)) from error
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _cannot_write(out: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"Cannot write the report to {out}: {reason}. Free space or name another folder with --out FOLDER."


def _make_missing_runs(
    profile: str, store: Store, seeds: int | None, workers: int | None, count: int, say: Say
) -> None:
    planned = partial(profiles.records, profile, store, seeds)
    todo = pool.work(planned(), workers)
    pages = pool.hours_and_minutes(SECONDS_A_NOTEBOOK * math.ceil(count / 2))
    say(f"{todo.announcement} Then {count} notebooks, about {pages}.")
    if not todo.missing:
        return
    if todo.reused and todo.seconds > LONGEST_WAIT and profile != "smoke":
        # A reader asked for a report, not for hours of training: what is missing is marked on its pages.
        say(f"The report is built from the records that are there; `make runs PROFILE={profile}` makes the others.")
        return
    todo.require_records(profile)
    with pool.stopping_cleanly():
        pool.execute_all(planned, store, workers)


def _parameters(profile: str, seeds: int | None, fresh: bool) -> dict[str, object]:
    """What differs from the notebooks' defaults; with none, a page shows exactly the committed notebook."""
    given: dict[str, object] = {"PROFILE": profile, "SEEDS": seeds, "FRESH": fresh}
    return {} if (profile, seeds, fresh) == ("cpu", None, False) else given


def _execute(
    sources: Sequence[Path], parameters: Mapping[str, object], limit: float, workers: int | None, say: Say
) -> list[notebooks.Executed]:
    bar = tqdm(total=len(sources), unit="notebook", desc="Notebooks", disable=not sys.stderr.isatty(), leave=False)

    def done(executed: notebooks.Executed) -> None:
        bar.update()
        if bar.disable:
            say(f"  {executed.source.stem}: executed in {executed.seconds:.0f} s")

    with bar:
        return notebooks.execute_all(sources, parameters, limit, workers, done)


def _pages(
    executed: Sequence[notebooks.Executed],
    found: Sequence[board.Row],
    runs: Runs,
    reimplementations: Sequence[front.Row],
    store: Store,
    profile: str,
    out: Path,
) -> dict[str, str]:
    """File name to HTML. Raises ReportError for a broken link, a picture without words, or anything to fetch."""
    exporter = convert.exporter()
    sources = [entry.source for entry in executed]
    articles = [front.article(front_content(found, runs, sources, reimplementations, store))]
    for entry in executed:
        articles.append(convert.article(entry.source.stem, entry.notebook, entry.source.parent, out, exporter))
    articles.append(api.article())
    pages = assemble.pages(articles, profile)
    faults = check.faults(pages, out)
    if faults:
        raise ReportError(f"The pages have {len(faults)} faults: {'; '.join(faults[:5])}.")
    return pages


def _replace(pages: Mapping[str, str], room: Path, out: Path) -> None:
    """Write all pages beside the old ones, then put each in its place in one step, the first page last."""
    try:
        for name, html in pages.items():
            with open(room / name, "w", encoding="utf-8") as file:
                file.write(html)
                file.flush()
                os.fsync(file.fileno())
        for name in sorted(pages, key=lambda name: name == "index.html"):
            os.replace(room / name, out / name)
        for old in out.glob("[0-9][0-9]_*.html"):  # the page of a notebook that is no more
            if old.name not in pages:
                old.unlink()
    except OSError as error:
        raise ReportError(_cannot_write(out, error) + " The last report is still there.") from error


# ---- what the first page says ----------------------------------------------------------------------------------------


def tally(found: Iterable[board.Row]) -> dict[str, int]:
    """Verdict to number of claims, as the headline counts them: by primary conditions, corrected for their number."""
    return {label: len(rows) for label, rows in answers.headline(list(found)).items()}


def front_content(
    found: Sequence[board.Row],
    runs: Runs,
    sources: Sequence[Path],
    reimplementations: Sequence[front.Row] | None = None,
    store: Store | None = None,
) -> front.Front:
    """Everything the first page shows, from the board, the records and the files."""
    records = list({record.hash: record for _, record in runs if record is not None}.values())
    rule = claims().rule
    words = {label: getattr(rule, label.replace(" ", "_")) for label in LABELS}
    return front.Front(
        answer=[_minus(sentence) for sentence in answers.sentences(found, records)],
        rows=_claims(found, runs, sources),
        reimplementations=reimplementations or [_reimplementation(row, [], sources) for row in published().row],
        rule=list(words.items()),
        forest=_forest([row for row in found if row.question.primary]),
        surprises=[(_minus(one.text), one.first_look) for one in answers.surprises(found, runs)],
        audit=_audit(records),
        cost=_cost(records, runs),
        made=_made(records),
        data=_data(records),
        checklist=answers.checklist(found, runs, store),
        history=[(f"{event.date:%-d %B %Y, %H:%M}", event.kind, event.what) for event in history().event],
        transfer=transfer_results.lines(runs),
        transfer_href=_href(TRANSFER_PAGE, sources),
    )


def _claims(found: Sequence[board.Row], runs: Runs, sources: Sequence[Path]) -> list[front.Row]:
    """One row a claim, its other conditions inside."""
    corrected = answers.corrections(found)
    rows = []
    for row in found:
        if row.question.primary:
            others = [other for other in found if other.question.claim == row.question.claim and other is not row]
            mark, words = corrected.get(row.link, ("", ""))
            inside = [_row(other, runs, sources) for other in others]
            entry = dataclasses.replace(_row(row, runs, sources), mark=mark, corrected=words, others=inside)
            look = next((other for other in inside if other.would and other.drawing), None)
            if answers.waits(row) and entry.drawing is None and look is not None:  # pale, and never as the verdict
                entry = dataclasses.replace(
                    entry, ours=look.ours, interval=look.interval, drawing=look.drawing, count=f"{look.count} seen"
                )
            rows.append(entry)
    return rows


def _row(row: board.Row, runs: Runs, sources: Sequence[Path]) -> front.Row:
    question, effect = row.question, row.effect
    estimate, interval, drawing, count = board.ours(row), "", None, ""
    if isinstance(effect, Effect):
        estimate, interval = _ours(effect)
        losses = [lost for lost, _ in row.collapses.values()]
        lost = max(losses, default=0) if question.measure in WITHIN else sum(losses)  # there both arms are one run
        count = f"{effect.n}" + f" ({lost} ✗)" * bool(lost)
        figure = question.figure
        paper = None if figure is None or figure.value is None else relative(question, effect, figure.value)
        if not math.isnan(effect.estimate):
            drawing = front.Drawing.of(*forest.in_margins(row), paper, question.comparable is not None)
    reason = "" if answers.waits(row) and effect is None else row.verdict.reason
    return front.Row(
        id=row.link,
        title=question.title,
        condition=question.condition_title,
        section=question.section,
        paper=_paper(question),
        ours=estimate,
        interval=interval,
        verdict="first look" if question.seen else answers.label(row),
        reason=_minus(reason),
        href=_href(question.page, sources),
        command=row.command,
        statement=question.statement,
        run=question.run,
        count=count,
        would=row.verdict.label * question.seen,
        notes=[_minus(note) for note in answers.notes(row, runs)],
        drawing=drawing,
    )


def _paper(question: Question) -> str:
    """The paper's figure in few words, with a star where it was measured on another scale."""
    figure = question.figure
    if figure is None or figure.value is None:
        return "no figure"
    if figure.kind == "exact":
        return f"{figure.value:,.0f}"
    return figure.text.replace("about", "≈").replace("at least", "≥") + "*" * (question.scale == "other")


def _ours(effect: Effect) -> tuple[str, str]:
    """What came out, as ("4.9 times", "3.8 to 6.3")."""
    unit = {"percentage points": "points", "colour selectivity": ""}.get(effect.unit, effect.unit)
    sign = "≥ " if effect.lower_bound else "≤ " if effect.upper_bound else ""
    estimate = "unknown" if math.isnan(effect.estimate) else f"{sign}{effect.number(effect.estimate)} {unit}".strip()
    lowest = 0.0 if effect.kind == "ratio" else -math.inf
    below, above = effect.low > lowest, effect.high < math.inf
    if below and above:
        limits = f"{effect.number(effect.low)} to {effect.number(effect.high)}"
    elif below:
        limits = f"from {effect.number(effect.low)}"
    elif above:
        limits = f"up to {effect.number(effect.high)}"
    else:
        limits = ""
    return _minus(estimate), _minus(limits)


def _minus(text: str) -> str:
    """Hyphens before digits as minus signs."""
    return re.sub(r"(?<![\w.])-(?=\d)", "\u2212", text)


def _href(page: str, sources: Sequence[Path]) -> str:
    """A link to a notebook's page, where the report has it."""
    return f"{page}.html" if any(source.stem == page for source in sources) else ""


def _forest(rows: Sequence[board.Row]) -> front.Picture | None:
    try:
        data, metadata = display.bundle(*forest.forest_plot(rows))
    except NothingToDraw:
        return None
    details = metadata["image/png"]
    return front.Picture(data["image/png"], details["width"], details["height"], details["alt"])


def _reimplementations(profile: str, store: Store, seeds: int | None, sources: Sequence[Path]) -> list[front.Row]:
    runs = published_runs(profile)
    found = published_results.results(runs, store, seeds)
    return [_reimplementation(row, found.get(row.id, []), sources) for row in published().row]


def _reimplementation(
    row: Reimplementation, arms: Sequence[published_results.ArmResult], sources: Sequence[Path]
) -> front.Row:
    clean, own = published_results.clean(arms), published_results.own(row.id, arms)
    verdict = published_results.verdict(row, arms)
    low, high = clean.interval if clean else (math.nan, math.nan)
    share = published_results.partial(arms)
    notes = []
    if clean:
        notes += [share] * bool(share)
        runs = "1 run" if len(clean.values) == 1 else f"{len(clean.values)} runs"
        notes.append(f"{published_results.CONFIDENCE:.0%} interval {low:.2f} to {high:.2f}; {runs}")
    if own:
        notes.append(f"{own.mean:.2f}% as {published_results.MEASURED_AS[row.id]}")
    return front.Row(
        id=row.id,
        title=row.title,
        condition=row.network,
        section=NAMES[row.dataset],
        paper=f"{row.headline.value:g}{'%' if row.headline.unit == 'percent' else ' ' + row.headline.unit}",
        ours=f"{clean.mean:.2f}%" if clean else "–",
        interval="; ".join(notes),
        verdict=verdict.label,
        reason=verdict.reason,
        href=_href(row.page, sources),
        command=f"make runs CLAIM={row.id} FRESH=1" if arms else "",
        sort=clean.mean if clean else None,
    )


def _cost(records: Sequence[RunRecord], runs: Runs) -> list[tuple[str, str]]:
    if not records:
        return [("Runs", "none recorded")]
    seconds = sum(record.wall_seconds for record in records)
    epochs = sum(record.final.epochs for record in records)
    choosing = len({planned.spec.hash for planned, record in runs if record and planned.stage == "grid"})
    facts = [
        ("Runs", f"{len(records)}, of which {choosing} only chose a learning rate"),
        ("Epochs", f"{epochs:,} in all, {epochs / len(records):.0f} a run"),
        ("Training time", f"{_duration(seconds)} in all, {_duration(seconds / len(records))} a run"),
    ]
    for place, group in _by_place(records).items():
        pace = sorted(record.images_per_second for record in group)[len(group) // 2]
        facts.append((f"On {place}", f"{len(group)} runs, {pace:,.0f} training images a second (median)"))
    return facts


def _by_place(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        where = record.environment
        a_run = "" if where.device == "cuda" else " a run"
        groups.setdefault(f"{where.place}{a_run}, {where.precision}", []).append(record)
    return dict(sorted(groups.items()))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _made(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    if not records:
        return [("Records", "none yet")]
    dates = sorted(record.created for record in records)
    environments = [record.environment for record in records]

    def all_of(values: Iterable[str]) -> str:
        return ", ".join(sorted(set(values)))

    return [
        ("Trained", f"{dates[0][:10]} to {dates[-1][:10]}" if dates[0][:10] != dates[-1][:10] else dates[0][:10]),
        ("Processor", all_of(f"{e.cpu}, {e.cores} cores" for e in environments)),
        ("GPU", all_of(e.gpu for e in environments)),
        ("System", all_of(e.system for e in environments)),
        ("Python", all_of(e.python for e in environments)),
        ("PyTorch", all_of(e.torch for e in environments)),
        ("Precision", all_of(e.precision for e in environments)),
    ]


def _data(records: Sequence[RunRecord]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Data set, where it was read from, and the digest of each of its arrays."""
    sources: dict[str, set[str]] = {}
    digests: dict[str, set[tuple[str, str]]] = {}
    for record in records:
        sources.setdefault(record.data.name, set()).add(record.data.source)
        named = {(array.replace("_", " "), digest) for array, digest in record.data.hashes.items()}
        digests.setdefault(record.data.name, set()).update(named)
    return [
        (NAMES.get(name, name), f"Read from: {', '.join(sorted(sources[name]))}.", sorted(digests[name]))
        for name in sorted(sources)
    ]


def _audit(records: Sequence[RunRecord], folder: Path = paths.AUDITS) -> list[tuple[str, str]]:
    """When the last audit was, what it found, and how many of the records shown it speaks of."""
    found = audit.latest(folder)
    if found is None:
        return [("Last audit", "None is recorded yet.")]
    covered = sum(map(found.covers, records))
    shown = f"all {covered} runs shown here"
    if covered < len(records):
        shown = f"{covered} of the {len(records)} runs shown here; the others were made or changed after it"
    return [("Last audit", found.created[:10]), ("It found", found.summary), ("It covers", shown)]


# ---- command line ----------------------------------------------------------------------------------------------------


def run(arguments: Namespace) -> int:
    """`python -m alexnet report`: build the report and say where it is."""

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        built = build(
            arguments.profile, arguments.seeds, arguments.fresh, arguments.out,
            limit=arguments.limit, workers=arguments.workers, say=say,
        )  # fmt: skip
    except notebooks.NotebookError as error:
        print(f"python -m alexnet report: {error} The last report is still there.", file=sys.stderr)
        return 1
    say(built.summary)
    return 0
