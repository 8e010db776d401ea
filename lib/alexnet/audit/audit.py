"""Proof that the run records belong to this code: everything that can be checked is, and some runs are trained again.

Without training, `audit.checks` compares each record with its spec, its predictions, the data and a fresh probe.
Runs that start from ImageNet's weights need these for the probe. Where they cannot be had, all else is checked, the
records are named as not checked to their end, and the command ends with 2: nothing was found wrong, and not all seen.
With `--minutes`, runs drawn at random are trained again from nothing and compared:

- On the hardware, threads, precision and torch version of the record, training repeats itself bit by bit. If weights,
  history and predictions are all equal, the record is proven; if only some of them are, a part of it was altered.
- Elsewhere float32 sums round differently and training amplifies that, at most to the difference between two seeds.
  With three or more other seeds of the same arm, the difference between record and repetition has to lie within the
  99% interval for two new runs of that arm (Student's t on the spread of the others, times the root of 2); with fewer,
  within the fixed tolerances below. The arm's spread leaves out the record in question, which may be the false one.
"""

import functools
import math
import multiprocessing
import random
import sys
import tempfile
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import ValidationError
from scipy import stats
from tqdm import tqdm

from .. import paths
from ..data import weights
from ..errors import AlexnetError, DataError, RecordError
from ..experiments import profiles
from ..records.files import Part, write_atomically
from ..records.record import Environment, Epoch, RunRecord
from ..records.specs import RunSpec
from ..records.store import Store
from ..runs import execution
from ..training import batches, features, machine, pretrained
from . import checks

FILE = "latest.json"
CONFIDENCE = 0.99  # of the interval for a repetition: some ten figures are compared in an audit
GRACE = 1.5  # a repetition that was expected to end in time is given up at this multiple of the time allowed
FEWEST_SEEDS = 3  # other seeds of an arm from which a spread is estimated
ERROR_TOLERANCE = 0.03  # with fewer seeds: a fraction of the images; seeds of these nets differ by about 0.01
EPOCHS_TOLERANCE = 0.25  # with fewer seeds: a fraction of the epochs to the target, and one epoch
MEASURES = ("epochs_to_target", "train_error", "valid_error", "test_error")
SAME_BITS = ("device", "precision", "threads", "cpu", "system", "torch")  # where these agree, so do the last bits


class OutOfTime(AlexnetError):
    """A repetition takes far longer than the record's seconds let expect."""


class Caught(Part):
    """A file of the store with what is wrong with it."""

    file: str
    differences: list[str]


class Measure(Part):
    """One final figure of a run and of its repetition."""

    name: str
    recorded: float
    repeated: float
    tolerance: float


class Repetition(Part):
    """A run that was trained again, and how close it came."""

    hash: str
    title: str
    same_machine: bool  # hardware, threads, precision and torch as in the record, so that equal bits are expected
    bit_equal: bool  # weights, history, predictions and signals
    measures: list[Measure]
    differences: list[str]  # empty: the record is confirmed
    seconds: float


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
    records, caught = _read(store)
    planned, notes = _planned(profile, store, records)
    notes += [f"{run_hash}: no experiment needs this record" for run_hash in records if run_hash not in planned]
    notes += checks.strays(store)
    unchecked = without_weights(records)
    for run_hash, differences in _check(store, records, unchecked):
        caught[run_hash].extend(differences)
    for name in checks.edited_since_committed(store):
        caught[Path(name).stem].append("its content differs from the committed file, yet claims the same creation time")
        _say(f"CAUGHT    {name}: {caught[Path(name).stem][-1]}")
    repetitions: list[Repetition] = []
    if minutes is not None:
        seed = random.SystemRandom().randrange(2**32) if seed is None else seed
        titles = {run_hash: planned.get(run_hash) or _title(record.spec) for run_hash, record in records.items()}
        known = {run_hash: record for run_hash, record in records.items() if run_hash not in unchecked}
        for repetition in _repeat(store, known, titles, minutes, seed, notes):
            repetitions.append(repetition)
    for note in notes:
        _say(f"note      {note}")
    found = [Caught(file=f"{name}.json", differences=what) for name, what in sorted(caught.items()) if what]
    total = len(store.hashes())
    return AuditRecord(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code=code_version(),
        profile=profile,
        environment=_environment(),
        summary=_summary(total, found, repetitions, len(unchecked)),
        audited={run_hash: record.sha256 for run_hash, record in sorted(records.items())},
        caught=found,
        unchecked=tuple(unchecked),
        repetitions=repetitions,
        minutes=minutes,
        seed=seed if minutes is not None else None,
        unused=[run_hash for run_hash in records if run_hash not in planned],
        missing=sum(run_hash not in records for run_hash in planned),
        notes=notes,
        seconds=time.perf_counter() - start,
    )


