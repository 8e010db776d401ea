"""The bench harness on cases that take no time, its record, and the real cases made small."""

import json
import os

import pytest
import torch

from alexnet import bench, bench_cases, paths
from alexnet.__main__ import main
from alexnet.bench import Arms, BenchRecord, Result
from alexnet.errors import AlexnetError, RecordError
from alexnet.specs import ImageSpec, NetSpec, RunSpec


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


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Two cases that count their calls, and nothing else; no peak; records go to a temporary folder."""
    calls = []

    def two_arms():
        """Does ours beat the baseline?"""
        yield Arms(lambda: calls.append("baseline"), lambda: calls.append("ours"), images=3)
        calls.append("cleaned up")

    monkeypatch.setattr(bench, "CASES", {})
    for name in ("quick-one", "quick-two"):
        bench.case(name, goal=1.0)(two_arms)
    monkeypatch.setattr(bench, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(bench, "peaks", lambda: {"float32": 1e9})
    monkeypatch.setattr(bench.machine, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(paths, "BENCH", tmp_path / "bench")
    return calls


def test_a_result_derives_all_from_its_times():
    one = result()
    assert one.ratios == [2.0, 3.0, 2.5]
    assert one.ratio == 2.5
    assert one.seconds == (5.0, 2.0)
    assert one.images_per_second == (2.0, 5.0)
    assert one.reached
    assert not result(goal=2.6).reached
    assert result(goal=None).reached is None
    assert result(images=None).images_per_second is None


def test_the_share_of_the_peak_is_of_the_right_precision():
    held = record(result())
    assert held.share_of_peak(held.results[0]) == pytest.approx(0.5)
    assert held.share_of_peak(result(precision="bfloat16")) is None
    assert held.share_of_peak(result(flop=None)) is None


def test_the_arms_take_turns(quick):
    with bench.CASES["quick-one"].prepare() as arms:
        baseline, ours = bench.measure(arms, repeats=4)
    warmed_up, turns = quick[:2], quick[2:-1]
    assert warmed_up == ["baseline", "ours"]
    assert turns == ["baseline", "ours", "ours", "baseline"] * 2
    assert quick[-1] == "cleaned up"
    assert len(baseline) == len(ours) == 4


def test_short_calls_are_repeated_and_averaged(quick, monkeypatch):
    monkeypatch.setattr(bench, "LEAST_SECONDS", 0.01)
    with bench.CASES["quick-one"].prepare() as arms:
        _, ours = bench.measure(arms, repeats=1)
    assert quick.count("ours") > 10
    assert ours[0] < 0.01


def test_the_command_measures_and_stores_every_case(quick, capsys):
    assert main(["bench", "--repeats", "3"]) == 0
    (path,) = paths.BENCH.iterdir()
    assert path.name == f"{bench.machine_name()}.json"
    stored = bench.load(path)
    assert [one.case for one in stored.results] == ["quick-one", "quick-two"]
    assert len(stored.result("quick-two").ours_seconds) == 3
    assert stored.results[0].question == "Does ours beat the baseline?"
    printed = capsys.readouterr().out
    assert "quick-one" in printed and "float32 1 GFLOP/s" in printed
    with pytest.raises(RecordError, match="no case 'quick-three'"):
        stored.result("quick-three")


def test_a_selection_is_printed_and_not_stored(quick, capsys):
    assert main(["bench", "--cases", "*-two"]) == 0
    assert "quick-two" in capsys.readouterr().out
    assert not paths.BENCH.exists()


def test_bad_options_end_in_one_line(quick, capsys):
    assert main(["bench", "--cases", "slow"]) == 2
    assert "no bench case 'slow'; the cases are quick-one, quick-two" in capsys.readouterr().err
    assert main(["bench", "--repeats", "0"]) == 2
    assert "--repeats 0" in capsys.readouterr().err


def test_records_that_cannot_be_read_are_refused(tmp_path):
    path = tmp_path / "machine.json"
    with pytest.raises(RecordError, match="cannot be read"):
        bench.load(path)
    path.write_text("{")
    with pytest.raises(RecordError, match="not a bench record"):
        bench.load(path)
    fields = json.loads(record(result()).model_dump_json())
    path.write_text(json.dumps(fields))
    assert bench.load(path) == record(result())
    path.write_text(json.dumps(fields | {"schema_version": 2}))
    with pytest.raises(RecordError, match="schema_version"):
        bench.load(path)


def test_the_peak_is_measured_for_the_precisions_the_machine_has(monkeypatch):
    monkeypatch.setattr(bench.machine, "has_fast_bfloat16", lambda: False)
    monkeypatch.setattr(bench.machine, "default_device", lambda: torch.device("cpu"))
    found = bench.peaks(repeats=1)
    assert list(found) == ["float32"]
    assert found["float32"] > 1e8


def test_every_case_asks_something_and_is_listed(capsys):
    assert main(["bench", "--list"]) == 0
    printed = capsys.readouterr().out
    assert len(bench.CASES) >= 9
    assert all(f"{name} " in printed and one.question != name for name, one in bench.CASES.items())


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
    with bench_cases.elsewhere(fails_then_dies) as ask:
        ask()
        with pytest.raises(AlexnetError, match="ValueError: asked twice") as caught:
            ask()
        assert f"process {os.getpid()}" not in str(caught.value)
        with pytest.raises(AlexnetError, match="died"):
            ask()


# The real cases


def test_arithmetic_of_a_training_step():
    """Counted by hand: weights times the places where they are used; a multiply-add counts as two."""
    spec = RunSpec(images=ImageSpec(resize=67), net=NetSpec(width=0.05))
    model = bench_cases.models.build(spec.net, 67)
    rows = bench_cases.models.layer_table(model, 67)
    weights = rows[rows.layer.str.match("conv|fc")].set_index("layer")
    outputs, layers = weights["output"], dict(model.named_children())
    adds = {name: layers[name].weight.numel() * torch.Size(outputs[name][1:]).numel() for name in weights.index}
    assert bench_cases.flop_an_image(spec) == 2 * (3 * sum(adds.values()) - adds["conv1"])


def test_the_cases_on_few_images(small_data, monkeypatch):
    monkeypatch.setattr(bench_cases, "MANY", 256)
    monkeypatch.setattr(bench_cases, "FEW", 128)
    monkeypatch.setattr(bench_cases, "NORM_SHAPES", {"conv1": (2, 6, 5, 5), "conv2": (2, 6, 5, 5)})
    tiny = RunSpec().with_(images={"train_size": 128}, net={"form": "32", "width": 0.02})
    monkeypatch.setattr(bench_cases, "_spec_227", lambda: tiny)
    for name, one in bench.CASES.items():
        if name != "training-227":  # its reference would need real data in the other process
            with one.prepare() as arms:
                arms.baseline()
                arms.ours()


def test_the_reference_loop_trains(small_data, monkeypatch):
    build = bench_cases.models.build
    monkeypatch.setattr(
        bench_cases.models, "build", lambda net, side: build(net.model_copy(update={"width": 0.05}), side)
    )
    loss = bench_cases.reference_loop(4)()
    assert 0 < loss < 100
