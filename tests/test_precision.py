"""Repetitions in float32: which runs, where they lie, and the difference they show."""

from collections.abc import Callable

import fabricate
import pytest

from alexnet import paths
from alexnet.__main__ import main
from alexnet.audit import precision
from alexnet.errors import SpecError
from alexnet.experiments import profiles
from alexnet.records.record import RunRecord
from alexnet.records.store import Store
from alexnet.runs import pool
from alexnet.runs.planning import Planned, Runs
from alexnet.training import machine
from alexnet.training.recipe import finished


def computed_in(name: str, record: RunRecord, test_error: float) -> RunRecord:
    changed = {
        "environment": record.environment.model_copy(update={"precision": name}),
        "final": record.final.model_copy(update={"test_error": test_error}),
    }
    return record.model_copy(update=changed)


@pytest.fixture
def stores(monkeypatch, tmp_path):
    """Three seeds in bfloat16, two of them repeated in float32; and a run of another arm."""
    store, repetitions = Store(tmp_path / "runs"), Store(tmp_path / "float32")
    named: list[tuple[Planned, RunRecord | None]] = []
    for seed in range(3):
        planned, record = fabricate.planned("relu", seed, 5.0, condition="modern")
        store.put(computed_in("bfloat16", record, 0.30 + 0.01 * seed))
        if seed < 2:
            repetitions.put(computed_in("float32", record, 0.29 + 0.02 * seed))
        named.append((planned, store.get(planned.spec)))
    named.append(fabricate.planned("tanh", 0, 5.0, condition="modern"))
    monkeypatch.setattr(profiles, "records", lambda *_: named)
    monkeypatch.setattr(paths, "RUNS", store.folder)
    monkeypatch.setattr(paths, "FLOAT32_RUNS", repetitions.folder)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv(machine.PRECISION_VARIABLE, raising=False)
    return store, repetitions


def test_pairs_are_the_runs_in_bfloat16_that_are_repeated(stores):
    found = precision.pairs("cpu", *stores)
    assert [pair.planned.seed for pair in found] == [0, 1, 2]
    assert [pair.repetition is None for pair in found] == [False, False, True]
    (effect,) = precision.differences(found).values()
    assert effect.values == pytest.approx((1.0, 0.0))
    assert effect.estimate == pytest.approx(0.5)


def test_rates_of_pairs_are_told_apart_from_what_bfloat16_gains(stores):
    first, second, _ = precision.pairs("cpu", *stores)
    rates = ((first, 1000.0, 500.0), (second, 400.0, 800.0))
    timed = [
        precision.Pair(
            pair.network,
            pair.planned,
            pair.record.model_copy(update={"images_per_second": fast}),
            pair.repetition.model_copy(update={"images_per_second": slow}),
        )
        for pair, fast, slow in rates
        if pair.repetition
    ]
    said = precision.rates_sentence(timed)
    assert said.startswith("In 1 of 2 pairs") and "by up to 2.5 times" in said


def test_runs_in_float32_have_no_repetition(stores):
    store, repetitions = stores
    assert precision.differences([]) == {}
    wrong = next(store.all())
    repetitions.put(wrong)
    with pytest.raises(SpecError, match=r"computed in bfloat16; delete it"):
        precision.pairs("cpu", store, repetitions)


def test_the_command_repeats_what_is_missing(stores, monkeypatch, capsys):
    def execute(planned: Callable[[], Runs], store: Store, workers: int | None, minutes: float | None) -> int:
        assert machine.default_precision() == "float32"
        missing = pool.work(planned()).missing
        for one in missing:
            record = fabricate.record(one.spec, fabricate.curve(5.0))
            store.put(computed_in(machine.default_precision(), record, 0.31))
        return len(missing)

    monkeypatch.setenv(machine.PRECISION_VARIABLE, "bfloat16")  # restored after the test
    monkeypatch.setattr(pool, "execute_all", execute)
    assert main(["precision", "--dry-run"]) == 0
    assert len(stores[1].hashes()) == 2
    assert main(["precision"]) == 0
    assert len(stores[1].hashes()) == 3
    assert "test error in bfloat16 less float32" in capsys.readouterr().out


def test_nothing_to_repeat_is_said(stores, monkeypatch, capsys):
    monkeypatch.setattr(profiles, "records", lambda *_: [])
    assert main(["precision"]) == 2
    assert "bfloat16" in capsys.readouterr().err
    assert main(["precision", "--workers", "0"]) == 2


def test_repeated_runs_exist_in_the_plan(tmp_path):
    """A claim, condition or arm that is renamed would leave the comparison empty without a word."""
    committed = Store(paths.RUNS)
    named = {(p.claim, p.condition, p.arm) for p in profiles.plan("cpu", committed) if p.stage == "seeds"}
    assert set(precision.REPEATED) <= named


def test_given_runs_are_executed_here(small_data, tmp_path):
    import small

    planned = Planned("relu-speed", "modern", "seeds", "relu", 0, small.spec())
    store = Store(tmp_path)
    assert pool.execute_all(lambda: [(planned, store.get(planned.spec))], store, workers=1) == 1
    record = store.get(planned.spec)
    assert record is not None
    assert record.final.epochs == 2
    assert finished(planned.spec.recipe, [epoch.model_dump() for epoch in record.history]) is False