def _read(store: Store) -> tuple[dict[str, RunRecord], dict[str, list[str]]]:
    """All records that can be read, and what is wrong with the others and with copies."""
    records: dict[str, RunRecord] = {}
    caught: dict[str, list[str]] = defaultdict(list)
    for run_hash in store.hashes():
        try:
            records[run_hash] = store.load(run_hash)
        except RecordError as error:
            caught[run_hash].append(_without_folder(str(error), store))
            _say(f"CAUGHT    {run_hash}.json: {caught[run_hash][-1]}")
    for run_hash, difference in checks.copies(records.values()):
        caught[run_hash].append(difference)
        _say(f"CAUGHT    {run_hash}.json: {difference}")
    return records, caught


def without_weights(records: dict[str, RunRecord]) -> list[str]:
    """Hashes of the records that need ImageNet's weights, where these cannot be had; the reason is said.

    The weights are asked for once, and only if a record needs them.
    """
    needing = sorted(run_hash for run_hash, record in records.items() if record.spec.transfer is not None)
    if not needing:
        return []
    try:
        weights.imagenet()
    except DataError as error:
        _say(f"note      ImageNet's weights cannot be had: {error}")
        for run_hash in needing:
            _say(f"UNCHECKED {run_hash}.json: its probe needs ImageNet's weights")
        return needing
    return []


def _without_folder(message: str, store: Store) -> str:
    """A message fit for a committed file: where the store lies on this machine is nobody's business."""
    return message.replace(f"{store.folder}/", "")


class _Known(Store):
    """A store that answers from records already read, so that a damaged one does not end the planning."""

    def __init__(self, store: Store, records: dict[str, RunRecord]):
        super().__init__(store.folder)
        self.records = records

    def get(self, spec: RunSpec) -> RunRecord | None:
        return self.records.get(spec.hash)


def _planned(profile: str, store: Store, records: dict[str, RunRecord]) -> tuple[dict[str, str], list[str]]:
    """Hash and title of every run that the profiles which share this store need; what stood in the way of planning.

    Only the runs of `profile` itself are asked for; those of the others count where they have a record.
    """
    titles: dict[str, str] = {}
    notes = []
    for name in profiles.PROFILES:
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


