"""The grid of runs: stages, reuse, several processes, a worker that dies, bad input."""

import os
import signal
import socket
import threading
import time
import warnings
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from alexnet import __main__, paths
from alexnet.data import fetch
from alexnet.errors import DataError, SpecError
from alexnet.experiments import profiles
from alexnet.experiments.relu_speed import MODERN, chosen_rate
from alexnet.experiments.study import Rates, Study
from alexnet.records.record import RunRecord
from alexnet.records.store import Store
from alexnet.runs import execution, pool
from alexnet.runs.planning import Planned

FEW = MODERN.base.with_(
    images={"train_size": 600, "valid_size": 100, "test_size": 100},
    net={"width": 0.25},
    recipe={"epochs": 2, "stop_at_train_error": 0.3},
)
Studies = tuple[Study, ...]
TINY: Studies = tuple(replace(MODERN, base=FEW, rates=Rates((0.005, 0.02)), grid_epochs=2, seeds=1).studies())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Studies:
    """An experiment of four grid runs and two that count, a second each."""
    monkeypatch.setitem(profiles.STUDIES, "smoke", TINY)
    monkeypatch.delenv("CI", raising=False)
    return TINY


@pytest.fixture
def real_data() -> None:
    """Workers are processes of their own and load the real images."""
    try:
        fetch.require_cached("cifar10", paths.data_folder())
    except DataError as error:
        pytest.skip(f"CIFAR-10 is not in the cache: {error}")


def make(store: Store, **options: Any) -> int:
    return pool.execute_all(partial(profiles.records, "smoke", store), store, **options)


def complete(store: Store) -> dict[str, RunRecord]:
    return {record.hash: record for record in store.all()}


def test_later_stages_wait_for_the_grid(small_data: None, tiny: Studies, tmp_path: Path) -> None:
    store = Store(tmp_path)
    planned = list(profiles.plan("smoke", store))
    assert {p.stage for p in planned} == {"grid"}
    assert len(planned) == 4
    assert not any(p.spec.test for p in planned), "a run that chooses must not see the test set"
    for p in planned:
        execution.execute(p.spec, store)
    planned = list(profiles.plan("smoke", store, seeds=3))
    counting = [p for p in planned if p.stage == "seeds"]
    assert [(p.arm, p.seed) for p in counting] == [(arm, seed) for arm in ("relu", "tanh") for seed in range(3)]
    for arm in ("relu", "tanh"):
        grid_records = [store.get(p.spec) for p in planned if p.stage == "grid" and p.arm == arm]
        rate = chosen_rate(r for r in grid_records if r)
        assert {p.spec.recipe.learning_rate for p in counting if p.arm == arm} == {rate}


def fabricated(record: RunRecord, rate: float, outcome: str, to_target: float | None, error: float) -> RunRecord:
    final = record.final.model_copy(update={"outcome": outcome, "epochs_to_target": to_target, "train_error": error})
    return record.model_copy(update={"spec": record.spec.with_(recipe={"learning_rate": rate}), "final": final})


def test_the_grid_chooses_the_first_to_arrive(small_data: None, tiny: Studies, tmp_path: Path) -> None:
    one = execution.execute(next(iter(profiles.plan("smoke", Store(tmp_path)))).spec, Store(tmp_path))
    slow = fabricated(one, 0.1, "reached", 9.5, 0.2)
    fast = fabricated(one, 0.2, "reached", 4.5, 0.24)
    late = fabricated(one, 0.3, "censored", None, 0.31)
    later = fabricated(one, 0.4, "censored", None, 0.35)
    lost = fabricated(one, 0.5, "diverged", None, float("nan"))
    assert chosen_rate([slow, late, fast, lost]) == 0.2
    assert chosen_rate([later, lost, late]) == 0.3
    assert chosen_rate([fast, fabricated(one, 0.15, "reached", 4.5, 0.24)]) == 0.15
    with pytest.raises(SpecError, match="diverged"):
        chosen_rate([lost])


def run(tmp_path: Path, *words: str) -> int:
    return __main__.main(["runs", "--profile", "smoke", "--store", str(tmp_path), *words])


