"""The report: runs that are missing, notebooks executed, pages built, and only then the last good report replaced."""

import contextlib
import dataclasses
import gc
import math
import os
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from .. import paths
from ..errors import ReportError
from ..experiments import costs, profiles
from ..networks import anatomy
from ..records.store import Store
from ..runs import pool
from ..runs.planning import Runs
from ..statistics import board
from ..statistics.verdicts import Label
from . import answers, api, assemble, check, convert, front, notebooks, try_it

Say = Callable[[str], None]
LONGEST_WAIT = 900.0  # seconds of training that a report makes up for by itself where it has other records to show
SECONDS_A_NOTEBOOK = 8  # of one notebook on a two-core machine, two at a time
TEMPORARY = ".new-"  # start of the name of the folder in which pages wait until all are sound


@dataclasses.dataclass(frozen=True)
class Built:
    """A finished report."""

    index: Path
    pages: int
    tally: Mapping[Label, int]  # verdict to number of claims
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
        pages = _pages(executed, runs, store, profile, seeds, out)
        _replace(pages, room, out)
    tally = {label: len(rows) for label, rows in answers.headline(board.rows(runs, anatomy.exact_counts())).items()}
    return Built(out / "index.html", len(pages), tally, time.monotonic() - started)


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
    todo = pool.work(planned(), workers, costs.measured_rates())
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


@contextlib.contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """Trees of pages have a million nodes, all in use: to look through them for garbage takes a quarter of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@_no_search_for_garbage()
def _pages(
    executed: Sequence[notebooks.Executed], runs: Runs, store: Store, profile: str, seeds: int | None, out: Path
) -> dict[str, str]:
    """File name to HTML. Raises ReportError for a broken link, a picture without words, or anything to fetch."""
    exporter, sources = convert.exporter(), [entry.source for entry in executed]
    reimplementations = front.reimplementation_rows(profile, store, seeds, sources)
    found = board.rows(runs, anatomy.exact_counts())
    articles = [
        front.article(front.content(found, runs, sources, reimplementations, store)),
        *(convert.article(one.source.stem, one.notebook, one.source.parent, out, exporter) for one in executed),
        *(try_it.article(network) for network in [try_it.read(paths.REPORTS / f"{try_it.NAME}.html")] if network),
        api.article(),
    ]
    pages = assemble.pages(articles, profile)
    if faults := check.faults(pages, out):
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
