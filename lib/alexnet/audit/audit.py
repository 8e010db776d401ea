"""Proof that the run records belong to this code: everything that can be checked is, and some runs are trained again.

Without training, `audit.checks` compares each record with its spec, its predictions, the data and a fresh probe.
Runs that start from ImageNet's weights need these for the probe. Where they cannot be had, all else is checked, the
records are named as not checked to their end, and the command ends with 2: nothing was found wrong, and not all seen.
With `--minutes`, runs drawn at random are trained again from nothing and compared, as `audit.repetition` says.
"""

import functools
import multiprocessing
import random
import sys
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from tqdm import tqdm

from .. import __version__, paths
from ..data import weights
from ..errors import AlexnetError, DataError, RecordError
from ..experiments import profiles
from ..records.files import Part, write_atomically
from ..records.record import Environment, RunRecord
from ..records.specs import RunSpec
from ..records.store import Store
from ..runs import execution
from ..runs.planning import PROFILES
from ..training import machine
from ..training.prepared import prepare
from . import checks
from .repetition import Repetition, repeat_some, say

FILE = "latest.json"


class Caught(Part):
    """A file of the store with what is wrong with it."""

    file: str
    differences: list[str]


class AuditRecord(Part):
    """What an audit found."""

    schema_version: Literal[2] = 2
    created: str  # UTC, ISO 8601
    code: str  # commit, or version of the package
    profile: str
    environment: Environment
    summary: str
    audited: dict[str, str]  # hash of each record that was read, and the sha256 of what it said
    caught: list[Caught]
    unchecked: tuple[str, ...] = ()  # hashes of records whose probe needs ImageNet's weights, which could not be had
    repetitions: list[Repetition]
    minutes: float | None  # allowed for repetitions
    seed: int | None  # of the draw of repetitions
    unused: list[str]  # hashes of records that no experiment needs
    missing: int  # runs the profile needs that have no record
    notes: list[str]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0: all records agree; 1: something was caught; 2: nothing was, and some could not be checked to their end."""
        return 1 if not self.passed else 2 if self.unchecked else 0

    @property
    def passed(self) -> bool:
        """Whether nothing was caught."""
        return not self.caught and not any(repetition.differences for repetition in self.repetitions)

    def covers(self, record: RunRecord) -> bool:
        """Whether the record was audited, and is unchanged."""
        return self.audited.get(record.hash) == record.sha256


def latest(folder: Path = paths.AUDITS) -> AuditRecord | None:
    """The last audit, or None if there was none. Raises `RecordError` when its record is damaged."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return AuditRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RecordError(f"{path} is not an audit record of this version; run `make audit`.") from error


