"""Make the runs that a plan lacks: here, in several processes, or on a cluster, through Dask.

Every run is independent and writes its own record, so the pool needs no coordinator beyond the store: a worker that
dies has its runs retried elsewhere, and they go on from their last checkpoint where the store is shared.
"""

import functools
import heapq
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from .. import paths
from ..errors import RecordError, SpecError
from ..networks import models
from ..records.record import RunRecord
from ..records.specs import HELD_BACK, NetSpec, RunSpec
from ..records.store import Store
from ..training import machine
from . import execution
from .planning import Planned, Runs

if TYPE_CHECKING:  # distributed takes a second to import, and most commands start no cluster
    from distributed import Client

FLOP_PER_MULTIPLY_ADD = 6  # a multiply and an add, forward once and backward twice
ASSUMED_FLOPS = 80e9  # a thread's arithmetic a second in training, until records tell better
LARGE = 1e9  # arithmetic of a training step an image from which one run keeps all threads busy
LONGEST = 5  # runs that are listed before a start, of a longer list
TEST_IMAGES = 10_000  # of either data set
TOPIC = "epochs"
ALONE = threading.Lock()  # torch's generator is the process's: a worker of several threads runs one after the other


@dataclass(frozen=True)
class Work:
    """What has to be done, and why."""

    missing: list[Planned]
    reused: list[Planned]
    seconds: float  # estimate for the missing runs at their caps, all workers together
    each: Sequence[float] = ()  # the same for each of them

    def reasons(self, most: int | None = None) -> Iterator[str]:
        """For each run, why it is reused or run, and how long that takes; or only for so many, the longest."""
        if most is None:
            yield from (f"reuse  {p.spec.hash}  {p.title}: its record is there" for p in self.reused)
        rows = zip(self.each, self.missing, strict=True)
        shown = list(rows) if most is None else heapq.nlargest(most, rows, key=lambda row: row[0])
        for seconds, p in shown:
            recipe = p.spec.recipe
            about = "at most" if recipe.stop_after or recipe.stop_at_train_error else "about"
            yield f"run    {p.spec.hash}  {p.title}: no record of this spec, {about} {hours_and_minutes(seconds)}"
        if len(shown) < len(self.missing):
            yield f"run    {len(self.missing) - len(shown)} more, none of them longer"

    @property
    def announcement(self) -> str:
        """What will run and how long that takes, in one sentence."""
        if not self.missing:
            return f"All {len(self.reused)} runs have their records."
        return (
            f"{len(self.reused)} records are reused, {len(self.missing)} runs are missing: "
            f"at most about {hours_and_minutes(self.seconds)} here, less when they reach their targets early. "
            "Later stages are planned when these are done."
        )

    def require_records(self, profile: str) -> None:
        """In continuous integration a missing record is an error, never hours of training. Smoke runs are made live."""
        if self.missing and paths.environment("CI") and profile != "smoke":
            names = ", ".join(f"{p.spec.hash} ({p.title})" for p in self.missing[:3])
            raise RecordError(
                f"{len(self.missing)} run records are missing, among them {names}. "
                f"Continuous integration does not train; run `make runs PROFILE={profile}` and commit the records."
            )


def work(runs: Runs, workers: int | None = None, rates: Mapping[float, float] | None = None) -> Work:
    """Planned runs, split into those that have a record and those that lack one.

    `rates`: images a second of one thread, where they were measured, by the arithmetic of a training step an image.
    """
    first: dict[str, tuple[Planned, RunRecord | None]] = {}
    for planned, record in runs:
        first.setdefault(planned.spec.hash, (planned, record))  # a run may serve several claims, and is made once
    missing = [planned for planned, record in first.values() if record is None]
    reused = [(planned, record) for planned, record in first.values() if record is not None]
    speed, total, each = _speed(record for _, record in reused), 0.0, []
    for planned in missing:
        alone = large(planned.spec) and workers in (None, 1)  # then it has all threads
        each.append(_seconds(planned.spec, speed, rates or {}) / (machine.cores() if alone else 1))
        total += each[-1] / (1 if alone else _at_once(workers))
    return Work(missing, [planned for planned, _ in reused], total, each)


def _at_once(workers: int | None) -> int:
    """How many runs at once: what the user says, or one a core, or one on a GPU."""
    return workers or (machine.cores() if machine.default_device().type == "cpu" else 1)


def flop_an_image(spec: RunSpec) -> float:
    """Multiplications and additions of a training step for one image: forward once, backward twice as much."""
    return _flop_an_image(spec.net, spec.side, spec.frozen)


