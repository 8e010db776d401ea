"""The report: runs that are missing, notebooks executed, pages built, and only then the last good report replaced."""

import contextlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from . import (
    anatomy,
    board,
    experiments,
    figures,
    figures_display,
    grid,
    notebooks,
    paths,
    published_results,
    transfer_results,
)
from .claims import Reimplementation, claims, published
from .effects import LABELS, Effect
from .errors import ReportError
from .experiments import Planned
from .pages import api, assemble, check, convert, front
from .published_runs import published_runs
from .records import RunRecord, Store

Runs = Sequence[tuple[Planned, RunRecord | None]]
Say = Callable[[str], None]
LONGEST_WAIT = 900.0  # seconds of training that a report makes up for by itself where it has other records to show
SECONDS_A_NOTEBOOK = 8  # of one notebook on a two-core machine, two at a time
TEMPORARY = ".new-"  # start of the name of the folder in which pages wait until all are sound


@dataclass(frozen=True)
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
    experiments.check_profile(profile)
    started = time.monotonic()
    out = (out or paths.pages_folder(profile, fresh)).absolute()
    sources = notebooks.sources() if sources is None else sources
    store = Store(paths.runs_folder(profile, fresh))
    with _waiting_room(out) as room:
        _make_missing_runs(profile, store, seeds, workers, len(sources), say)
        executed = _execute(sources, _parameters(profile, seeds, fresh), limit, workers, say)
        runs = experiments.records(profile, store, seeds)
        found = board.rows(runs, anatomy.exact_counts())
        reimplementations = _reimplementations(profile, store, seeds, sources)
        pages = _pages(executed, found, runs, reimplementations, profile, out)
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
    todo = grid.work(profile, store, seeds, workers)
    pages = grid.hours_and_minutes(SECONDS_A_NOTEBOOK * math.ceil(count / 2))
    say(f"{grid.announcement(todo)} Then {count} notebooks, about {pages}.")
    if not todo.missing:
        return
    if todo.reused and todo.seconds > LONGEST_WAIT and profile != "smoke":
        # A reader asked for a report, not for hours of training: what is missing is marked on its pages.
        say(f"The report is built from the records that are there; `make runs PROFILE={profile}` makes the others.")
        return
    grid.require_records(profile, todo.missing)
    with grid.stopping_cleanly():
        grid.execute_all(profile, store, seeds, workers)


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
    profile: str,
    out: Path,
) -> dict[str, str]:
    """File name to HTML. Raises ReportError for a broken link, a picture without words, or anything to fetch."""
    exporter = convert.exporter()
    articles = [front.article(front_content(found, runs, [entry.source for entry in executed], reimplementations))]
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
    """Verdict to number of claims; a claim's verdict is that of its primary condition."""
    counts = Counter(row.verdict.label for row in found if row.question.primary)
    return {label: counts[label] for label in LABELS}


def front_content(
    found: Sequence[board.Row],
    runs: Runs,
    sources: Sequence[Path],
    reimplementations: Sequence[front.Row] | None = None,
) -> front.Front:
    """Everything the first page shows, from the board, the records and the files."""
    records = list({record.hash: record for _, record in runs if record is not None}.values())
    tested = [row for row in found if row.verdict.label != "not tested"]
    rule = claims().rule
    words = {label: getattr(rule, label.replace(" ", "_")) for label in LABELS}
    return front.Front(
        rows=[_row(row, sources) for row in tested],
        untested=[_row(row, sources) for row in found if row not in tested and row.question.primary],
        reimplementations=reimplementations or [_reimplementation(row, [], sources) for row in published().row],
        tally=[(label, count) for label, count in tally(found).items() if count],
        rule=list(words.items()),
        forest=_forest(tested),
        surprises=[_minus(surprise) for surprise in surprises(tested)],
        audit=_audit(),
        cost=_cost(records, runs),
        made=_made(records),
        data=_data(records),
        checklist=_checklist(records, runs),
        transfer=transfer_results.lines(runs),
        transfer_href=next((f"{s.stem}.html" for s in sources if "transfer_results" in s.read_text("utf-8")), ""),
    )


