"""Every comparison changes what it says and nothing else; measures read the right figure."""

import math
import re
from collections import defaultdict

import pytest
from fabricate import record, spec

from alexnet import paths
from alexnet.errors import SpecError
from alexnet.experiments import ablations, profiles, relu_speed, starts, study
from alexnet.figures import ablations as ablation_figures
from alexnet.networks import models
from alexnet.paper import claims
from alexnet.records.record import Learned, RunRecord
from alexnet.records.specs import RunSpec
from alexnet.records.store import Store
from alexnet.runs import planning
from alexnet.runs.planning import GRID_SEED, PROFILES, Planned
from alexnet.statistics import board, measures

EXPECTED = {  # claim/condition -> the fields in which its arms differ
    "dropout-overfit/cifar": {"net.dropout"},
    "dropout-time/cifar": {"net.dropout"},
    "lrn-alexnet/as-written": {"net.norm"},
    "lrn-alexnet/as-run": {"net.norm"},
    "overlap-pool/cifar": {"net.pooling"},
    "overlap-overfit/cifar": {"net.pooling"},
    "aug-crop-flip/cifar": {"images.crops", "images.flip"},
    "aug-colour/cifar": {"images.colour"},
    "lr-drops/cifar": {"recipe.schedule", "recipe.drops"},
    "two-towers/half-width": {"net.towers"},
    "two-towers/full-width": {"net.towers"},
    "weight-decay-train/cifar": {"recipe.weight_decay"},
    **{f"{claim}/overfit": {"net.dropout"} for claim in ("dropout-overfit", "dropout-time")},
    **{f"{claim}/overfit": {"net.pooling"} for claim in ("overlap-pool", "overlap-overfit")},
    "overlap-pool/long": {"net.pooling"},
    "aug-crop-flip/overfit": {"images.crops", "images.flip"},
    "aug-colour/overfit": {"images.colour"},
    "weight-decay-train/overfit": {"recipe.weight_decay"},
    "lrn-alexnet/long": {"net.norm"},
    "lrn-alexnet/long-as-run": {"net.norm"},
    "lrn-cifar/long": {"net.norm"},
    "two-towers/long": {"net.towers"},
    "two-towers/long-full": {"net.towers"},
    "lr-drops/long": {"recipe.schedule", "recipe.drops"},
    **{f"depth/long-{layer}": {"net.without"} for layer in ("conv2", "conv3", "conv4", "conv5", "fc")},
    "bias-ones/own-rate": {"net.bias_ones"},
    "bias-ones/own-rate-written": {"net.bias_ones"},
    **{f"depth/{layer}": {"net.without"} for layer in ablations.REMOVABLE},
    "bias-ones/as-run": {"net.bias_ones"},
    "bias-ones/as-written": {"net.bias_ones"},
    "bias-ones/faithful": {"net.bias_ones"},
    "lrn-cifar/clean": {"net.norm"},
    "lrn-cifar/released": {"net.norm", "net.local3_filters", "recipe.layer_weight_decay"},
    "lrn-cifar/full-length": {"net.norm", "net.local3_filters", "recipe.layer_weight_decay"},
}


class Chosen(Store):
    """A store that has every grid run, the best at the middle rate, and nothing else."""

    def get(self, spec: RunSpec) -> RunRecord | None:
        if spec.test:
            return None
        return record(spec, [0.3 + abs(spec.recipe.learning_rate - 0.02)], test_error=None)


def planned(profile: str) -> list[Planned]:
    """The runs for the paper's claims; what else is trained has tests of its own."""
    others = {"transfer", "since-2012", *(row.id for row in claims.published().row)}
    return [planned for planned in profiles.plan(profile, Chosen("nowhere")) if planned.claim not in others]


def flat(of: RunSpec) -> dict[str, object]:
    fields = of.model_dump(exclude={"measured", "seed"})
    nested = {f"{part}.{name}": value for part in ("images", "net", "recipe") for name, value in fields[part].items()}
    return nested | {"dataset": of.dataset, "test": of.test}


