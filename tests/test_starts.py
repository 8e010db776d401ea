"""Whether networks start to learn: what is counted, and what is said of it, for every way it can come out."""

import itertools
import math
from collections import OrderedDict

import drawn_labels
import pandas as pd
import pytest
import torch
from fabricate import record

from alexnet.errors import NothingToDraw
from alexnet.experiments import profiles, starts
from alexnet.figures import steps
from alexnet.networks import anatomy
from alexnet.paper import claims
from alexnet.records.record import RunRecord, Signal
from alexnet.records.specs import RecipeSpec
from alexnet.records.store import Store
from alexnet.runs.planning import Planned
from alexnet.training import signals
from alexnet.training.prepared import prepare, split_of

NOWHERE = Store("nowhere")
QUESTION = claims.claims().question(starts.CLAIM)
PLANNED = [p for p in profiles.plan("cpu", NOWHERE) if p.claim == starts.CLAIM]
EVERY = starts.specs((p, None) for p in PLANNED)


def runs(*trained: str, form: str = "227"):
    """The planned runs of a network with made-up histories: those whose weights and pixels are named train."""
    for p in PLANNED:
        if p.spec.net.form == form:
            made_of = starts.named(p.spec)
            good = f"{made_of['weights']}, {made_of['pixels']}" in trained
            yield p, record(p.spec, [0.895, 0.79, 0.7] if good else [0.9, 0.901, 0.895])


def test_all_starts_have_a_specification_whether_they_are_trained_or_not() -> None:
    made_of = {tuple(starts.named(spec).values()) for spec in EVERY.values() if spec.net.classes == 10}
    every = itertools.product(
        starts.NETWORKS.values(), starts.WEIGHTS.values(), ("one", "zero"), starts.PIXELS.values(), ("10",)
    )
    assert made_of == set(every)
    assert {starts.title(p.spec) for p in PLANNED} <= set(EVERY)
    assert "as written, biases of one, 0 to 255, 1,000 outputs" in EVERY


def test_the_predicted_size_is_gain_times_pixels() -> None:
    table = starts.predicted(EVERY).set_index("start")
    spread = split_of("cifar10").statistics.spread
    written, unit = (f"as written, biases of one, {pixels}" for pixels in starts.PIXELS.values())
    assert table.loc[written, "predicted"] == pytest.approx(spread * table.loc[unit, "predicted"])
    net = EVERY[written].net
    assert table.loc[written, "gain"] == pytest.approx(anatomy.total_gain(net))
    assert table.loc["as run, biases of one, unit variance", "gain"] == pytest.approx(27 * table.loc[unit, "gain"])


def test_steps_are_counted_to_the_end_of_the_first_epoch_below_the_limit() -> None:
    found = starts.outcomes(runs("as written, 0 to 255"), QUESTION)
    spec = next(p.spec for p in PLANNED if p.condition == "written-255")
    steps = spec.images.train_size // spec.recipe.batch_size
    good, bad = found[found["trained"]], found[~found["trained"]]
    assert set(good["start"]) == {"as written, biases of one, 0 to 255"}
    assert set(good["steps"]) == {2 * steps}  # 79% is more than 10 points below 90%, 89.5% is not
    assert bad["steps"].isna().all() and len(bad) == len(good)
    assert set(found["budget"]) == {spec.recipe.epochs * steps}
    table = starts.summary(found).set_index("weights")
    assert (table.loc["as written", "trained"], table.loc["as run", "trained"]) == ("3 of 3", "0 of 3")
    assert table.loc["as written", "steps until then"] == f"at most {2 * steps}"
    assert pd.isna(table.loc["as run", "steps until then"]) and table.loc["as written", "a layer at zero"] == "0 of 3"


def test_a_thousand_outputs_do_not_make_guessing_worse() -> None:
    """Ten classes have images: a network that guesses among these errs on 90%, and has not trained."""
    p = PLANNED[0]
    wide = p.spec.with_(net={"classes": 1000})
    assert not starts.outcomes([(p, record(wide, [0.9, 0.895]))], QUESTION)["trained"].any()
    assert starts.outcomes([(p, record(wide, [0.9, 0.79]))], QUESTION)["trained"].all()