def _row(row: board.Row, sources: Sequence[Path]) -> front.Row:
    estimate, interval = _ours(row)
    effect = row.effect
    number = effect.estimate if isinstance(effect, Effect) else effect
    return front.Row(
        id=row.link,
        title=row.question.title,
        condition=row.question.condition_title,
        section=row.question.section,
        paper=board.paper(row.question),
        ours=estimate,
        interval=interval,
        verdict=row.verdict.label,
        reason=_minus(row.verdict.reason),
        href=_page_of(row.question.claim, sources),
        command=row.command,
        sort=None if number is None or math.isnan(number) else number,
    )


def _ours(row: board.Row) -> tuple[str, str]:
    """What came out, as ("4.9 times", "95% interval 3.8 to 6.3; 5 pairs of seeds")."""
    effect = row.effect
    if not isinstance(effect, Effect):
        return board.ours(row), ""
    unit = {"percentage points": "points"}.get(effect.unit, effect.unit)
    sign = "≥ " if effect.lower_bound else "≤ " if effect.upper_bound else ""
    estimate = "unknown" if math.isnan(effect.estimate) else f"{sign}{effect.number(effect.estimate)} {unit}"
    lowest = 0.0 if effect.kind == "ratio" else -math.inf
    below, above = effect.low > lowest, effect.high < math.inf
    if below and above:
        limits = f"{effect.number(effect.low)} to {effect.number(effect.high)}"
    elif below:
        limits = f"from {effect.number(effect.low)} upwards"
    elif above:
        limits = f"up to {effect.number(effect.high)}"
    else:
        limits = "without limits"
    pairs = "1 pair of seeds" if effect.n == 1 else f"{effect.n} pairs of seeds"
    return _minus(estimate), _minus(f"{effect.confidence:.0%} interval {limits}; {pairs}")


def _minus(text: str) -> str:
    """Hyphens before digits as minus signs."""
    return re.sub(r"(?<![\w.])-(?=\d)", "\u2212", text)


def _page_of(claim: str, sources: Sequence[Path]) -> str:
    """The page of the first notebook whose code names the claim."""
    for source in sources:
        if f'"{claim}"' in source.read_text(encoding="utf-8"):
            return f"{source.stem}.html"
    return ""


def _forest(tested: Sequence[board.Row]) -> front.Picture | None:
    if not any(isinstance(row.effect, Effect) and not math.isnan(row.effect.estimate) for row in tested):
        return None
    data, metadata = figures_display.bundle(*figures.forest_plot(tested))
    details = metadata["image/png"]
    return front.Picture(data["image/png"], details["width"], details["height"], details["alt"])


def surprises(tested: Sequence[board.Row]) -> list[str]:
    """Statements about what nobody would have guessed from the paper, each computed from the board."""
    said = []
    for row in tested:
        if row.verdict.label == "contradicted":
            said.append(
                f"{row.question.title} ({row.question.condition_title}), says the paper; here it is not so. "
                f"{row.verdict.reason}"
            )
        elif row.verdict.label == "direction reproduced" and (how := _beside_the_figure(row)):
            said.append(f"{row.question.title}, {how} than the paper says. {row.verdict.reason}")
    for one in tested:
        for other in tested:
            same = one.question.claim == other.question.claim and one.question.primary and not other.question.primary
            if same and isinstance(one.effect, Effect) and isinstance(other.effect, Effect) and _apart(one, other):
                (ours, _), (theirs, _) = _ours(one), _ours(other)
                said.append(
                    f"{one.question.title}: the size depends on the setting. It is {ours} with "
                    f"{one.question.condition_title}, and {theirs} with {other.question.condition_title}; "
                    "the intervals do not meet."
                )
    return said


def _beside_the_figure(row: board.Row) -> str:
    """Words for an interval that lies wholly beside the paper's figure, on the same scale; nothing for any other."""
    figure, effect = row.question.comparable, row.effect
    if figure is None or not isinstance(effect, Effect) or not effect.has_interval:
        return ""
    near_null = effect.null < effect.high < figure or figure < effect.low < effect.null
    beyond = effect.null < figure < effect.low or effect.high < figure < effect.null
    return "but by less" if near_null else "and by more" if beyond else ""