def examine(store: Store, profile: str, minutes: float | None = None, seed: int | None = None) -> AuditRecord:
    """Audit a store, saying what is done; `minutes` are for training runs again, drawn with `seed`."""
    start = time.perf_counter()
    caught: dict[str, list[str]] = defaultdict(list)

    def catch(run_hash: str, difference: str) -> None:
        caught[run_hash].append(difference.replace(f"{store.folder}/", ""))  # where it lies here is nobody's business
        say(f"CAUGHT    {run_hash}.json: {caught[run_hash][-1]}")

    records = {}
    for run_hash in store.hashes():
        try:
            records[run_hash] = store.load(run_hash)
        except RecordError as error:
            catch(run_hash, str(error))
    for run_hash, difference in checks.copies(records.values()):
        catch(run_hash, difference)
    planned, notes = titles_of_plans(profile, store, records)
    unused = [run_hash for run_hash in records if run_hash not in planned]
    notes += [f"{run_hash}: no experiment needs this record" for run_hash in unused]
    notes += checks.strays(store)
    unchecked = without_weights(records)
    for run_hash, differences in checked(store, records, unchecked):
        for difference in differences:
            catch(run_hash, difference)
    for name in checks.edited_since_committed(store):
        catch(Path(name).stem, "its content differs from the committed file, yet claims the same creation time")
    repetitions = []
    if minutes is not None:
        seed = random.SystemRandom().randrange(2**32) if seed is None else seed
        titles = {run_hash: planned.get(run_hash) or _title(record.spec) for run_hash, record in records.items()}
        known = {run_hash: record for run_hash, record in records.items() if run_hash not in unchecked}
        repetitions = list(repeat_some(store, known, titles, minutes, seed, notes))
    for note in notes:
        say(f"note      {note}")
    found = [Caught(file=f"{name}.json", differences=what) for name, what in sorted(caught.items())]
    device, precision, threads = machine.default_device().type, machine.default_precision(), torch.get_num_threads()
    return AuditRecord(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code=code_version(),
        profile=profile,
        environment=Environment(device=device, precision=precision, threads=threads, **machine.describe()),
        summary=_summary(len(store.hashes()), found, repetitions, len(unchecked)),
        audited={run_hash: record.sha256 for run_hash, record in sorted(records.items())},
        caught=found,
        unchecked=tuple(unchecked),
        repetitions=repetitions,
        minutes=minutes,
        seed=seed if minutes is not None else None,
        unused=unused,
        missing=sum(run_hash not in records for run_hash in planned),
        notes=notes,
        seconds=time.perf_counter() - start,
    )


def without_weights(records: dict[str, RunRecord]) -> list[str]:
    """Hashes of the records that need ImageNet's weights, where these cannot be had; the reason is said.

    The weights are asked for once, and only if a record needs them.
    """
    needing = sorted(run_hash for run_hash, record in records.items() if record.spec.transfer is not None)
    try:
        if needing:
            weights.imagenet()
        return []
    except DataError as error:
        say(f"note      ImageNet's weights cannot be had: {error}")
        for run_hash in needing:
            say(f"UNCHECKED {run_hash}.json: its probe needs ImageNet's weights")
        return needing


class _Known(Store):
    """A store that answers from records already read, so that a damaged one does not end the planning."""

    def __init__(self, store: Store, records: dict[str, RunRecord]):
        super().__init__(store.folder)
        self.records = records

    def get(self, spec: RunSpec) -> RunRecord | None:
        return self.records.get(spec.hash)


def titles_of_plans(profile: str, store: Store, records: dict[str, RunRecord]) -> tuple[dict[str, str], list[str]]:
    """Hash and title of every run that the profiles which share this store need; what stood in the way of planning.

    Only the runs of `profile` itself are asked for; those of the others count where they have a record.
    """
    titles: dict[str, str] = {}
    notes = []
    for name in PROFILES:
        if paths.runs_folder(name) != paths.runs_folder(profile):
            continue
        try:
            plan = {p.spec.hash: p.title for p in profiles.plan(name, _Known(store, records))}
        except AlexnetError as error:
            notes.append(f"profile {name} cannot be planned to its end: {error}")
            continue
        titles |= {h: title for h, title in plan.items() if name == profile or h in records}
    return titles, notes


def _title(spec: RunSpec) -> str:
    return f"{spec.net.name}, {spec.net.activation}, lr {spec.recipe.learning_rate:g} seed {spec.seed}"


