"""What runs cost, from records made up for the purpose, and the figures of it."""

from pathlib import Path

import fabricate
import pytest

from alexnet import paths
from alexnet.errors import NothingToDraw, SpecError
from alexnet.experiments import costs, profiles, relu_speed, since_2012, transfer
from alexnet.experiments.reimplementations import PROTOCOLS
from alexnet.figures import cost
from alexnet.networks import models
from alexnet.records.bench import BenchRecord, LayerTime, Result
from alexnet.records.specs import NetSpec, RunSpec
from alexnet.records.store import Store
from alexnet.runs import pool
from alexnet.runs.planning import PROFILES, Planned
from alexnet.training import machine


def test_runs_are_named_by_what_they_are_for() -> None:
    """Only the runs that choose a learning rate for a whole experiment are called so."""
    store = Store(Path("none"))
    claims = {"relu-speed", transfer.CLAIM, since_2012.CLAIM}
    for profile in PROFILES:
        table = costs.planned_cost(profile, store, 1e9)
        searches = [search.claim for study in profiles.STUDIES[profile] for search in study.searches]
        chosen = {costs.SEARCHED[claim] for claim in searches if claim not in claims}
        rates = {name.removeprefix("learning rates for ") for name in table["part"] if name.startswith("learning")}
        assert rates == chosen


def test_the_cost_of_transfer_counts_more_than_its_choice_of_rates() -> None:
    planned = [one for one in profiles.all_planned("cpu", Store(Path("none"))) if one.claim == transfer.CLAIM]
    every = sum(
        len(approach.rates) * len(approach.grid_sizes) + sum(budget.seeds for budget in approach.budgets.values())
        for approach in transfer.APPROACHES["cpu"]
    )
    assert len(planned) == every - 1, "with all images both random starts have the same run, at the same rate"
    assert costs.flop_an_image(transfer.PROBE) < 1e-3 * costs.flop_an_image(transfer.FINE_TUNING)


@pytest.fixture
def runs() -> list:
    """Two pairs of runs; one record is missing, and one run serves a second claim."""
    found = fabricate.speed_runs(tanh=[20.0, 30.0], relu=[5.0, 6.0])
    planned, _ = found[-1]
    found[-1] = (planned, None)
    shared, record = found[0]
    other = type(shared)("lrn-cifar", "clean", "seeds", "with", 0, shared.spec)
    return [*found, (other, record)]


def bench() -> BenchRecord:
    layers = [
        LayerTime(
            net="small", layer=name, images=10, precision="float32", forward_seconds=0.1, backward_seconds=seconds,
            multiply_adds=adds, first=name == "conv1",
        )
        for name, seconds, adds in (("conv1", 0.2, 1e6), ("norm1", 0.1, 0.0), ("fc8", 0.5, 2e6))
    ]  # fmt: skip
    result = Result(
        case="lrn-small", question="a or b", goal=2.0, baseline_seconds=[4.0], ours_seconds=[1.0], images=10, flop=4e7,
        precision="float32", share_goal=0.9, errors={"values": 1e-7}, error_goal=1e-6,
    )  # fmt: skip
    return BenchRecord(
        created="2026-01-01T00:00:00+00:00", machine={"cpu": "a processor"}, threads=1, freed_memory_kept=True,
        other_load=0.0, peak_flop_per_second={"float32": 1e8}, results=[result], layers=layers,
    )  # fmt: skip


def test_a_shared_run_counts_for_each_claim_and_once_in_the_sum(runs: list) -> None:
    table = costs.by_claim(runs)
    assert list(table["runs"]) == [3, 1]
    assert list(table["named, not made"]) == [1, 0]
    total = costs.total(runs)
    assert total["runs"] == 3
    seconds = sum(record.wall_seconds for record in {r.hash: r for _, r in runs if r}.values())
    assert total["hours"] == pytest.approx(seconds / 3600)
    assert total["million images"] == pytest.approx(seconds * 1000 / 1e6)
    arithmetic = 6 * models.multiply_adds(runs[0][0].spec.net, 32)
    assert total["PFLOP"] == pytest.approx(seconds * 1000 * arithmetic / 1e15)


def test_speeds_are_medians_by_network(runs: list) -> None:
    table = costs.by_network(record for _, record in runs if record)
    assert list(table["images/s"]) == [1000.0]
    assert table["network"][0] == "four-layer network, 32 pixels"
    assert costs.network_name(RunSpec(net=NetSpec(form="32", width=0.25))) == "AlexNet, 32 pixels, width 0.25"
    assert costs.network_name(PROTOCOLS["cifar-towers"]) == "AlexNet, 224 pixels and a border"


@pytest.mark.parametrize(("errors", "begun"), [([0.5] * 8, 8), ([0.5] * 12, 10), ([0.4] + [0.5] * 6, 4)])
def test_an_epoch_of_a_last_layer_alone_counts_a_third(errors: list[float], begun: int) -> None:
    """The second stage begins after its ten epochs, or earlier for want of a better validation error."""
    recipe = {"epochs": 20, "second": {"after": 10, "learning_rate": 0.01, "last_layer": True}}
    spec = PROTOCOLS["cifar-transfer"].with_(recipe=recipe | {"stop_after": 3 if min(errors) < 0.5 else None})
    steps = begun + (len(errors) - begun) / 3
    full = costs.flop_an_image(spec)
    assert costs.flop_trained(fabricate.record(spec, errors)) == pytest.approx(full * steps / len(errors))