def _apart(one: board.Row, other: board.Row) -> bool:
    first, second = one.effect, other.effect
    if not isinstance(first, Effect) or not isinstance(second, Effect) or first.kind != second.kind:
        return False
    return first.has_interval and second.has_interval and (first.high < second.low or second.high < first.low)


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
        section={"cifar10": "CIFAR-10", "mnist": "MNIST"}[row.dataset],
        paper=f"{row.headline.value:g}{'%' if row.headline.unit == 'percent' else ' ' + row.headline.unit}",
        ours=f"{clean.mean:.2f}%" if clean else "–",
        interval="; ".join(notes),
        verdict=verdict.label,
        reason=verdict.reason,
        href=_page_of(row.id, sources),
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
    names = {"cifar10": "CIFAR-10", "mnist": "MNIST"}
    shown: dict[tuple[str, tuple[tuple[str, str], ...]], set[str]] = {}
    for record in records:
        key = (record.data.name, tuple(sorted(record.data.hashes.items())))
        shown.setdefault(key, set()).add(record.data.source)
    return [
        (names.get(name, name), f"Read from: {', '.join(sorted(sources))}.", list(hashes))
        for (name, hashes), sources in sorted(shown.items())
    ]


def _audit(folder: Path = paths.AUDITS) -> list[tuple[str, str]]:
    """The newest audit record, as far as it says when and what it found."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ReportError(f"The audit record {path.name} cannot be read ({error}); delete it.") from error
    if not found:
        return [("Last audit", "None is recorded yet.")]
    newest = max(found, key=lambda audit: str(audit.get("created", "")))
    return [("Last audit", str(newest.get("created", ""))[:10]), ("It found", str(newest.get("summary", "")))]


def _checklist(records: Sequence[RunRecord], runs: Runs) -> list[tuple[str, str]]:
    if not records:
        return []
    outcomes = Counter(record.final.outcome for record in records)
    ends = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    chosen = [record for planned, record in runs if record and planned.stage == "grid"]
    rates = sorted({record.spec.recipe.learning_rate for record in chosen})
    seeds = sorted({planned.seed for planned, record in runs if record and planned.stage == "seeds"})
    searched = f"{len(chosen)} runs over {len(rates)} learning rates"
    if rates:
        searched += f", {rates[0]:g} to {rates[-1]:g}"
    rule = claims().rule
    watched = any(record.spec.measured == "epochs" for record in records)
    seen = "No. Runs that choose something never see it; all others use it once"
    seen += "; where a published protocol watched it, its error is written down after each epoch." if watched else "."
    left = "No. All that were planned and run count"
    replaced = sum(planned.stage == "replaced" and record is not None for planned, record in runs)
    if replaced:
        seen += (
            " One exception: the plan of the transfer runs was changed when results were known; their page says how."
        )
        left += f", but for {replaced} transfer runs of the first plan, which are shown beside those in their place"
    return [
        ("Which data?", "Public data sets, complete; digests of the arrays are above, sources on the data page."),
        ("Which splits?", "Validation images are split off the training images, stratified, by a fixed seed."),
        ("What was searched?", f"{searched}; rates were chosen on training errors (speed of ReLU and tanh) or "
         "validation errors, by a seed that does not count."),
        ("Was the test set used to choose?", seen),
        ("How many seeds?", f"{len(seeds) or 'None yet'} an arm, the same ones in both arms of a comparison."),
        ("Were runs left out?", f"{left}: {ends}."),
        ("Which statistics?", f"Mean over pairs of seeds with a {rule.confidence:.0%} t interval; verdicts by a rule "
         "that was committed before the runs."),
        ("How much computing?", f"{_duration(sum(record.wall_seconds for record in records))} of training; see above."),
        ("Is the code there?", "Yes, all of it, with pinned dependencies, under the MIT licence."),
    ]  # fmt: skip


# ---- command line ----------------------------------------------------------------------------------------------------


def run(arguments: Namespace) -> int:
    """`python -m alexnet report`: build the report and say where it is."""
    if arguments.seeds is not None and arguments.seeds < 2:
        raise ReportError(f"--seeds {arguments.seeds} gives no interval; give 2 or more.")

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