def test_a_run_that_diverged_has_not_trained() -> None:
    p = PLANNED[0]
    lost = record(p.spec, [0.5, 0.5])
    lost = lost.model_copy(update={"final": lost.final.model_copy(update={"outcome": "diverged"})})
    assert not starts.outcomes([(p, lost)], QUESTION)["trained"].any()


def with_flat(of: RunRecord, *shares: float) -> RunRecord:
    found = [Signal(layer=f"relu{place}", input=1.0, gradient=1.0, flat=share) for place, share in enumerate(shares, 1)]
    return of.model_copy(update={"signals": found})


def test_silent_units_are_averaged_over_runs() -> None:
    (_, first), (_, second), (_, third) = itertools.islice(runs(form="32"), 3)
    table = starts.silent({"a": [with_flat(first, 0.2, 1.0), with_flat(second, 0.6, 0.5)], "b": [third]})
    assert table.to_dict() == {"a": {"relu1": pytest.approx(0.4), "relu2": pytest.approx(0.75)}}
    assert starts.silent({}).empty
    assert starts.dead(with_flat(first, 0.2, 0.991))
    assert not starts.dead(with_flat(first, 0.2, 0.98))
    assert not starts.dead(third)


def test_networks_with_a_silent_layer_are_counted_among_all_runs() -> None:
    found = [(p, with_flat(r, 1.0 if r.spec.seed else 0.5)) for p, r in runs("as run, 0 to 255")]
    table = starts.summary(starts.outcomes(found, QUESTION)).set_index("weights")
    assert table.loc["as written", "a layer at zero"] == "2 of 3" and table.loc["as run", "a layer at zero"] == "2 of 3"


def test_fresh_networks_are_measured_layer_by_layer() -> None:
    spec = next(p.spec for p in PLANNED if p.condition == "small-written-unit")
    both = {"unit": spec, "255": spec.with_(images={"scaling": "mean-image"})}
    measured = starts.before_training(both, dict.fromkeys(both, 0.01), 8)
    left, gradients = measured.differences, measured.gradients
    layers = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    assert list(left.index) == ["input", *layers] and list(gradients.index) == list(measured.change.index) == layers
    assert list(measured.silent.index) == list(measured.silent_after.index) == layers[:-1]
    ratio = left["255"] / left["unit"]
    assert ratio["input"] == pytest.approx(split_of("cifar10").statistics.spread, rel=1e-3)
    fresh = prepare(spec).beginning(count=8)
    found = signals.measure(fresh.model, fresh.images, fresh.labels)
    assert list(gradients["unit"][:-1]) == pytest.approx([one.gradient for one in found], rel=1e-4)
    assert list(measured.loss.index) == list(left) == ["unit", "255"]


def test_a_network_with_the_weights_of_the_last_one_is_measured_as_if_it_were_built() -> None:
    ones = next(p.spec for p in PLANNED if p.condition == "small-run-255")
    both = {"zeros": ones.with_(net={"bias_ones": False}), "ones": ones}
    together = starts.before_training(both, {"ones": 0.01, "zeros": 0.003}, 8)
    for name, rate in {"ones": 0.01, "zeros": 0.003}.items():
        alone = starts.before_training({name: both[name]}, {name: rate}, 8)
        pd.testing.assert_series_equal(together.change[name], alone.change[name])
        pd.testing.assert_series_equal(together.loss.loc[name], alone.loss.loc[name])
    unasked = starts.before_training(both, {}, 8)
    pd.testing.assert_frame_equal(unasked.reach, together.reach)
    assert unasked.change.empty and unasked.loss.empty
    assert starts.one_at_a_time({}) == [] and starts.before_training({}, {}).reach["step"].empty