def _check(
    store: Store, records: dict[str, RunRecord], unchecked: Collection[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """What differs, for each record; a process a core looks at them, each at those that begin alike together."""
    alike: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records.values():
        alike[checks.beginning(record.spec).hash].append(record)
    # Those that use the same images come one after the other, as these are kept in memory.
    groups = sorted(alike.values(), key=lambda group: _images(group[0].spec))
    terminal = sys.stderr.isatty()
    with tqdm(total=len(records), unit="record", desc="checking", disable=not terminal, leave=False) as bar:
        for group, found in zip(groups, _side_by_side(groups, store, unchecked), strict=True):
            for record, differences in zip(group, found, strict=True):
                for difference in differences:
                    _say(f"CAUGHT    {record.hash}.json: {difference}")
                if not differences and not terminal:
                    _say(f"agrees    {record.hash}.json{', but for its probe' if record.hash in unchecked else ''}")
                bar.update()
                yield record.hash, differences


def _images(spec: RunSpec) -> tuple[str, int, int]:
    return spec.dataset, spec.images.train_size or 0, spec.seed


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
        with ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
            yield from pool.map(find, groups)
    except BrokenProcessPool as error:
        raise AlexnetError("A process of the audit was killed, perhaps for want of memory; run it again.") from error


def _differences(group: Sequence[RunRecord], store: Store, unchecked: Collection[str]) -> list[list[str]]:
    """What differs, for each record of a group that begins alike: its probe is computed once."""
    probe = functools.cache(execution.probe)
    return [
        [
            _without_folder(text, store)
            for text in checks.differences(record, store, None if record.hash in unchecked else probe)
        ]
        for record in group
    ]


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stdout)


def _environment() -> Environment:
    device, precision = machine.default_device().type, machine.default_precision()
    return Environment(device=device, precision=precision, threads=torch.get_num_threads(), **machine.describe())


def _summary(total: int, caught: Sequence[Caught], repetitions: Sequence[Repetition], unchecked: int = 0) -> str:
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
        from .. import __version__

        return f"alexnet-report {__version__}"
    changed = checks.git(paths.ROOT, "status", "--porcelain", "--", str(paths.PACKAGE))
    return commit.strip() + (" and uncommitted changes" if changed else "")


# --- training again -------------------------------------------------------------------------------------------


def _repeat(
    store: Store, records: dict[str, RunRecord], titles: dict[str, str], minutes: float, seed: int, notes: list[str]
) -> Iterator[Repetition]:
    """Train runs again, in a random order, each if it is expected to end in time."""
    start, budget, slowdown, done = time.perf_counter(), 60 * minutes, 1.0, 0
    order = sorted(records)
    random.Random(seed).shuffle(order)
    trainable = [h for h in order if records[h].environment.device in ("cpu", machine.default_device().type)]
    if len(trainable) < len(order):
        notes.append(f"{len(order) - len(trainable)} records were made on a GPU and are not trained again here")
    without_features = [h for h in trainable if records[h].spec.frozen and not _features_are_made(records[h])]
    if without_features:
        trainable = [h for h in trainable if h not in without_features]
        notes.append(
            f"{len(without_features)} records are of classifiers on features that are not computed here, and are not "
            "trained again; `python -m alexnet features` computes them"
        )
    for run_hash in trainable:
        record = records[run_hash]
        left = budget - (time.perf_counter() - start)
        if record.wall_seconds * slowdown > left:
            continue
        _say(f"training  {run_hash}: {titles[run_hash]}, recorded with {record.wall_seconds:.0f} s")
        try:
            repetition = repeat(record, store, arm(record, records.values()), titles[run_hash], start + GRACE * budget)
        except OutOfTime:
            notes.append(f"{run_hash}: given up after {GRACE:g} x {minutes:g} minutes: the machine is busy or slow")
            return
        slowdown = max(0.1, repetition.seconds / max(record.wall_seconds, 1.0))  # this machine, now
        _say(f"{'REFUTED  ' if repetition.differences else 'confirmed'} {run_hash}: {closeness(repetition)}")
        done += 1
        yield repetition
    if not done:
        shortest = min((records[h].wall_seconds for h in trainable), default=math.nan)
        notes.append(f"no run fits into {minutes:g} minutes; the shortest took {shortest / 60:.1f}")


def _features_are_made(record: RunRecord) -> bool:
    """Computing them would take far longer than the run, and a gigabyte of disk."""
    dataset, _, _ = batches.split_of(record.spec.dataset)
    return features.are_made(
        dataset, precision_here(record), record.data.hashes[pretrained.WEIGHTS], machine.default_device()
    )


def precision_here(record: RunRecord) -> str:
    """The record's precision, where this machine is fast at it."""
    return record.environment.precision if machine.has_fast_bfloat16() else "float32"


def arm(record: RunRecord, records: Iterable[RunRecord]) -> list[RunRecord]:
    """The runs that differ from this one in nothing but the seed."""
    same = record.spec.with_(seed=0)
    return [other for other in records if other.spec.with_(seed=0) == same and other.hash != record.hash]


def repeat(
    record: RunRecord, store: Store, others: Sequence[RunRecord], title: str = "", deadline: float = math.inf
) -> Repetition:
    """Train a run again in a store of its own, with the record's threads and precision where this machine has them.

    `others` are the other seeds of its arm. Raises `OutOfTime` after the first epoch that ends past the deadline.
    """
    environment = record.environment
    precision = precision_here(record)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="alexnet-audit-") as folder, _threads(environment.threads):
        with tqdm(total=record.final.epochs, unit="epoch", disable=not sys.stderr.isatty(), leave=False) as bar:

            def report(_: Epoch) -> None:
                bar.update()
                if time.perf_counter() > deadline:
                    raise OutOfTime("The time allowed is over.")

            again = execution.execute(record.spec, Store(folder), precision, report)
        equal = {
            "weights": record.weights_sha256 == again.weights_sha256,
            "history": _bits(record) == _bits(again),
            "predictions": _same_predictions(record, store, again, Store(folder)),
            "signals": record.signals is None or repr(record.signals) == repr(again.signals),
        }
    same_machine = all(getattr(environment, name) == getattr(again.environment, name) for name in SAME_BITS)
    bit_equal = all(equal.values())
    measures = [] if bit_equal else list(_measures(record, again, others))
    differences = [
        f"{m.name} is {m.recorded:.6g}, trained again {m.repeated:.6g}, more than {m.tolerance:.2g} away"
        for m in measures
        if not abs(m.recorded - m.repeated) <= m.tolerance
    ]
    outcomes = {record.final.outcome, *(other.final.outcome for other in others)}
    if again.final.outcome not in outcomes:
        differences.append(f"the outcome is {record.final.outcome}, trained again {again.final.outcome}")
    altered = [name for name, same in equal.items() if not same]
    # Weights or a history that are equal to the last bit come from the same training, so what else differs was
    # altered. A diverged run has little history that could differ.
    same_training = equal["weights"] or (equal["history"] and again.final.outcome != "diverged")
    if same_machine and same_training and altered:
        differences.append(f"{', '.join(altered)} altered: all else is equal to the last bit")
    return Repetition(
        hash=record.hash,
        title=title or _title(record.spec),
        same_machine=same_machine,
        bit_equal=bit_equal,
        measures=measures,
        differences=differences,
        seconds=time.perf_counter() - start,
    )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Compute with as many threads as a record was made with, where there are as many cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(number, machine.cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _bits(record: RunRecord) -> list[str]:
    """The history as text in which equal bits are equal, not-a-number included."""
    return [epoch.model_dump_json(exclude={"seconds"}) for epoch in record.history]


def _same_predictions(record: RunRecord, store: Store, again: RunRecord, other: Store) -> bool:
    """Compares the arrays: the bytes of the file also depend on the compressor's version."""
    if record.predictions is None or again.predictions is None:
        return record.predictions is again.predictions
    try:
        recorded = store.predictions(record)
    except RecordError:
        return False
    repeated = other.predictions(again)
    return recorded.keys() == repeated.keys() and all(
        np.array_equal(recorded[name], repeated[name], equal_nan=name != "predicted") for name in repeated
    )


def _measures(record: RunRecord, again: RunRecord, others: Sequence[RunRecord]) -> Iterator[Measure]:
    """Final figures that both have; a diverged run has none that mean anything."""
    if "diverged" in (record.final.outcome, again.final.outcome):
        return
    for name in MEASURES:
        recorded, repeated = getattr(record.final, name), getattr(again.final, name)
        if recorded is not None and repeated is not None:
            spread = [value for other in others if (value := getattr(other.final, name)) is not None]
            yield Measure(name=name, recorded=recorded, repeated=repeated, tolerance=tolerance(name, repeated, spread))


def tolerance(name: str, repeated: float, others: Sequence[float]) -> float:
    """How far a record may lie from its repetition, given the same figure of the other seeds of its arm."""
    if len(others) >= FEWEST_SEEDS:
        quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(others) - 1)
        return float(quantile * np.std(others, ddof=1) * math.sqrt(2))
    return 1 + EPOCHS_TOLERANCE * repeated if name == "epochs_to_target" else ERROR_TOLERANCE


def closeness(repetition: Repetition) -> str:
    """How close a repetition came, in words."""
    if repetition.differences:
        return "; ".join(repetition.differences)
    if repetition.bit_equal:
        return "weights, history, predictions and signals equal to the last bit"
    where = "not bit-equal, though on a machine of the same description" if repetition.same_machine else "other machine"
    figures = [f"{m.name} {m.recorded:.4g} and {m.repeated:.4g} (±{m.tolerance:.2g})" for m in repetition.measures]
    return f"{where}; {', '.join(figures) or 'the same outcome'}"


# --- the command ----------------------------------------------------------------------------------------------


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
