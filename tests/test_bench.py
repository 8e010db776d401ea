"""The bench harness on cases that take no time, its record, and the real cases made small."""

import json
import os
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch

from alexnet import paths
from alexnet.__main__ import main
from alexnet.bench import cases, command, harness
from alexnet.bench import layers as bench_layers
from alexnet.bench.harness import Arms, Case, elsewhere, side_by_side
from alexnet.errors import AlexnetError, RecordError
from alexnet.networks import models
from alexnet.records.bench import BenchRecord, LayerTime, Result, load, load_all
from alexnet.records.specs import ImageSpec, NetSpec, RunSpec
from alexnet.training import machine


def result(**changes: object) -> Result:
    fields = {
        "case": "one", "question": "a or b", "goal": 2.0, "baseline_seconds": [4.0, 6.0, 5.0],
        "ours_seconds": [2.0, 2.0, 2.0], "images": 10, "flop": 4e9, "precision": "float32",
    }  # fmt: skip
    return Result(**{**fields, **changes})


def record(*results: Result) -> BenchRecord:
    return BenchRecord(
        created="2026-01-01T00:00:00+00:00",
        machine={"cpu": "a processor", "cores": 2, "gpu": "none"},
        threads=2,
        freed_memory_kept=True,
        other_load=0.0,
        peak_flop_per_second={"float32": 4e9},
        results=list(results),
    )


