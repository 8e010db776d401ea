"""Runs that are killed, doubled, starved of disk or fed damaged checkpoints end with the records they should have."""

import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
import small
import torch

from alexnet import RunRecord, RunSpec, Store, paths
from alexnet.audit import checks
from alexnet.errors import RecordError
from alexnet.networks import models
from alexnet.records.record import Epoch, epochs_to
from alexnet.runs import execution
from alexnet.training.recipe import ending, finished

KILLS = 20


def contents(store: Store) -> dict[str, dict]:
    for record in store.all():
        if record.predictions:
            assert len(store.predictions(record)["predicted"]) == small.TEST
    return {record.hash: small.comparable(record) for record in store.all()}


def files(store: Store) -> set[str]:
    """Names of all files of a store, locks aside: they are empty, and held by processes only."""
    return {path.name for path in store.folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def complete(specs: list[RunSpec]) -> set[str]:
    return {f"{spec.hash}.{kind}" for spec in specs for kind in ("json", "npz")}


# --- kills ----------------------------------------------------------------------------------------------------


class Workers:
    """Processes that execute runs of one store; see workers.py."""

    def __init__(self, context: ForkServerContext, folder: Path):
        self.context, self.store, self.log = context, Store(folder), folder.with_suffix(".log")

    def start(self, specs: list[RunSpec], die_at: int | None = None) -> ForkServerProcess:
        """A worker under way."""
        process = self.context.Process(target=execute, args=(self.store.folder, specs, self.log, die_at))
        process.start()
        return process

    def finish(self, specs: list[RunSpec], die_at: int | None = None) -> int | None:
        """The exit code of a worker that nobody disturbs."""
        process = self.start(specs, die_at)
        process.join()
        return process.exitcode

    def begun(self) -> dict[str, list[int]]:
        """Which epochs of each run were begun, in this order, by all workers together."""
        begun: dict[str, list[int]] = {}
        for line in self.log.read_text().splitlines():
            name, epoch = line.split(" ", 1)
            assert name != "error", epoch
            begun.setdefault(name, []).append(int(epoch))
        return begun


def execute(*arguments: object) -> None:
    import workers  # imported in the fork server; pytest's own process needs none of its patches

    workers.execute(*arguments)


@pytest.fixture(scope="session")
def context() -> ForkServerContext:
    """A fork server that has imported everything: a worker starts in milliseconds."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["workers"])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}.items():
            patch.setenv(name, value)
        forkserver.ensure_running()
    return made


@pytest.fixture(scope="session")
def uninterrupted(context: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, float]:
    """The grid executed in one go, and the seconds that took."""
    workers = Workers(context, tmp_path_factory.mktemp("uninterrupted") / "runs")
    assert workers.finish([]) == 0  # the server has imported everything now
    start = time.monotonic()
    assert workers.finish(small.grid()) == 0
    seconds = time.monotonic() - start
    assert files(workers.store) == complete(small.grid())
    outcomes = {record.spec.seed: record.final for record in workers.store.all()}
    assert outcomes[4].outcome == "reached" and outcomes[4].epochs > 1
    return workers.store, seconds


def assert_no_epoch_lost(workers: Workers, kills: int) -> None:
    """After a kill a run goes on with the epoch that was under way, or with the next one."""
    begun = workers.begun()
    for epochs in begun.values():
        assert epochs[0] == 1
        assert all(after - before in (0, 1) for before, after in pairwise(epochs)), epochs
    assert sum(len(epochs) - len(set(epochs)) for epochs in begun.values()) <= kills


def test_twenty_kills_at_random_moments_change_nothing(
    context: ForkServerContext, uninterrupted: tuple[Store, float], tmp_path: Path, counts: Counter
) -> None:
    expected, seconds = uninterrupted
    moments, kills, stores = random.Random(2012), 0, 0
    while kills < KILLS:
        stores += 1
        workers = Workers(context, tmp_path / f"runs{stores}")
        kills_before, done = kills, False
        while not done:
            worker = workers.start(small.grid())
            worker.join(moments.uniform(0, seconds / 5) if kills < KILLS else None)
            if worker.exitcode is None:
                worker.kill()
                worker.join()
            done = worker.exitcode == 0
            kills += not done
            for record in workers.store.all():  # what is there is whole, at any time
                assert small.comparable(record) == small.comparable(expected.load(record.hash))
        assert contents(workers.store) == contents(expected)
        assert files(workers.store) == complete(small.grid())
        assert_no_epoch_lost(workers, kills - kills_before)
    counts["kills survived"] += kills


def test_death_before_any_change_of_a_file_changes_nothing(
    context: ForkServerContext, tmp_path: Path, counts: Counter
) -> None:
    """Each worker dies one change later than the one before, each time in the middle of a write, rename or deletion."""
    specs = [small.spec(7)]
    reference = Workers(context, tmp_path / "reference")
    assert reference.finish(specs) == 0
    deaths = 0
    while True:
        workers = Workers(context, tmp_path / f"runs{deaths}")
        if workers.finish(specs, die_at=deaths + 1) == 0:
            break
        deaths += 1
        assert workers.finish(specs) == 0
        assert contents(workers.store) == contents(reference.store)
        assert files(workers.store) == complete(specs), f"after death {deaths}"
        assert_no_epoch_lost(workers, kills=1)
    assert deaths >= 2 * (specs[0].recipe.epochs + 2)  # write and rename: a checkpoint an epoch, predictions, record
    counts["kills survived"] += deaths


def test_two_processes_never_do_a_run_twice(
    context: ForkServerContext, uninterrupted: tuple[Store, float], tmp_path: Path
) -> None:
    expected, _ = uninterrupted
    workers = Workers(context, tmp_path / "runs")
    both = [workers.start(small.grid()), workers.start(small.grid())]
    for worker in both:
        worker.join()
        assert worker.exitcode == 0
    assert contents(workers.store) == contents(expected)
    for record in workers.store.all():
        begun = workers.begun()[record.hash]  # a run that a plateau ends begins an epoch that it then leaves
        assert begun == list(range(1, len(begun) + 1)) and len(begun) - record.final.epochs in (0, 1)


# --- checkpoints ----------------------------------------------------------------------------------------------


def stopped(store: Store, spec: RunSpec, epoch: int = 1) -> Path:
    """The checkpoint of a run that was stopped after an epoch."""
    with pytest.raises(KeyboardInterrupt):
        execution.execute(spec, store, report=small.stop_after(epoch))
    assert store.hashes() == []
    return store.checkpoint(spec.label)


def resumed(store: Store, spec: RunSpec) -> tuple[RunRecord, list[int]]:
    """The record of a run, and the epochs that were trained for it now."""
    trained: list[int] = []
    record = execution.execute(spec, store, report=lambda epoch: trained.append(epoch.epoch))
    return record, trained


def test_a_stopped_run_goes_on(small_data: None, tmp_path: Path) -> None:
    spec = small.spec(recipe={"epochs": 3})
    whole = execution.execute(spec, Store(tmp_path / "whole"))
    store = Store(tmp_path / "stopped")
    checkpoint = stopped(store, spec, epoch=2)
    record, trained = resumed(store, spec)
    assert trained == [3]
    assert small.comparable(record) == small.comparable(whole)
    assert not checkpoint.exists()
    assert resumed(store, spec) == (record, [])


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda content: content[:-100],
    "cut in half": lambda content: content[: len(content) // 2],
    "one bit flipped": small.flipped,  # torch itself would not notice
    "garbage": lambda _: random.Random(1).randbytes(5000),
    "of an older form": lambda content: content.partition(b"\n")[2],
    "not a checkpoint": lambda _: b"{}\n",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_as_good_as_none(
    damage: str, small_data: None, tmp_path: Path, bad_input: None
) -> None:
    spec, store = small.spec(), Store(tmp_path)
    checkpoint = stopped(store, spec)
    checkpoint.write_bytes(DAMAGE[damage](checkpoint.read_bytes()))
    record, trained = resumed(store, spec)
    assert trained == [1, 2]
    assert record.final.epochs == 2
    assert not checkpoint.exists()


def test_a_checkpoint_of_another_run_is_not_used(small_data: None, tmp_path: Path, bad_input: None) -> None:
    store, spec, other = Store(tmp_path), small.spec(0), small.spec(1)
    stopped(store, other).rename(store.checkpoint(spec.label))
    assert resumed(store, spec)[1] == [1, 2]


def test_a_checkpoint_of_other_code_is_not_used(
    small_data: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: Counter
) -> None:
    spec, store = small.spec(), Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(models, "initialise", lambda *_: None)  # the code of yesterday drew other weights
        stopped(store, spec)
    record, trained = resumed(store, spec)
    assert trained == [1, 2]
    assert small.comparable(record) == small.comparable(execution.execute(spec, Store(tmp_path / "whole")))
    with monkeypatch.context() as patch:  # the same weights and batches, and yet it may train otherwise
        patch.setattr(paths, "training_code", lambda: "0" * 16)
        stopped(Store(tmp_path / "since"), spec)
    assert resumed(Store(tmp_path / "since"), spec)[1] == [1, 2]
    counts["bad inputs tried"] += 2


def test_checkpoints_of_committed_records_lie_in_the_cache_by_state_of_the_code(
    small_data: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clones share that folder; neither takes up, nor removes, what other code has left."""
    spec, store = small.spec(), Store(tmp_path / "runs")
    monkeypatch.setattr(paths, "RUNS", store.folder)
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path / "cache"))
    with monkeypatch.context() as patch:
        patch.setattr(paths, "training_code", lambda: "0" * 16)
        foreign = stopped(store, spec)
        assert foreign.name == f"cifar10-four-layer-32-pixels-seed-0-{spec.hash}.checkpoint"
        assert foreign.parent == tmp_path / "cache" / "checkpoints" / ("0" * 16)
        assert store.foreign_checkpoints(spec.hash) == []
    assert store.foreign_checkpoints(spec.hash) == [foreign]
    own = stopped(store, spec)
    shutil.rmtree(store.folder)  # the clone is removed
    assert own.exists() and resumed(store, spec)[1] == [2]
    assert foreign.exists() and not own.exists()
    with store.hold(spec.hash):
        own.touch()
        store.tidy()
        assert own.exists(), "another clone is at it"
    store.tidy()
    assert foreign.exists() and not own.exists() and store.leftovers() == []