@functools.cache
def _flop_an_image(net: NetSpec, side: int, frozen: bool) -> float:
    return FLOP_PER_MULTIPLY_ADD * models.multiply_adds(net, side, frozen)


def large(spec: RunSpec) -> bool:
    """Whether a run is better made alone, with all threads, than beside others with a thread each."""
    return flop_an_image(spec) >= LARGE


def expected_seconds(spec: RunSpec, records: Iterable[RunRecord]) -> float:
    """What a run up to its cap takes one thread, by the speed of the records that were made on a machine like this."""
    return _seconds(spec, _speed(records), {})


def _seconds(spec: RunSpec, speed: float, rates: Mapping[float, float]) -> float:
    """By a measured rate, or else by the speed of records, whose seconds hold what an epoch ends with as well."""
    flop = flop_an_image(spec)
    return images_worked(spec) / rates[flop] if flop in rates else flop * spec.images_seen / speed


def images_worked(spec: RunSpec) -> float:
    """Images that a run trains on up to its cap, and those that it looks at after each epoch: a third of a step each,
    which is worth three passes forward."""
    watched = spec.images.valid_size or HELD_BACK
    if spec.measured == "epochs":
        watched += watched + (spec.images.test_size or TEST_IMAGES)
    return images_stepped(spec) + spec.recipe.epochs * watched / 3


def images_stepped(spec: RunSpec) -> float:
    """Images that a run trains on up to its cap; those that only a last layer is trained on cost a third of a step."""
    second = spec.recipe.second
    alone = spec.recipe.epochs - second.after if second and second.last_layer else 0
    return spec.images_seen - spec.training_images * alone * 2 / 3


def _speed(records: Iterable[RunRecord]) -> float:
    """Arithmetic a second of one thread: the median of the records made on a machine and in a precision like here."""
    here, precision = machine.describe(), machine.default_precision()
    speeds = [
        record.images_per_second * flop_an_image(record.spec) / record.environment.threads
        for record in records
        if (record.environment.cpu, record.environment.gpu) == (here["cpu"], here["gpu"])
        and record.environment.precision == precision
    ]
    return statistics.median(speeds) if speeds else ASSUMED_FLOPS


def execute_all(
    planned: Callable[[], Runs],  # what can be named now, with its records
    store: Store,
    workers: int | None = None,  # processes of one thread each; None: one a core, and large runs one at a time
    scheduler: str | None = None,  # address of a Dask scheduler to use instead
    minutes: float | None = None,  # start no new run after so long
) -> int:
    """Make the records that a plan lacks and return how many were made.

    Stages that depend on records (a grid that chooses a learning rate) are planned again as records arrive. Raises
    `RecordError` when a run fails for good, after all others are done.
    """
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    made, progress = 0, Progress()
    with progress.bar, ExitStack() as stack:
        pool: Here | Cluster | None = None
        while missing := work(planned()).missing:
            if deadline is not None and time.monotonic() >= deadline:
                progress.say(f"Time is up; {len(missing)} runs are left. The same command goes on from here.")
                break
            # Large runs come after the others, one at a time, unless the user says how many at once.
            told = workers or scheduler
            beside = [p for p in missing if told or not large(p.spec)]
            if told or len(beside) > 1:
                pool = pool or stack.enter_context(_pool(_at_once(workers), scheduler))
                made += pool.execute(beside, store, progress, deadline)
            else:
                made += Here().execute(beside or missing, store, progress, deadline)
    return made