LAYER = LayerTime(
    net="one", layer="conv1", images=10, precision="float32", forward_seconds=1.0, backward_seconds=1.0,
    multiply_adds=1e8, first=True,
)  # fmt: skip


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Two cases that count their calls, and nothing else; no peak; records go to a temporary folder."""
    calls = []

    @contextmanager
    def two_arms():
        yield Arms(lambda: calls.append("baseline"), lambda: calls.append("ours"), images=3)
        calls.append("cleaned up")

    named = {name: Case(name, "Does ours beat the baseline?", two_arms, 1.0) for name in ("quick-one", "quick-two")}
    monkeypatch.setattr(command, "CASES", named)
    monkeypatch.setattr(command, "layer_times", lambda: [LAYER])
    monkeypatch.setattr(harness, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(harness, "peaks", lambda: {"float32": 1e9})
    monkeypatch.setattr(machine, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(machine, "busy_cores", lambda: 0.0)
    monkeypatch.setattr(paths, "BENCH", tmp_path / "bench")
    return calls


def test_a_result_derives_all_from_its_times():
    one = result()
    assert one.ratios == [2.0, 3.0, 2.5]
    assert one.ratio == 2.5
    assert one.seconds == (5.0, 2.0)
    assert one.images_per_second == (2.0, 5.0)
    assert result(images=None).images_per_second is None


def test_a_goal_is_judged_on_what_was_measured():
    held = record()
    (ratio,) = held.goals(result())
    assert (ratio.what, ratio.wanted, ratio.found, ratio.reached) == ("ratio", 2.0, 2.5, True)
    assert not held.goals(result(goal=2.6))[0].reached
    assert held.goals(result(goal=None)) == []
    both = result(share_goal=0.6, errors={"values": 1e-7, "gradients": 2e-6}, error_goal=1e-6)
    found = {goal.what: goal.reached for goal in held.goals(both)}
    assert found == {"ratio": True, "share of peak": False, "error of values": True, "error of gradients": False}


def test_the_share_of_the_peak_is_of_the_right_precision():
    held = record(result())
    assert held.share_of_peak(held.results[0]) == pytest.approx(0.5)
    assert held.share_of_peak(result(precision="bfloat16")) is None
    assert held.share_of_peak(result(flop=None)) is None


def test_the_arms_take_turns(quick):
    with command.CASES["quick-one"].prepare() as arms:
        baseline, ours, peaks = harness.measure(arms, repeats=4)
    calls = harness.MOST_WARM_UPS
    warmed_up, turns = quick[: 2 * calls], quick[2 * calls : -1]
    assert warmed_up == ["baseline"] * calls + ["ours"] * calls
    assert turns == ["baseline", "ours", "ours", "baseline"] * 2
    assert quick[-1] == "cleaned up"
    assert len(baseline) == len(ours) == 4
    assert peaks == [], "no arithmetic is counted"


def test_short_calls_are_repeated_and_averaged(quick, monkeypatch):
    monkeypatch.setattr(harness, "LEAST_SECONDS", 0.01)
    with command.CASES["quick-one"].prepare() as arms:
        _, ours, _ = harness.measure(arms, repeats=1)
    assert quick.count("ours") > 10
    assert ours[0] < 0.01


def test_the_command_measures_and_stores_every_case(quick, capsys):
    assert main(["bench", "--repeats", "3"]) == 0
    (path,) = paths.BENCH.iterdir()
    assert path.name == f"{command.machine_name()}.json"
    stored = load(path)
    assert [one.case for one in stored.results] == ["quick-one", "quick-two"]
    assert len(stored.results[1].ours_seconds) == 3
    assert [one.layer for one in stored.layers] == ["conv1"]
    assert load_all(paths.BENCH) == {command.machine_name(): stored}
    assert stored.results[0].question == "Does ours beat the baseline?"
    printed = capsys.readouterr().out
    assert "quick-one" in printed and "float32 1 GFLOP/s" in printed


def test_a_selection_is_printed_and_not_stored(quick, capsys):
    assert main(["bench", "--cases", "*-two"]) == 0
    assert "quick-two" in capsys.readouterr().out
    assert not paths.BENCH.exists()


def test_an_unknown_case_is_named(quick, capsys):
    assert main(["bench", "--cases", "slow"]) == 2
    assert "no bench case 'slow'; the cases are quick-one, quick-two" in capsys.readouterr().err


def test_records_that_cannot_be_read_are_refused(tmp_path):
    path = tmp_path / "machine.json"
    with pytest.raises(RecordError, match="cannot be read"):
        load(path)
    path.write_text("{")
    with pytest.raises(RecordError, match="not a bench record"):
        load(path)
    fields = json.loads(record(result()).model_dump_json())
    path.write_text(json.dumps(fields))
    assert load(path) == record(result())
    path.write_text(json.dumps(fields | {"schema_version": 2}))
    with pytest.raises(RecordError, match="schema_version"):
        load(path)


def test_the_peak_is_measured_for_the_precisions_the_machine_has(monkeypatch):
    monkeypatch.setattr(machine, "has_bfloat16", lambda: False)
    monkeypatch.setattr(machine, "default_device", lambda: torch.device("cpu"))
    found = harness.peaks()
    assert list(found) == ["float32"]
    assert found["float32"] > 1e8


def test_the_peak_is_measured_in_turn_with_the_calls(monkeypatch):
    calls = []
    monkeypatch.setattr(harness, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(harness, "peak", lambda precision: calls.append(precision) or 1e9 * len(calls))
    arms = Arms(lambda: calls.append("baseline"), lambda: calls.append("ours"), flop=1.0)
    times = harness.measure(arms, repeats=2)
    assert calls[2 * harness.MOST_WARM_UPS :] == ["baseline", "ours", "float32", "ours", "baseline", "float32"]
    assert times.peaks == [9e9, 12e9]


def test_the_share_of_the_peak_is_of_the_peaks_measured_in_turn():
    """A machine that slows down in the second repeat slows both; the median over the repeats, 4e9 / 2 / peak each."""
    held = record(result(ours_seconds=[2.0, 4.0, 2.0], peak_flop_per_second=[4e9, 2e9, 8e9]))
    assert held.share_of_peak(held.results[0]) == pytest.approx(0.5)


def test_a_record_from_before_peaks_were_measured_in_turn_is_read(tmp_path):
    fields = json.loads(record(result()).model_dump_json())
    del fields["results"][0]["peak_flop_per_second"]
    (tmp_path / "old.json").write_text(json.dumps(fields))
    held = load(tmp_path / "old.json")
    assert held.share_of_peak(held.results[0]) == pytest.approx(0.5)


def test_every_case_asks_something_and_is_listed(capsys):
    assert main(["bench", "--list"]) == 0
    printed = capsys.readouterr().out
    assert len(command.CASES) >= 9
    assert all(f"{name} " in printed and one.question != name for name, one in command.CASES.items())


# An arm in a process of its own


def fails_then_dies():
    """Made in the other process, and only once: a call that works, one that raises, one that ends the process."""
    asked = []

    def call() -> None:
        asked.append(os.getpid())
        if len(asked) == 2:
            raise ValueError(f"asked twice in process {asked[0]}")
        if len(asked) == 3:
            os._exit(1)

    return call


def test_an_arm_elsewhere_runs_there_and_hands_back_its_failures():
    with elsewhere(fails_then_dies) as ask:
        ask()
        assert ask.memory is None or ask.memory > 1e7
        with pytest.raises(AlexnetError, match="ValueError: asked twice") as caught:
            ask()
        assert f"process {os.getpid()}" not in str(caught.value)
        with pytest.raises(AlexnetError, match="died"):
            ask()


def test_arms_side_by_side_all_run_and_a_failure_is_told():
    done = []
    side_by_side([lambda: done.append(1), lambda: done.append(2)])
    assert sorted(done) == [1, 2]
    with pytest.raises(ZeroDivisionError):
        side_by_side([lambda: done.append(3), lambda: 1 / 0])
    assert 3 in done


def test_memory_is_what_a_process_held_at_most():
    before = machine.peak_memory()
    if before is not None:
        held = bytearray(b"x" * 64_000_000)
        assert machine.peak_memory() >= max(before, len(held))


def test_busy_cores_are_those_of_other_processes(monkeypatch):
    monkeypatch.setattr(machine.psutil, "cpu_percent", {3.0: 25.0}.__getitem__)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    assert machine.busy_cores(3.0) == 1.0


def test_slow_cases_are_repeated_less_often(quick):
    slow = replace(command.CASES["quick-one"], repeats=2)
    found = harness.run_cases([slow, command.CASES["quick-two"]], repeats=3, say=lambda line: None)
    assert [len(one.ours_seconds) for one in found.results] == [2, 3]


# The real cases


def test_arithmetic_of_a_training_step():
    """Counted by hand: weights times the places where they are used; a multiply-add counts as two."""
    spec = RunSpec(images=ImageSpec(resize=67), net=NetSpec(width=0.05))
    model = models.build(spec.net, 67)
    rows = models.layer_table(model, 67)
    weights = rows[rows.layer.str.match("conv|fc")].set_index("layer")
    outputs, layers = weights["output"], dict(model.named_children())
    adds = {name: layers[name].weight.numel() * torch.Size(outputs[name][1:]).numel() for name in weights.index}
    assert cases.flop_an_image(spec) == 2 * (3 * sum(adds.values()) - adds["conv1"])


def narrow(monkeypatch, width):
    """Every network that the cases build is of this width."""
    build = models.build
    monkeypatch.setattr(models, "build", lambda net, *more: build(net.model_copy(update={"width": width}), *more))


def test_the_cases_on_few_images(small_data, monkeypatch):
    @contextmanager
    def elsewhere(make, *arguments, threads=None):
        call = partial(sum, [1]) if make is cases.reference_loop else make(*arguments)  # that has its own test
        call.memory = 1
        yield call

    monkeypatch.setattr(cases, "elsewhere", elsewhere)
    monkeypatch.setattr(cases, "MANY", 256)
    monkeypatch.setattr(cases, "FEW", 128)
    monkeypatch.setattr(cases, "NORM_SHAPES", {"conv1": (2, 6, 5, 5), "conv2": (2, 6, 5, 5)})
    monkeypatch.setattr(machine, "keep_freed_memory", lambda: True)
    narrow(monkeypatch, 0.02)
    for one in cases.CASES.values():
        with one.prepare() as arms:
            arms.baseline()
            arms.ours()
            assert arms.precision in paths.PRECISIONS
            assert all(error <= arms.error_goal for error in arms.errors.values())
            assert harness._memory(arms) in (None, (1, 1), (1, machine.cores()))


def test_layers_are_timed_one_by_one_and_their_arithmetic_adds_up():
    net = NetSpec(name="four-layer", norm="none", dropout=0.0, width=0.25)
    found = bench_layers.layer_times("small", net, side=32, images=2)
    assert [one.layer for one in found] == [name for name, _ in models.build(net, 32).named_children()]
    assert [one.first for one in found[:2]] == [True, False]
    assert all(one.seconds > 0 for one in found)
    step = cases.flop_an_image(RunSpec(net=net))
    assert sum(one.flop for one in found) == pytest.approx(2 * step)


def test_the_reference_loop_trains(small_data, monkeypatch):
    narrow(monkeypatch, 0.05)
    loss = cases.reference_loop(RunSpec().with_(images={"train_size": 4}), "float32")()
    assert 0 < loss < 100