# --- stores that cannot be written ----------------------------------------------------------------------------


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without root's right to write anywhere, where the tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_full_disk_loses_nothing(small_data: None, tmp_path: Path, counts: Counter) -> None:
    spec, store = small.spec(recipe={"epochs": 3}), Store(tmp_path / "runs")
    earlier = execution.execute(small.spec(5), store)
    with small.full_disk(free=10_000), pytest.raises(RecordError, match=r"^\S+ cannot be written: .*Free the disk"):
        execution.execute(spec, store)
    checkpoint = store.checkpoint(spec.label)
    assert not checkpoint.exists()
    with pytest.raises(KeyboardInterrupt):
        execution.execute(spec, store, report=small.stop_after(1))
    before = checkpoint.read_bytes()
    with small.full_disk(free=10_000), pytest.raises(RecordError):
        execution.execute(spec, store)
    assert checkpoint.read_bytes() == before
    assert list(store.all()) == [earlier]
    record, trained = resumed(store, spec)
    assert trained == [2, 3]
    assert small.comparable(record) == small.comparable(execution.execute(spec, Store(tmp_path / "whole")))
    assert files(store) == complete([spec, small.spec(5)])
    counts["bad inputs tried"] += 2


def test_a_disk_too_full_for_the_record_keeps_the_checkpoint(small_data: None, tmp_path: Path, bad_input: None) -> None:
    spec, store = small.spec(), Store(tmp_path)
    with ExitStack() as disk:

        def fill(epoch: Epoch) -> None:
            if epoch.epoch == spec.recipe.epochs:
                disk.enter_context(small.full_disk(free=100))

        with pytest.raises(RecordError, match="cannot be written"):
            execution.execute(spec, store, report=fill)
    assert store.hashes() == []
    assert resumed(store, spec)[1] == []  # all epochs are in the checkpoint
    assert files(store) == complete([spec])


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that users other than the one of the tests can read; pytest's own they cannot."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_store_one_may_only_read(small_data: None, readable: Path, bad_input: None) -> None:
    spec, store = small.spec(), Store(readable / "runs")
    record = execution.execute(spec, store)
    shutil.rmtree(store.work)
    store.folder.chmod(0o555)
    with unprivileged():
        assert execution.execute(spec, store) == record  # what is there can be used
        with pytest.raises(RecordError, match="cannot be written"):
            execution.execute(small.spec(1), store)
        store.tidy()
    store.folder.chmod(0o755)
    assert files(store) == complete([spec])