@pytest.mark.parametrize("profile", PROFILES)
def test_arms_differ_in_what_the_claim_is_about_and_nothing_else(profile: str) -> None:
    found: dict[str, dict[int, dict[str, list[RunSpec]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for p in planned(profile):
        if p.stage == "seeds" and p.claim != "relu-speed":
            found[f"{p.claim}/{p.condition}"][p.seed][p.arm].append(p.spec)
    compared = {name for name, seeds in found.items() if len(seeds[0]) == 2}
    assert compared <= EXPECTED.keys()
    assert len(compared) > (10 if profile == "smoke" else 15)
    for name in compared:
        for seed, arms in found[name].items():
            (first, second) = arms.values()
            ours, theirs = sorted(run.seed for run in first), sorted(run.seed for run in second)
            assert ours[0] == theirs[0] and ours[0] % study.FIRST_SEED == seed  # a baseline may have more runs
            for one in first:
                for other in second:
                    left, right = flat(one), flat(other)
                    assert {field for field in left if left[field] != right[field]} == EXPECTED[name], name


@pytest.mark.parametrize("profile", PROFILES)
def test_every_planned_run_belongs_to_a_question_and_its_arms(profile: str) -> None:
    questions = {(q.claim, q.condition): q for q in claims.claims().questions()}
    for p in planned(profile):
        if p.stage == "seeds":
            question = questions[p.claim, p.condition]
            assert question.measure in measures.WITHIN or p.arm in (question.arms or ())


def test_relu_against_tanh_in_alexnet_waits_for_a_longer_profile_than_smoke():
    assert relu_speed.RELU_ALEXNET["smoke"] == ()
    (large,) = relu_speed.RELU_ALEXNET["cpu"]
    assert large.base.net.name == "alexnet"
    assert {p.claim for one in large.studies() for p in one.plan(Store("nowhere"))} == {"relu-speed"}


def test_every_claim_that_the_cpu_profile_promises_has_runs():
    runs = {(p.claim, p.condition) for p in planned("cpu")}
    waiting = {
        (q.claim, part)
        for q in claims.claims().questions()
        for part in board.parts(q)
        if q.profile == "cpu" and q.effect in ("ratio", "difference") and (q.claim, part) not in runs
    }
    assert not waiting
    every = profiles.plan("cpu", Chosen("nowhere"), claim="kernel-towers")
    assert {p.condition for p in every if p.stage == "seeds"} == {"cifar", "small", "published"}


def test_several_claims_are_planned_together_and_an_unknown_one_is_named(tmp_path):
    store = Store(tmp_path)
    both = list(profiles.plan("smoke", store, claim="overlap-pool, relu-speed"))
    alone = [p for claim in ("relu-speed", "overlap-pool") for p in profiles.plan("smoke", store, claim=claim)]
    assert {p.claim for p in both if p.stage == "seeds"} <= {"overlap-pool", "relu-speed"}
    assert {(p.claim, p.spec.hash) for p in both} == {(p.claim, p.spec.hash) for p in alone}
    with pytest.raises(SpecError, match="claim 'pooling'"):
        list(profiles.plan("smoke", store, claim="relu-speed,pooling"))


@pytest.mark.parametrize(
    ("names", "arms"),
    [("ten-crop", {"baseline"}), ("ten-crop,lr-drops", {"baseline", "recipe.schedule constant, recipe.drops none"})],
)
def test_rates_are_tried_for_the_arms_of_the_claims_asked_for_alone(tmp_path, names, arms):
    planned = list(profiles.plan("cpu", Store(tmp_path), claim=names))
    assert {run.arm for run in planned if run.stage == "grid"} == arms


def test_every_planned_network_can_be_built():
    nets = {(p.spec.net, p.spec.images.side(32)) for p in planned("smoke")}
    assert len(nets) > 6
    for net, side in nets:
        models.build(net, side)


def test_at_least_three_seeds_count_and_none_of_them_chose():
    for profile in ("cpu", "gpu"):
        seeds = defaultdict(set)
        for p in planned(profile):
            if p.stage == "seeds":
                seeds[p.claim, p.condition].add(p.seed)
                assert p.spec.test
            else:
                assert not p.spec.test
                assert p.seed == GRID_SEED
        assert min(map(len, seeds.values())) >= 3
        assert GRID_SEED not in set().union(*seeds.values())


def test_the_grid_chooses_by_the_validation_error():
    runs = [p for p in planned("cpu") if (p.claim, p.arm) == ("dropout-overfit", "with")]
    assert {p.spec.recipe.learning_rate for p in runs} == {0.02}
    lost = record(spec("relu"), [0.1]).model_copy(
        update={"final": record(spec("relu"), [0.1]).final.model_copy(update={"outcome": "diverged"})}
    )
    with pytest.raises(SpecError, match="diverged"):
        study.lowest_validation_error([lost])


def test_a_run_that_serves_several_claims_is_planned_for_each_under_one_hash():
    network = ablations.LASTING.net
    baseline = [p for p in planned("cpu") if p.spec.measured == "features" and p.spec.net == network and p.seed == 0]
    baseline = [p for p in baseline if p.condition.startswith("long")]
    assert {p.spec.seed for p in baseline} == {100, 106} and len({p.spec.hash for p in baseline}) == 4 - 2
    assert {"neighbours", "top5-sensible", "ten-crop", "depth", "overlap-pool"} <= {p.claim for p in baseline}


def best_at(rate: float):
    """A store whose runs that choose do best at a rate, and that has no others."""

    class Best(Store):
        def get(self, spec: RunSpec) -> RunRecord | None:
            far = abs(math.log(spec.recipe.learning_rate / rate))
            return None if spec.test else record(spec, [0.3 + 0.01 * far], test_error=None)

    return Best("nowhere")


@pytest.mark.parametrize(
    ("best", "tried"),
    [
        (0.02, [0.01, 0.02, 0.04]),
        (0.08, [0.01, 0.02, 0.04, 0.08, 0.16]),
        (0.005, [0.0025, 0.005, 0.01, 0.02, 0.04]),
        (5.0, [0.01, 0.02, 0.04, 0.08, 0.16, 0.32]),  # as far as the sweep goes
    ],
)
def test_a_sweep_grows_until_its_best_rate_is_not_its_edge(best: float, tried: list[float]) -> None:
    plan = list(ablations.ABLATIONS["cpu"][6].plan(best_at(best)))
    for arm in ("baseline", "net.dropout 0"):
        grid = [p.spec for p in plan if p.stage == "grid" and p.arm == arm]
        assert [spec.recipe.learning_rate for spec in grid] == pytest.approx(tried)
        assert {(spec.recipe.epochs, spec.recipe.drops, spec.test) for spec in grid} == {(45, (30, 40), False)}
    counting = {p.spec.recipe.learning_rate for p in plan if p.stage == "seeds"}
    assert list(counting) == pytest.approx([min(best, 0.32)])


def test_arms_wait_for_their_own_grids_only() -> None:
    class Half(Store):
        def get(self, spec: RunSpec) -> RunRecord | None:
            done = not spec.test and spec.net.dropout == 0.5
            return record(spec, [0.3 + abs(spec.recipe.learning_rate - 0.02)], test_error=None) if done else None

    plan = list(ablations.ABLATIONS["cpu"][6].plan(Half("nowhere")))
    arms = {(p.claim, p.arm) for p in plan if p.stage == "seeds"}
    assert ("dropout-overfit", "with") in arms and ("dropout-overfit", "without") not in arms
    assert ("aug-colour", "without") in arms


def test_regimes_have_six_pairs_and_two_runs_of_the_baseline_in_each() -> None:
    for condition, claim, arm, baseline in (
        ("overfit", "dropout-overfit", "without", "with"),
        ("long", "two-towers", "one-tower", "two-towers"),
    ):
        runs = [p for p in planned("cpu") if (p.claim, p.condition, p.stage) == (claim, condition, "seeds")]
        assert sorted(p.spec.seed for p in runs if p.arm == arm) == [100, 101, 102, 103, 104, 105]
        assert sorted(p.spec.seed for p in runs if p.arm == baseline) == list(range(100, 112))
        assert [p.spec.seed for p in runs if p.arm == baseline and p.seed == 2] == [102, 108]


class Starting(Store):
    """A store in which a start trains at some rates, given so many epochs."""

    def __init__(self, trains: dict[float, int]):
        super().__init__("nowhere")
        self.trains = trains

    def get(self, spec: RunSpec) -> RunRecord | None:
        rate = spec.recipe.learning_rate
        good = spec.recipe.epochs >= self.trains.get(rate, 99)
        return None if spec.test else record(spec, [0.79 if good else 0.9 - rate], test_error=None)


@pytest.mark.parametrize(
    ("trains", "tried", "counted"),
    [
        ({0.01: 4}, [(0.01, 4)], (0.01, 4)),
        ({0.001: 4}, [(0.01, 4), (0.003, 4), (0.001, 4)], (0.001, 4)),
        ({0.01: 8}, [(0.01, 4), (0.003, 4), (0.001, 4), (0.0003, 4), (0.01, 8)], (0.01, 8)),
        ({}, [(0.01, 4), (0.003, 4), (0.001, 4), (0.0003, 4), (0.01, 8)], (0.01, 4)),
    ],
)
def test_a_start_counts_at_the_first_rate_at_which_it_trains(trains, tried, counted) -> None:
    plan = list(starts.OWN_RATES.plan(Starting(trains)))
    grid = [p.spec.recipe for p in plan if p.stage == "grid" and p.arm == "own-rate"]
    assert [(recipe.learning_rate, recipe.epochs) for recipe in grid] == tried
    runs = [p for p in plan if (p.claim, p.condition) == ("init-as-written", "own-rate")]
    assert {(p.spec.recipe.learning_rate, p.spec.recipe.epochs) for p in runs} == {counted}
    assert [p.spec.seed for p in runs] == [100, 101, 102] and all(p.spec.test for p in runs)
    assert {p.spec.recipe.stop_at_train_error for p in runs} == {None}


def test_starts_change_one_factor_at_a_time() -> None:
    plan = [p for p in starts.OWN_RATES.plan(Starting({0.01: 4})) if p.claim == "init-as-written" and p.seed == 0]
    written = next(p.spec for p in plan if p.condition == "own-rate")
    assert (written.net.init, written.net.bias_ones, written.net.classes) == ("paper", True, 10)
    assert written.images.scaling == "mean-image" and written.net.form == "227"
    changed = {p.condition: planning.changes(p.spec, written) for p in plan}
    assert changed == {
        "own-rate": "nothing",
        "own-rate-zeros": "net.bias_ones off",
        "own-rate-run": "net.init as-run",
        "own-rate-run-zeros": "net.init as-run, net.bias_ones off",
        "own-rate-1000": "net.classes 1000",
        "own-rate-unit": "images.scaling mean-image-unit",
    }


# --- measures -------------------------------------------------------------------------------------------------


def with_(of: RunRecord, learned: Learned | None = None, **final: object) -> RunRecord:
    return of.model_copy(update={"final": of.final.model_copy(update=final), "learned": learned})


PLAIN = record(spec("relu").with_(recipe={"stop_at_train_error": None, "epochs": 2}), [0.5, 0.4], test_error=0.3)
LOST = with_(PLAIN, outcome="diverged", test_error=0.9)


def test_errors_are_percentages_of_the_right_figure():
    measured = with_(PLAIN, Learned(ten_crop_error=0.28), clean_train_error=0.2)
    assert measures.test_error(measured).value == pytest.approx(30)
    assert measures.ten_crop_error(measured).value == pytest.approx(28)
    assert measures.train_error(measured).value == pytest.approx(20)
    assert measures.generalisation_gap(measured).value == pytest.approx(10)
    assert [reading.value for reading in measures.crop_errors(measured)] == pytest.approx([30, 28])
    assert [reading.value for reading in measures.chance_margin(measured)] == pytest.approx([90, 40])
    assert measures.early_train_loss(measured).value == pytest.approx(1.35)


@pytest.mark.parametrize(
    "measure", ["test-error", "ten-crop-error", "train-error", "generalisation-gap", "early-train-loss"]
)
def test_a_diverged_run_counts_as_blind_guessing_and_as_censored(measure: str) -> None:
    reading = measures.MEASURES[measure](LOST)
    assert reading.censored
    assert reading.value == pytest.approx({"generalisation-gap": 0.0, "early-train-loss": 2.302585}.get(measure, 90.0))


@pytest.mark.parametrize("measure", list(measures.WITHIN))
def test_a_diverged_run_shows_no_effect_within_itself(measure: str) -> None:
    first, second = measures.WITHIN[measure](LOST)
    assert first.value == pytest.approx(second.value)
    assert second.censored


def test_figures_that_were_not_asked_for_are_refused():
    for read in (measures.train_error, measures.ten_crop_error, measures.crop_errors):
        with pytest.raises(SpecError, match="does not ask for it"):
            read(PLAIN)
    with pytest.raises(SpecError, match="does not ask for them"):
        measures.WITHIN["top5-share"](PLAIN)
    with pytest.raises(SpecError, match="dropout off"):
        measures.epochs_to_train_loss(PLAIN, [1.0])


def test_epochs_to_a_training_loss_are_interpolated_and_capped():
    rows = [e.model_copy(update={"clean_train_loss": loss}) for e, loss in zip(PLAIN.history, (1.5, 0.5), strict=True)]
    run = PLAIN.model_copy(update={"history": rows})
    assert measures.epochs_to_train_loss(run, [1.0]) == measures.Reading(1.5, censored=False)
    assert measures.epochs_to_train_loss(run, [0.2]) == measures.Reading(2.0, censored=True)
    several = measures.epochs_to_train_loss(run, [1.0, 0.5])
    assert several.value == pytest.approx((1.5 * 2.0) ** 0.5) and not several.censored
    assert measures.epochs_to_train_loss(run, [1.0, 0.2]).censored


def test_a_network_has_collapsed_within_five_points_of_guessing():
    for error, collapsed in ((0.90, True), (0.851, True), (0.849, False), (0.3, False)):
        assert measures.collapsed(with_(PLAIN, valid_error=error)) is collapsed
    assert measures.collapsed(LOST)


def test_epochs_until_a_network_has_begun_to_train():
    run = record(PLAIN.spec, [0.9, 0.7])
    assert measures.epochs_to_trained(run) == measures.Reading(pytest.approx(1.5), censored=False)
    wide = PLAIN.spec.with_(net={"name": "alexnet", "classes": 1000})
    assert measures.epochs_to_trained(record(wide, [0.9, 0.7])).value == pytest.approx(1.5)  # ten classes have images
    assert measures.epochs_to_trained(record(PLAIN.spec, [0.9, 0.85])) == measures.Reading(2.0, censored=True)


def test_variants_of_an_arm_are_averaged_and_wait_for_each_other():
    question = claims.claims().question("depth", "conv2")
    runs = []
    for seed in range(3):
        for layer, error in (("conv2", 0.4), ("conv3", 0.3)):
            of = PLAIN.spec.with_(seed=seed, net={"name": "alexnet", "without": layer})
            found = record(of, [0.5, 0.4], test_error=error + 0.01 * seed)
            runs.append((Planned("depth", "conv2", "seeds", "without", seed, of), found))
        of = PLAIN.spec.with_(seed=seed)
        full = record(of, [0.5, 0.4], test_error=0.25)
        runs.append((Planned("depth", "conv2", "seeds", "full", seed, of), full))
    effect = board.effect_of(question, runs)
    assert effect is not None
    assert effect.values == pytest.approx((10.0, 11.0, 12.0))
    missing = [(p, None if (p.seed, p.spec.net.without) == (1, "conv3") else r) for p, r in runs]
    effect = board.effect_of(question, missing)
    assert effect is not None
    assert effect.values == pytest.approx((10.0, 12.0)), "a pair with a missing variant waits"


def test_an_effect_within_runs_takes_both_arms_from_each():
    question = claims.claims().question("ten-crop", "cifar")
    runs = []
    for seed, gain in enumerate((0.01, 0.02, 0.03)):
        found = with_(record(PLAIN.spec.with_(seed=seed), [0.5, 0.4]), Learned(ten_crop_error=0.3 - gain))
        runs.append((Planned("ten-crop", "cifar", "seeds", "network", seed, found.spec), found))
    effect = board.effect_of(question, runs)
    assert effect is not None
    assert effect.values == pytest.approx((1.0, 2.0, 3.0))
    assert board.row(question, runs).verdict.label == "inconclusive"


@pytest.mark.parametrize(
    ("claim", "condition", "baseline"),
    [
        ("ten-crop", "cifar", "ALEXNET_32"),
        ("dropout-time", "overfit", "OVERFIT"),
        ("ten-crop", "long", "LASTING"),
        ("lrn-cifar", "long", "LASTING_LOCAL"),
        ("ten-crop", "none", "ALEXNET_32"),
    ],
)
def test_a_page_names_the_baseline_that_a_comparison_changes(claim, condition, baseline):
    assert ablations.regime("cpu", claim, condition) == getattr(ablations, baseline)


def test_the_line_of_code_between_two_arms_makes_one_of_the_other():
    runs = [(planned, None) for planned in profiles.plan("cpu", Store(paths.RUNS), claim="overlap-pool")]
    line = ablation_figures.one_line("overlap-pool", runs)
    assert line.startswith("**The line that differs.** *")
    code = re.search(r"`\.(with_\(.*\))`", line)[1]
    arms = {p.arm: p.spec for p, _ in runs if p.stage == "seeds" and p.condition == "cifar"}
    (_, base), (_, spec) = arms.items()
    assert planning.changes(base, spec) != "nothing"
    assert planning.changes(eval(f"base.{code}", {"base": base}), spec) == "nothing"
    assert ablation_figures.one_line("none", runs) == ""


@pytest.mark.parametrize(
    ("train", "without", "winner", "doubts"),
    [
        (0.2, (0.30, 0.31, 0.29), "*with* errs less, by 2.52 to 7.48 points", True),
        (0.2, (0.20, 0.21, 0.19), "*without* errs less, by 2.52 to 7.48 points", True),
        (0.05, (0.20, 0.30, 0.26), "seeds alone could make the difference", False),
    ],
)
def test_a_winner_is_named_only_beyond_the_noise_and_a_doubt_only_of_networks_that_do_not_fit(
    train, without, winner, doubts
):
    question, runs = claims.claims().question("dropout-overfit", "cifar"), []
    for seed, error in enumerate(without):
        for arm, dropout, test in (("without", 0.0, error), ("with", 0.5, 0.25)):
            of = ablations.ALEXNET_32.with_(seed=seed, net={"dropout": dropout})
            run = record(of, [0.3], test_error=test)
            final = run.final.model_copy(update={"clean_train_error": train if arm == "without" else 0.3})
            run = run.model_copy(update={"final": final})
            runs.append((Planned("dropout-overfit", "cifar", "seeds", arm, seed, of), run))
    assert winner in ablation_figures.errors_of_arms(question, runs)
    said = ablation_figures.doubt({"dropout": question}, runs)
    assert ("still err on 20% without dropout." in said) == doubts == bool(said)