def test_runs_are_made_once_and_each_reuse_is_explained(
    small_data: None, tiny: Studies, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(tmp_path, "--dry-run") == 0
    assert not list(tmp_path.glob("*.json"))
    capsys.readouterr()
    assert run(tmp_path, "--workers", "1") == 0
    out = capsys.readouterr()
    assert out.out.count("no record of this spec, at most 1 min") == 4
    assert f"keeps its last epoch in {tmp_path / '.work'}" in out.out
    assert "4 runs are missing" in out.out
    assert "6 records made" in out.out
    assert out.err.count("relu-speed/modern") == 6, "a line a run where there is no terminal"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert run(tmp_path, "--workers", "1") == 0
    assert capsys.readouterr().out == "All 6 runs have their records.\n"
    assert run(tmp_path, "--dry-run") == 0
    assert capsys.readouterr().out.count("its record is there") == 6
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert not list((tmp_path / ".work").glob("*.checkpoint"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "0"], "--workers: '0' is not a whole number"),
        (["--claim", "relu-sped"], "relu-sped"),
        (["--scheduler", "tcp://127.0.0.1:9"], "No Dask scheduler"),
    ],
)
def test_bad_input_is_named(
    small_data: None, tiny: Studies, tmp_path: Path, capsys: pytest.CaptureFixture, words: list[str], message: str,
    bad_input: None,
) -> None:  # fmt: skip
    assert run(tmp_path, *words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json"))


def test_an_unknown_profile_is_named(capsys: pytest.CaptureFixture, bad_input: None) -> None:
    assert __main__.main(["runs", "--profile", "tpu"]) == 2
    assert "use one of smoke, cpu, gpu" in capsys.readouterr().err


def test_ctrl_c_stops_cleanly_and_the_next_call_goes_on(
    small_data: None, tiny: Studies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    whole = execution.execute
    finished = []

    def interrupted(*arguments: object, **options: object) -> RunRecord:
        record = whole(*arguments, **options)  # type: ignore[arg-type]
        finished.append(record.hash)
        if len(finished) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return record

    monkeypatch.setattr(execution, "execute", interrupted)
    assert run(tmp_path, "--workers", "1") == 130
    assert "goes on from the last epochs" in capsys.readouterr().err
    monkeypatch.setattr(execution, "execute", whole)
    assert run(tmp_path, "--workers", "1") == 0
    assert "2 records are reused" in capsys.readouterr().out
    assert len(complete(Store(tmp_path))) == 6


def test_workers_have_one_thread_and_one_arena_of_memory_beside_those_of_another_command() -> None:
    """With an arena a thread they grew without bound; see `machine.keep_freed_memory`."""
    with socket.socket() as taken, warnings.catch_warnings(action="error"):
        with suppress(OSError):  # taken already
            taken.bind(("127.0.0.1", 8787))  # where Dask shows what it does
        with pool._pool(2, None) as workers:
            found = workers.client.run(lambda: (os.environ.get("MALLOC_ARENA_MAX"), os.environ.get("OMP_NUM_THREADS")))
            heard = {one.laddr.ip for one in psutil.Process().net_connections("inet") if one.status == "LISTEN"}
    assert list(found.values()) == [("1", "1")] * 2
    assert heard == {"127.0.0.1"}, "nobody else can reach them"


@pytest.mark.parametrize(("workers", "beside"), [(None, {0.25, 0.125}), (2, {0.5, 0.25, 0.125})])
def test_large_runs_come_after_the_others_one_at_a_time(
    workers: int | None, beside: set, small_data: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the user says how many at once."""
    given = []

    class Workers(pool.Here):
        def execute(self, planned: list[Planned], *others: Any) -> int:
            given.extend(float(one.arm) for one in planned)
            return super().execute(planned, *others)

    sizes = {width: FEW.with_(net={"width": width}, recipe={"epochs": 1}) for width in (0.5, 0.25, 0.125)}
    planned = [Planned("one", "claim", "seeds", f"{width}", 0, spec) for width, spec in sizes.items()]
    monkeypatch.setattr(pool, "LARGE", pool.flop_an_image(sizes[0.5]))
    monkeypatch.setattr(pool, "_pool", lambda *_: nullcontext(Workers()))
    store = Store(tmp_path)
    assert pool.execute_all(lambda: [(one, store.get(one.spec)) for one in planned], store, workers) == 3
    assert set(given) == beside
    made = sorted(store.folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    assert (made[-1].stem == sizes[0.5].hash) == (workers is None)


def test_two_workers_give_the_records_of_one_and_survive_the_death_of_one(
    real_data: None, tiny: Studies, tmp_path: Path, counts: dict
) -> None:
    from distributed import Client, LocalCluster

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = Store(tmp_path / "alone")
        assert make(alone, workers=1) == 6
    finally:
        torch.set_num_threads(threads)
    together = Store(tmp_path / "together")
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            env={"OMP_NUM_THREADS": "1"},
        ) as cluster,
        Client(cluster) as client,
    ):
        victim = client.run(os.getpid)
        killed = threading.Event()

        def kill_one_at_work() -> None:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and not killed.is_set():
                if any(together.work.glob("*.lock")):
                    os.kill(next(iter(victim.values())), signal.SIGKILL)
                    killed.set()
                time.sleep(0.02)

        killer = threading.Thread(target=kill_one_at_work)
        killer.start()
        assert make(together, scheduler=cluster.scheduler_address) == 6
        killer.join()
    assert killed.is_set()
    counts["workers killed"] += 1
    ours, theirs = complete(alone), complete(together)
    assert ours.keys() == theirs.keys()
    for name, record in ours.items():
        other = theirs[name]
        assert record.weights_sha256 == other.weights_sha256
        assert record.final == other.final
        assert record.probe == other.probe
        rows = [[row.model_copy(update={"seconds": 0}) for row in r.history] for r in (record, other)]
        assert rows[0] == rows[1]