def test_the_first_step_is_that_of_torchs_optimiser() -> None:
    torch.manual_seed(1)
    wide, last = torch.nn.Linear(4 * 36, 20), torch.nn.Linear(20, 5)
    layers = {"conv1": torch.nn.Conv2d(3, 4, 3), "relu1": torch.nn.ReLU(), "flatten": torch.nn.Flatten()}
    layers |= {"fc2": wide, "relu2": torch.nn.ReLU(), "drop2": torch.nn.Dropout(), "fc3": last}
    model = torch.nn.Sequential(OrderedDict(layers))
    images, labels = torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    recipe = RecipeSpec(learning_rate=0.5, weight_decay=0.01, bias_learning_rate_factor=2.0)
    kept = {name: weights.clone() for name, weights in model.state_dict().items()}
    found = starts.first_step(model, images, labels, recipe)
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, kept[name])

    def silent() -> list[float]:
        first = model.conv1(images)
        second = wide(first.relu().flatten(1))
        return [(values <= 0).all(dim=0).float().mean().item() for values in (first, second)]

    model.eval()
    groups = [{"params": [p for name, p in model.named_parameters() if name.endswith("weight")]}]
    groups += [{"params": [p for name, p in model.named_parameters() if name.endswith("bias")], "lr": 1.0}]
    optimiser = torch.optim.SGD(groups, lr=0.5, momentum=0.9, weight_decay=0.01)
    before, quiet = torch.nn.functional.cross_entropy(model(images), labels), silent()
    before.backward()
    optimiser.step()
    after = torch.nn.functional.cross_entropy(model(images), labels)
    assert found.loss == pytest.approx((before.item(), after.item()), rel=1e-5)
    assert found.silent == (
        dict(zip(("conv1", "fc2"), quiet, strict=True)),
        dict(zip(("conv1", "fc2"), silent(), strict=True)),
    )
    for name in ("conv1", "fc2", "fc3"):
        old, new = kept[f"{name}.weight"], model.state_dict()[f"{name}.weight"]
        assert found.change[name] == pytest.approx(((new - old).norm() / old.norm()).item(), rel=1e-4)


def test_steps_grow_where_all_images_share_a_large_input_of_the_last_layer() -> None:
    small = next(p.spec for p in PLANNED if p.condition == "small-run-unit")
    without = small.with_(net={"bias_ones": False})
    found = {"ones": small, "zeros": without, "faster": small.with_(recipe={"learning_rate": 1.0})}
    found["wide"] = small.with_(net={"classes": 1000})
    table = starts.before_training(found, {}, 8).reach.set_index("start")
    assert set(table["limit"]) == {2 * (1 + small.recipe.momentum)}
    assert table.loc["faster", "step"] == pytest.approx(100 * table.loc["ones", "step"])
    assert table.loc["faster", "rate"] == pytest.approx(table.loc["ones", "rate"])
    assert table.loc["ones", "step"] * table.loc["ones", "rate"] == pytest.approx(0.01 * table.loc["ones", "limit"])
    assert table.loc["wide", "rate"] == pytest.approx(100 * table.loc["ones", "rate"], rel=0.1)  # other weights
    assert table.loc["ones", "step"] > 100 * table.loc["zeros", "step"]
    assert table["steps grow"].to_dict() == {"ones": False, "zeros": False, "faster": True, "wide": False}


def test_momentum_makes_a_quadratic_grow_just_above_the_limit() -> None:
    """The bound that `reach` states, tried on the plainest loss: curvature 1, one weight, torch's own optimiser."""
    for factor, grows in ((0.99, False), (1.01, True)):
        momentum = 0.9
        weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimiser = torch.optim.SGD([weight], lr=factor * 2 * (1 + momentum), momentum=momentum)
        for _ in range(2000):
            optimiser.zero_grad()
            (weight.square() / 2).sum().backward()
            optimiser.step()
        assert (weight.abs().item() > 1) is grows


# ---- what follows ----------------------------------------------------------------------------------------------------


def looks(zeros: float, ones: float, drawn_as_run: float = 0.9):
    """First looks at the faithful network, three runs a start, with these training errors at their end."""
    for p, r in runs():
        if p.condition == "written-255":
            yield p, record(r.spec, [0.9, ones])
            yield p, record(r.spec.with_(net={"bias_ones": False}), [zeros])
        else:
            yield p, record(r.spec, [drawn_as_run])


def at_own_rate(start: str, error: float, rate: float = 0.01, made: int = 3):
    """Three planned runs of a start at its own rate, so many of them made."""
    for seed in range(100, 103):
        spec = starts.AS_WRITTEN.with_(**starts.FACTORS[start])
        spec = spec.with_(seed=seed, recipe={"learning_rate": rate, "epochs": 4, **starts.CONSTANT})
        done = record(spec, [error]).model_copy(update={"created": "2027-01-01T00:00:00+00:00"})
        yield Planned(starts.CLAIM, start, "seeds", "trained", seed, spec), done if seed < 100 + made else None