def test_a_store_in_no_folder(small_data: None, tmp_path: Path, bad_input: None) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="cannot be written"):
        execution.execute(small.spec(), Store(tmp_path / "file" / "runs"))


# --- how runs end ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # log probabilities beyond float16 become -inf
def test_a_diverged_run_is_recorded_as_such(small_data: None, tmp_path: Path, bad_input: None) -> None:
    spec, store = small.spec(recipe={"learning_rate": 1e6, "epochs": 5}), Store(tmp_path)
    record = execution.execute(spec, store)
    assert record.final.outcome == "diverged"
    assert record.final.epochs < 5
    assert not np.isfinite(record.history[-1].train_loss)
    assert record.final.test_error is not None and record.final.test_error > 0.5
    again = store.get(spec)
    assert again is not None
    assert again.model_dump_json() == record.model_dump_json()
    assert resumed(store, spec)[1] == []


STALE = {"learning_rate": 1e-9, "epochs": 9, "stop_after": 1}  # nothing is learned: no error gets better


@pytest.mark.parametrize(
    ("recipe", "rates"),
    [
        (STALE, [1e-9, 1e-9]),
        (STALE | {"second": {"after": 5, "learning_rate": 2e-9, "last_layer": False}}, [1e-9, 1e-9, 2e-9, 2e-9]),
    ],
    ids=["one stage", "two stages"],
)
def test_a_run_that_gets_no_better_ends_early_also_when_resumed(
    recipe: dict, rates: list[float], small_data: None, tmp_path: Path
) -> None:
    spec, store = small.spec(recipe=recipe), Store(tmp_path / "stopped")
    whole = execution.execute(spec, Store(tmp_path / "whole"))
    assert [epoch.learning_rate for epoch in whole.history] == pytest.approx(rates)
    assert (whole.final.outcome, whole.final.epochs) == ("completed", len(rates))
    assert not list(checks.differences(whole, Store(tmp_path / "whole")))
    stopped(store, spec, epoch=len(rates) - 1)
    record, trained = resumed(store, spec)
    assert trained == [len(rates)]
    assert small.comparable(record) == small.comparable(whole)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([0.5, 0.3, 0.2], 2.5),
        ([0.5, 0.25], 2.0),
        ([0.2], 1.0),
        ([0.25], 1.0),
        ([0.5, 0.3], None),
        ([0.5, 0.2, 0.4], 1 + (0.5 - 0.25) / 0.3),  # the first time counts
        ([], None),
    ],
)
def test_epochs_to_target(errors: list[float], expected: float | None) -> None:
    found = epochs_to(0.25, errors)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_the_ending_follows_from_the_history() -> None:
    def rows(*errors: float, loss: float = 1.0) -> list[dict]:
        return [{"train_loss": loss, "valid_loss": loss, "train_error": error, "valid_error": 0.5} for error in errors]

    aiming, free = small.spec(recipe={"stop_at_train_error": 0.25}), small.spec()
    assert ending(aiming.recipe, rows(0.5, 0.2)) == ("reached", pytest.approx(1 + 0.25 / 0.3))
    assert ending(aiming.recipe, rows(0.5, 0.4)) == ("censored", None)
    assert ending(free.recipe, rows(0.5, 0.2)) == ("completed", None)
    for loss in (float("nan"), float("inf")):
        assert ending(aiming.recipe, rows(0.5, 0.2, loss=loss)) == ("diverged", None)
        assert finished(free.recipe, rows(0.5, loss=loss))
    assert finished(aiming.recipe, rows(0.2))
    assert not finished(aiming.recipe, rows(0.3)) and not finished(free.recipe, [])


def test_the_probe_is_the_same_each_time_and_leaves_the_generator_alone(small_data: None) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second = execution.probe(small.spec()), execution.probe(small.spec())
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert list(first.differences(execution.probe(small.spec(1))))


DENORMALS = """
import torch
from alexnet.training import machine

def left():
    tiny = torch.full((1 << 20,), 1e-39) * 0.9  # in parts, by all threads
    return int((tiny.numpy().view("uint32") != 0).sum())

with machine.denormals_as_zero():
    inside = left()
torch.set_num_threads(1)
print(inside, left())
"""


def test_numbers_too_small_to_compute_with_count_as_zero_in_all_threads_of_a_run_and_not_after_it():
    found = subprocess.run([sys.executable, "-c", DENORMALS], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["0", str(1 << 20)]