def checked(store: Store, records: dict[str, RunRecord], unchecked: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """What differs, for each record; a process a core looks at them, each at those of a fresh network together."""
    alike: dict[object, list[RunRecord]] = defaultdict(list)
    for record in records.values():
        spec, of = record.spec, record.spec.images
        alike[spec.net, spec.transfer, spec.seed, spec.dataset, of.resize, of.padding, of.crop].append(record)
    # Those that use the same images come one after the other, as these are kept in memory.
    groups = sorted(alike.values(), key=lambda group: _images(group[0].spec))
    terminal = sys.stderr.isatty()
    with tqdm(total=len(records), unit="record", desc="checking", disable=not terminal, leave=False) as bar:
        for group, found in zip(groups, _side_by_side(groups, store, unchecked), strict=True):
            for record, differences in zip(group, found, strict=True):
                if not differences and not terminal:
                    say(f"agrees    {record.hash}.json{', but for its probe' if record.hash in unchecked else ''}")
                bar.update()
                yield record.hash, differences


def _images(spec: RunSpec) -> tuple[str, int, int]:
    return spec.dataset, spec.images.train_size or 0, spec.seed


def _begin() -> None:
    """A process of one thread that keeps the memory it frees: each probe takes and frees hundreds of megabytes."""
    torch.set_num_threads(1)
    machine.keep_freed_memory()


def _side_by_side(
    groups: Sequence[Sequence[RunRecord]], store: Store, unchecked: Collection[str]
) -> Iterator[list[list[str]]]:
    """What `_differences` finds in each group, in processes of one thread where these can be forked safely."""
    find = functools.partial(_differences, store=store, unchecked=unchecked)
    processes = min(machine.cores(), len(groups)) if sys.platform == "linux" else 1
    if processes < 2:
        yield from map(find, groups)
        return
    context = multiprocessing.get_context("fork")  # they have all that is imported and read already
    try:
        with ProcessPoolExecutor(processes, context, _begin) as pool:
            yield from pool.map(find, groups)
    except BrokenProcessPool as error:
        raise AlexnetError("A process of the audit was killed, perhaps for want of memory; run it again.") from error


def _differences(group: Sequence[RunRecord], store: Store, unchecked: Collection[str]) -> list[list[str]]:
    """What differs, for each record of a group: their network is built once, and a probe computed once for runs that
    begin alike."""
    network = functools.cache(lambda: prepare(group[0].spec).network())
    probe = functools.cache(lambda beginning: execution.probe(beginning, network()))
    return [list(checks.differences(one, store, None if one.hash in unchecked else probe)) for one in group]


def _summary(total: int, caught: Sequence[Caught], repetitions: Sequence[Repetition], unchecked: int) -> str:
    """One sentence for the report."""
    agree = f"all {total} records agree" if not caught else f"{len(caught)} of {total} records do NOT agree"
    text = f"{agree} with this code, their predictions and the data"
    if unchecked:
        text += f", but for the probes of {unchecked}, which need ImageNet's weights and could NOT be checked"
    if not repetitions:
        return f"{text}; none was trained again"
    failed = sum(bool(repetition.differences) for repetition in repetitions)
    equal = sum(repetition.bit_equal for repetition in repetitions)
    close = len(repetitions) - equal - failed
    parts = [(equal, "equal to the last bit"), (close, "within the spread of seeds"), (failed, "REFUTED")]
    return f"{text}; {len(repetitions)} trained again: {', '.join(f'{n} {what}' for n, what in parts if n)}"


def code_version() -> str:
    """The commit of this code, and whether the library was changed since; without git, the package's version."""
    commit = checks.git(paths.ROOT, "rev-parse", "HEAD") if (paths.ROOT / ".git").exists() else None
    if commit is None:
        return f"alexnet-report {__version__}"
    changed = checks.git(paths.ROOT, "status", "--porcelain", "--", str(paths.PACKAGE))
    return commit.strip() + (" and uncommitted changes" if changed else "")


def run(arguments: Namespace) -> int:
    """`python -m alexnet audit`: 0 when all records agree, 1 when something was caught, 2 when not all was checked.

    The audit record is written to a folder `audits` beside that of the records.
    """
    profile = profiles.check_profile(arguments.profile)
    store = Store(arguments.store or paths.runs_folder(profile))
    if not store.hashes():
        raise RecordError(f"{store.folder} holds no records to audit; `make runs` makes them.")
    audit = examine(store, profile, arguments.minutes, arguments.seed)
    print(f"{audit.summary}. {audit.seconds:.0f} s.")
    write_atomically(store.folder.parent / "audits" / FILE, (audit.model_dump_json(indent=1) + "\n").encode())
    return audit.exit_code