def advised(*found, loss: float = math.log(10)) -> str:
    return starts.advice(starts.outcomes(itertools.chain(*found), QUESTION).assign(loss=loss))


def test_advice_from_first_looks_says_that_it_rests_on_them() -> None:
    assert advised(looks(zeros=0.7, ones=0.9)) == (
        "**If you rebuild the faithful network,** start all biases at zero (3 of 3 runs train within 70 steps); of the "
        "start as written, 0 of 3 train within 280 steps, their loss stands at 2.30, that of guessing, and where yours "
        "still does after 70 steps, suspect the start and not the network. This rests on first looks, seen before the "
        "rule was fixed, at one learning rate, 0.01, and on no more than the steps named: at another rate, or later, "
        "the start as written may train too."
    )
    both = advised(looks(zeros=0.7, ones=0.9, drawn_as_run=0.7))
    assert "steps), or draw the weights of layers 3 to 5 with a standard deviation of 0.03 (3 of 3 runs" in both
    assert "stands" not in advised(looks(zeros=0.7, ones=0.9), loss=2.5)


def test_advice_says_nothing_that_no_run_bears_out() -> None:
    assert advised() == advised(looks(zeros=0.9, ones=0.9)) == ""
    assert advised(r for r in looks(zeros=0.7, ones=0.9) if r[1].spec.net.bias_ones) == ""
    assert advised(r for r in looks(zeros=0.7, ones=0.9) if not r[1].spec.net.bias_ones) == ""
    some = [(p, record(r.spec, [0.7]) if r.spec.seed == 0 else r) for p, r in looks(zeros=0.7, ones=0.9)]
    assert advised(some) == ""  # one of the three as written trains too
    kept = advised(looks(zeros=0.7, ones=0.7))
    assert "network,** keep the start as written (3 of 3 runs train within 140 steps). This" in kept


def test_advice_is_firm_once_all_runs_at_own_rates_are_there() -> None:
    seen = list(looks(zeros=0.7, ones=0.9))
    written, zeros = at_own_rate("own-rate", 0.9), list(at_own_rate("own-rate-zeros", 0.7))
    written = list(written)
    firm = advised(seen, written, zeros)
    assert "start all biases at zero (3 of 3 runs train within 70 steps at a rate of 0.01); of the start" in firm
    assert "first look" not in firm and firm.endswith("count trains, and 0.01 where none does.")
    for lacking in (
        [*at_own_rate("own-rate", 0.9, made=2), *zeros],
        [*written, *at_own_rate("own-rate-zeros", 0.7, made=2)],
    ):
        assert advised(seen, lacking) == advised(seen)
    assert advised(seen, written, at_own_rate("own-rate-zeros", 0.9)) == ""  # and no longer what the first looks said
    lower = advised(seen, at_own_rate("own-rate", 0.7, rate=0.003), zeros)
    assert "start all biases at zero (3 of 3 runs train within 70 steps at a rate of 0.01), or lower the" in lower
    assert "lower the learning rate to 0.003 (3 of 3 runs train within 70 steps at a rate of 0.003). Each" in lower


def test_advice_names_the_fewest_changes_of_the_narrow_network() -> None:
    narrow = list(runs(form="32"))
    narrow = [(p, r) for p, r in narrow if p.condition in ("small-written-255", "small-run-255")]
    zeros = [(p, record(r.spec.with_(net={"bias_ones": False}), [0.9])) for p, r in narrow]
    zeros = [(p, record(r.spec, [0.7]) if p.condition == "small-run-255" else r) for p, r in zeros]
    said = advised(narrow, zeros)
    assert "narrow network for 32 pixels,** start all biases at zero and draw the weights of layers 3 to 5" in said
    assert "one of them alone is not enough, 0 of 3 and 0 of 3); of the start as written, 0 of 3" in said
    after = advised(looks(zeros=0.7, ones=0.9), narrow, zeros)
    assert (
        " For the narrow network for 32 pixels, start" in after and after.count("suspect") == after.count("rests") == 1
    )