class Progress:
    """A bar of epochs with the time left in a terminal, one line a run elsewhere."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(unit="epoch", disable=not self.terminal, dynamic_ncols=True)
        self._done: dict[str, int] = {}

    def plan(self, planned: list[Planned]) -> None:
        """Add runs to what is expected, each up to its cap."""
        self.bar.total = (self.bar.total or 0) + sum(p.spec.recipe.epochs for p in planned)
        self.bar.refresh()

    def epoch(self, title: str, number: int, train_error: float) -> None:
        """An epoch of some run is done."""
        self._done[title] = self._done.get(title, 0) + 1
        self.bar.set_postfix_str(f"{title}: epoch {number}, training error {train_error:.1%}", refresh=False)
        self.bar.update()

    def run(self, planned: Planned, record: RunRecord) -> None:
        """A run is done: epochs it did not need leave the bar."""
        self.bar.update(max(0, planned.spec.recipe.epochs - self._done.pop(planned.title, 0)))
        final = record.final
        self.say(
            f"{planned.title}: {final.outcome} after {final.epochs} epochs, {record.wall_seconds:.0f} s, "
            f"training error {final.train_error:.1%}, validation error {final.valid_error:.1%}"
        )

    def say(self, line: str) -> None:
        """A line that stays."""
        self.bar.write(line, file=sys.stderr)


class Here:
    """Runs one after the other in this process, with all threads."""

    def execute(self, planned: list[Planned], store: Store, progress: Progress, deadline: float | None) -> int:
        """Execute runs until the deadline; returns how many."""
        progress.plan(planned)
        for count, p in enumerate(planned):
            if deadline is not None and time.monotonic() >= deadline:
                return count

            def report(epoch: execution.Epoch, title: str = p.title) -> None:
                progress.epoch(title, epoch.epoch, epoch.train_error)

            progress.run(p, execution.execute(p.spec, store, report=report))
        return len(planned)


class Cluster:
    """Runs side by side in the processes of a Dask cluster."""

    def __init__(self, client: "Client"):
        self.client = client

    def execute(self, planned: list[Planned], store: Store, progress: Progress, deadline: float | None) -> int:
        """Execute runs until the deadline; returns how many. A run whose worker died is tried again elsewhere."""
        from distributed import as_completed

        progress.plan(planned)
        self.client.subscribe_topic(TOPIC, lambda event: progress.epoch(*event[1]))
        waiting, futures = iter(planned), {}
        made, failures = 0, []
        at_work = as_completed()

        def submit() -> None:
            """Keep every worker busy with the next runs of the plan. Given all at once, Dask would shuffle them."""
            late = deadline is not None and time.monotonic() > deadline
            while not late and at_work.count() < max(1, len(self.client.nthreads())):
                if (p := next(waiting, None)) is None:
                    return
                future = self.client.submit(
                    _on_worker, p.spec, str(store.folder), p.title, key=p.spec.hash, retries=2, pure=False
                )
                futures[future.key] = p
                at_work.add(future)

        submit()
        for future in at_work:
            planned_run = futures[future.key]
            if (error := future.exception()) is not None:
                failures.append(f"{planned_run.title}: {error}")
            elif store.get(planned_run.spec) is None:
                # Planned again, it would be trained again without end.
                failures.append(
                    f"{planned_run.title}: its worker wrote no record into {store.folder}; share the folder"
                )
            else:
                progress.run(planned_run, future.result())
                made += 1
            submit()
        if failures:
            raise RecordError(f"{len(failures)} runs failed: {'; '.join(failures)}")
        return made


def _on_worker(spec: RunSpec, folder: str, title: str) -> RunRecord:
    """Execute one run in a worker with one thread, telling the client of each epoch."""
    from distributed import get_worker

    worker = get_worker()

    def report(epoch: execution.Epoch) -> None:
        worker.log_event(TOPIC, (title, epoch.epoch, epoch.train_error))

    with ALONE:
        torch.set_num_threads(1)
        return execution.execute(spec, Store(folder), report=report)


@contextmanager
def _pool(workers: int, scheduler: str | None) -> Iterator[Here | Cluster]:
    """This process for one worker, a Dask cluster on this machine for several, or the one at `scheduler`."""
    if scheduler is None and workers == 1:
        yield Here()
        return
    import dask
    from distributed import Client, LocalCluster

    quiet = {"distributed.worker.daemon": False, "distributed.logging.distributed": "error"}
    # Before a worker starts: the thread that it trains in has an arena of its own from its first allocation on.
    one_arena = {"distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1}
    with dask.config.set(quiet | one_arena):
        if scheduler is not None:
            try:
                client = Client(scheduler, timeout="10s")
            except (OSError, ValueError) as error:
                raise SpecError(f"No Dask scheduler answers at {scheduler!r} ({error}); start one there.") from error
            with client:
                yield Cluster(client)
            return
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",  # else at a port that another command may have
                env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            ) as cluster,  # fmt: skip
            Client(cluster) as client,
        ):
            yield Cluster(client)


@contextmanager
def stopping_cleanly(how_to_go_on: str = "") -> Iterator[None]:
    """Turn SIGTERM into the same clean stop as Ctrl-C, which tells how to go on."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as stopped:
        raise KeyboardInterrupt(f"\nStopped. {how_to_go_on}".rstrip(" ")) from stopped
    finally:
        signal.signal(signal.SIGTERM, before)


def hours_and_minutes(seconds: float) -> str:
    """A duration as people say it."""
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