def test_a_planned_profile_counts_the_runs_whose_rate_is_not_chosen_yet(
    small_data: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    conditions = relu_speed.RELU_SPEED["smoke"]
    monkeypatch.setitem(profiles.STUDIES, "smoke", [study for one in conditions for study in one.studies()])
    table = costs.planned_cost("smoke", Store(tmp_path), flop_per_second=1e12)
    grids = sum(2 * len(condition.rates.first) for condition in conditions)
    assert table["runs"].sum() == grids + 2 * 2 * len(conditions)
    twice = costs.planned_cost("smoke", Store(tmp_path), flop_per_second=2e12)
    assert twice["hours"].sum() == pytest.approx(table["hours"].sum() / 2)
    with pytest.raises(SpecError, match="positive"):
        costs.planned_cost("smoke", Store(tmp_path), 0)


def test_the_bench_tables_say_what_was_reached() -> None:
    (row,) = costs.bench_table(bench()).to_dict("records")
    assert row["ratio"] == 4.0
    assert row["share of peak"] == pytest.approx(0.4)
    named = bench().results[0].model_copy(update={"case": "protocol-cifar-lrn", "question": "a: cifar-lrn, b"})
    assert costs.question(named) == "a: AlexNet with response normalisation on CIFAR-10, b"
    assert row["goals"] == "ratio 2: reached; share of peak 0.9: MISSED"
    (error,) = costs.error_table(bench()).to_dict("records")
    assert error == {"case": "a or b", "of": "values", "error": 1e-7, "allowed": 1e-6, "exact enough": True}


def test_hours_of_a_protocol_count_what_each_epoch_ends_with() -> None:
    """45,000 images for 10 epochs at 50 a second, and a third of the time of 20,000 more each."""
    record = bench()
    result = record.results[0].model_copy(
        update={"case": "protocol-cifar-towers", "images": 100, "ours_seconds": [2.0], "peak_flop_per_second": [4e7]}
    )
    assert costs.protocol_table(record).empty
    (row,) = costs.protocol_table(record.model_copy(update={"results": [result]})).to_dict("records")
    assert row["images/s"] == 50
    assert row["share of peak"] == pytest.approx(0.5)
    assert row["hours, training"] == pytest.approx(450_000 / 50 / 3600)
    assert row["hours, in full"] == pytest.approx((450_000 + 200_000 / 3) / 50 / 3600)
    last = record.model_copy(update={"results": [result.model_copy(update={"case": "protocol-cifar-transfer"})]})
    (row,) = costs.protocol_table(last).to_dict("records")
    trained = 45_000 * (40 + 40 / 3)  # the second forty epochs train a last layer alone
    assert row["hours, training"] == pytest.approx(trained / 50 / 3600)
    assert row["hours, in full"] == pytest.approx((trained + 80 * 20_000 / 3) / 50 / 3600)


def test_a_run_takes_as_long_as_the_bench_of_this_machine_lets_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "BENCH", tmp_path)
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr(machine, "default_precision", lambda: "float32")
    towers = {"case": "protocol-cifar-towers", "images": 100, "ours_seconds": [2.0], "peak_flop_per_second": [4e7]}
    here = bench().model_copy(
        update={"machine": machine.describe(), "threads": 2, "results": [bench().results[0].model_copy(update=towers)]}
    )
    for name, record in {"here": here, "elsewhere": here.model_copy(update={"machine": {"cpu": "another"}})}.items():
        (tmp_path / f"{name}.json").write_text(record.model_dump_json())
    spec, small = PROTOCOLS["cifar-towers"], PROTOCOLS["cifar-bn"]
    stopping = spec.with_(net={"init": "paper"}, recipe={"stop_after": 3})  # its arithmetic is the same
    rates = costs.measured_rates()
    assert rates == {costs.flop_an_image(spec): 25.0}, "images a second of one of the two threads"
    seconds = (450_000 + 200_000 / 3) / 25
    runs = [(Planned("one", "claim", "seeds", "arm", 0, one), None) for one in (spec, stopping, small)]
    todo = pool.work(runs, None, rates)
    assumed = costs.flop_an_image(small) * small.images_seen / pool.ASSUMED_FLOPS
    assert todo.each == pytest.approx([seconds / 4, seconds / 4, assumed]), "large ones on all threads"
    assert todo.seconds == pytest.approx(2 * seconds / 4 + assumed / 4)
    assert pool.work(runs, 2, rates).each == pytest.approx([seconds, seconds, assumed])
    first, second, third = (line.rpartition("spec, ")[2] for line in todo.reasons())
    assert (first, second) == ("about 86 min", "at most 86 min") and third.startswith("about ")
    assert [*todo.reasons(1)] == [[*todo.reasons()][2], "run    2 more, none of them longer"]
    monkeypatch.setattr(machine, "default_precision", lambda: "bfloat16")
    assert costs.measured_rates() == {}, "a rate in another precision tells nothing"


def test_the_layer_table_adds_up() -> None:
    table = costs.layer_table(bench(), "small")
    assert table["share of time"].sum() == pytest.approx(1.0)
    assert table["share of peak"][0] == pytest.approx(2 * 2 * 1e6 * 10 / 0.3 / 1e8)
    assert table["share of peak"].isna()[1]
    with pytest.raises(SpecError, match="no layers of 'large'"):
        costs.layer_table(bench(), "large")


def test_figures_state_their_findings_and_refuse_nothing(runs: list) -> None:
    _, alt = cost.hours(costs.by_claim(runs))
    assert "Most hours: ReLU" in alt and ", 2 in all" in alt
    _, alt = cost.layer_bars(bench(), "small")
    assert "convolutions 27%" in alt
    assert "response normalisation 18%" in alt
    with pytest.raises(NothingToDraw):
        cost.hours(costs.by_claim([]))
    with pytest.raises(NothingToDraw):
        cost.layer_bars(bench(), "large")