def test_a_step_has_the_rate_of_the_runs_that_decide() -> None:
    title = starts.title(starts.AS_WRITTEN)
    asked = [title, "never run"]
    found = starts.outcomes([*looks(0.7, 0.9), *at_own_rate("own-rate", 0.7, 0.003)], QUESTION)
    assert starts.rates(found, asked) == {title: 0.003, "never run": 0.01}
    found = starts.outcomes([*looks(0.7, 0.9), *at_own_rate("own-rate", 0.7, 0.003, made=2)], QUESTION)
    assert starts.rates(found, asked) == dict.fromkeys(asked, 0.01)
    assert starts.rates(starts.outcomes([], QUESTION), asked) == dict.fromkeys(asked, 0.01)


def stepped(**last: tuple[float, float, float]) -> starts.BeforeTraining:
    """Starts with the loss, the change of the last layer over that of the first, and the silent share after a step."""
    change = pd.DataFrame({name: [0.1, 0.1 * ratio] for name, (_, ratio, _) in last.items()}, index=["conv1", "fc8"])
    silent = pd.DataFrame({name: [share] for name, (_, _, share) in last.items()}, index=["fc7"])
    loss = pd.DataFrame({"before": 2.3, "after": {name: loss for name, (loss, _, _) in last.items()}})
    return starts.BeforeTraining(change, change, change, silent, silent, loss, loss)


def test_what_of_the_first_step_tells_who_trains() -> None:
    found = pd.DataFrame({"start": list("aabbcdd"), "trained": [False] * 2 + [True] * 3 + [True, False]})
    found = found.assign(own=False, complete=True, rate=0.01)
    before = stepped(a=(17.0, 60.0, 0.2), b=(2.3, 1.5, 0.28), c=(41.0, 4.5, 0.31), d=(1.0, 99.0, 0.9), e=(0, 0, 0))
    assert starts.told_apart(before, found) == (
        "**Does the first step tell who trains?** What sets starts from which no run trains (1) apart from those from "
        "which all do (2): the change of the last layer over that of the first (60 against 1.5 to 4.5) and the share "
        "of ReLUs at zero in the last hidden layer (20% against 28% to 31%). What does not: the loss on the same "
        "images afterwards (17.0 against 2.3 to 41.0). With so few starts, a number that has nothing to do with "
        "training would set them apart in 67% of cases, so none of it is shown to be the cause."
    )
    alike = stepped(a=(17.0, 3.0, 0.3), b=(2.3, 1.5, 0.28), c=(41.0, 4.5, 0.31))
    assert "which all do (2): nothing that we look at. What does not: the loss" in starts.told_apart(alike, found)
    assert starts.told_apart(before, found[found["trained"]]) == ""
    assert starts.told_apart(before, starts.outcomes([], QUESTION)) == ""


def test_layers_are_drawn_with_all_that_is_said_of_a_start() -> None:
    names = starts.one_at_a_time(EVERY)
    assert names[:2] == ["as written, biases of one, 0 to 255", "as written, biases of zero, 0 to 255"]
    assert set(names) <= set(EVERY) and len(set(names)) == len(starts.FACTORS)
    layers = ["input", "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    change = pd.DataFrame({name: [0.1234 / 10**place] * 8 + [0.5] for place, name in enumerate(names)}, index=layers)
    panels = [steps.Panel("change", change), steps.Panel("silent", change[:-1], change[:-1] / 2, share=True)]
    notes = dict.fromkeys(names, "rate 0.01, loss 2.56 to 17.08; 0 of 3 runs train")
    figure, alt = steps.by_layer(panels, "What does the first step do?", notes)
    assert drawn_labels.faults(figure) == []
    assert f"change, input to fc8: {names[0]} from 1.2e-01 to 5.0e-01, {names[1]} from 1.2e-02 to" in alt
    assert f"silent, input to fc7: {names[0]} from 12% to 12%" in alt and f"{names[5]}: rate 0.01, loss" in alt
    with pytest.raises(NothingToDraw):
        steps.by_layer([steps.Panel("change", pd.DataFrame())], "Nothing")
