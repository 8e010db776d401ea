"""The way from the paper's recipe to one of today: each ingredient does what it says, and nothing else is changed."""

import fabricate
import pytest
import small
import torch
from torch import nn

from alexnet.errors import SpecError
from alexnet.experiments import profiles, since_2012
from alexnet.experiments.since_2012 import STEPS, bought
from alexnet.figures import steps
from alexnet.networks import models
from alexnet.records.specs import ImageSpec, NetSpec, RecipeSpec, RunSpec
from alexnet.runs.planning import Planned, Runs, differing
from alexnet.training import recipe as recipes
from alexnet.training.learners import learner
from alexnet.training.preparation import Preparation, Statistics
from alexnet.training.prepared import prepare

CPU = torch.device("cpu")


def test_each_step_changes_one_part_of_the_step_before():
    before, *after = since_2012.specs()
    assert before.net.init == "paper" and before.images.scaling == "mean-image"
    assert before.recipe.optimiser == "sgd" and before.measured == "fit"
    for step, spec in zip(STEPS[1:], after, strict=True):
        assert list(differing(spec, before)) == list(step.change), step.name
        before = spec
    assert before.images.cutout and before.net.averaged and before.net.norm == "batch"


def test_rates_are_chosen_for_each_step_by_runs_of_half_the_length_that_see_no_test_image():
    study = since_2012.study()
    assert study in profiles.STUDIES["cpu"] and len(study.searches) == len(STEPS)
    for search, spec in zip(study.searches, since_2012.specs(), strict=True):
        tried = search.planned({"learning_rate": 0.5}).spec
        assert tried.recipe.epochs == 6 and not tried.test and tried.net == spec.net


@pytest.mark.parametrize("side", [1, 4, 5, 40])
def test_cut_out_blanks_one_square_of_each_training_image_and_none_in_tests(side: int):
    spec = ImageSpec(scaling="unit-range", crop=12, cutout=side)
    images = torch.randint(1, 256, (200, 16, 16, 3), dtype=torch.uint8)
    prepare = Preparation(spec, Statistics.of(images.numpy()), CPU)
    draws = prepare.draw(len(images), torch.Generator().manual_seed(0))
    blank = prepare(images, draws) == 0
    for image, (row, column) in zip(blank, draws.holes, strict=True):  # type: ignore[arg-type]
        expected = torch.zeros(12, 12, dtype=torch.bool)
        top, left = int(row) - side // 2, int(column) - side // 2
        expected[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = True
        assert (image == expected).all() and expected.any()
    assert not (prepare(images, prepare.centre(len(images))) == 0).any()


def test_what_is_cut_out_is_drawn_after_all_other_draws():
    images = torch.randint(256, (4, 16, 16, 3), dtype=torch.uint8).numpy()
    with_it, without = (
        Preparation(ImageSpec(crop=12, flip=True, cutout=side), Statistics.of(images), CPU).draw(
            50, torch.Generator().manual_seed(1)
        )
        for side in (4, 0)
    )
    assert with_it.holes is not None and without.holes is None
    assert (with_it.rows == without.rows).all() and (with_it.flips == without.flips).all()  # type: ignore[union-attr]


def test_batch_normalisation_stands_before_each_activation_and_no_response_normalisation_is_left():
    net = NetSpec(form="32", width=0.25, norm="batch")
    names = list(models.build(net, 27)._modules)
    assert names[:4] == ["conv1", "bn1", "relu1", "pool1"]
    assert [name for name in names if name.startswith(("bn", "norm"))] == [f"bn{number}" for number in range(1, 6)]
    for options in ({"name": "four-layer-local"}, {"variant": "as-run"}, {"name": "four-layer", "averaged": True}):
        with pytest.raises(SpecError, match=r"for AlexNet as written|Only alexnet"):
            models.build(NetSpec.model_validate({"form": "32", "norm": "batch", **options}), 27)


def test_averaged_maps_leave_one_number_a_map():
    model = models.build(NetSpec(form="32", width=0.25, norm="batch", averaged=True, hidden=()), 27).eval()
    assert model.fc8.in_features == 64
    maps = model[: list(model._modules).index("average")](torch.rand(2, 3, 27, 27))
    torch.testing.assert_close(model(torch.zeros(0, 3, 27, 27)).shape, (0, 10))
    assert maps.shape[1:] == (64, 3, 3)
    torch.testing.assert_close(model.average(maps)[..., 0, 0], maps.mean((2, 3)))


def test_adamw_decays_weights_apart_from_the_gradient():
    weights = nn.Parameter(torch.ones(3))
    make = recipes.optimiser(RecipeSpec(optimiser="adamw", learning_rate=0.1, weight_decay=0.05))
    opt = make([[weights]], lr=0.1)
    opt.set_hypers(wd=0.05)
    weights.grad = torch.zeros(3)
    opt.step()
    torch.testing.assert_close(weights.data, torch.full((3,), 1 - 0.1 * 0.05))


def test_smoothed_labels_are_in_the_training_loss_alone(small_data: None):
    rows = {}
    for share in (0.0, 0.5):
        learn = learner(small.spec(recipe={"learning_rate": 1e-12, "label_smoothing": share}), progress=False)
        learn.fit(1)
        (rows[share],) = learn.history.rows
    assert rows[0.5]["valid_loss"] == pytest.approx(rows[0.0]["valid_loss"], rel=1e-6)
    batch = prepare(small.spec(), CPU).loaders().train
    losses = []
    for x, y in batch:
        found = learn.model(x).float().log_softmax(1)
        losses.append((found.gather(1, y[:, None]).mean() + found.mean()).item() / -2)
    assert rows[0.5]["train_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-3)
    assert rows[0.0]["train_loss"] < rows[0.5]["train_loss"] - 1e-3


def runs_of(errors: dict[str, list[float]]) -> Runs:
    """Runs of some steps, with test errors by seed."""
    found = []
    for step, spec in zip(STEPS, since_2012.specs(), strict=True):
        for seed, error in enumerate(errors.get(step.name, [])):
            of: RunSpec = spec.with_(seed=100 + seed)
            record = fabricate.record(of, [0.9, error], error)
            found.append((Planned(since_2012.CLAIM, "steps", "seeds", step.name, seed, of), record))
    return found


def test_what_a_step_buys_is_told_over_pairs_of_seeds(small_data: None):
    names = [step.name for step in STEPS]
    errors = {
        names[0]: [0.40, 0.42, 0.41],
        names[1]: [0.30, 0.31, 0.32],
        names[2]: [0.31, 0.31, 0.31],
        names[-1]: [0.25, 0.24, 0.26],
    }
    found = bought(runs_of(errors))
    assert found[0].gain is None and found[1].gain is not None
    assert found[1].gain.estimate == pytest.approx(10) and found[1].gain.values == pytest.approx([10, 11, 9])
    assert found[3].gain is None and found[3].accuracy is None, "a step without runs has nothing to tell"
    table = since_2012.table(found)
    assert list(table["step"]) == names and table["parameters"].iloc[-1] < table["parameters"].iloc[0] / 10
    said = since_2012.answer(found)
    assert said.startswith("**From 59.0% by the paper's recipe to 75.0%**: 16.00 [")
    assert f"above zero: {names[1]}." in said and "One step is not told from zero by 3 seeds." in said
    assert "guessing" not in said
    lost = since_2012.answer(bought(runs_of(errors | {names[0]: [0.9, 0.42, 0.9]})))
    assert lost.endswith(f"Runs that ended near guessing: 2 of 3 ({names[0]}).")
    assert "first step that trains" not in said + lost
    only_the_last = {name: [0.9, 0.9, 0.9] for name in names[:3]} | {names[-1]: errors[names[-1]]}
    assert since_2012.answer(bought(runs_of(only_the_last))).startswith("**From 10.0% by the paper's recipe to 75.0%**")
    dead_start = bought(runs_of(errors | {names[0]: [0.9, 0.9, 0.9]}))
    told = since_2012.answer(dead_start)
    assert told.startswith("**From 69.0% by the first step that trains to 75.0%**: 6.00 [")
    assert f"That step is {names[1]}; the paper's recipe itself stays at 10.0%." in told
    figure, _ = steps.climb(dead_start, "How far?")
    left, right = figure.axes[0].get_xlim()
    assert 50 < left < 67 and right > 76, "those that train can be told apart"
    assert "10.0%: near guessing" in {text.get_text() for text in figure.axes[0].texts}
    figure, alt = steps.climb(found, "How far?")
    assert figure.axes[0].get_xlim()[0] < 58
    assert alt.startswith("Test accuracy after each of 4 steps") and f"{names[-1]} 75.0%" in alt
    assert since_2012.answer(bought([])).startswith("**Waits for its runs**")
    assert f"above zero: {names[1]}" not in told, "the step that is compared with adds nothing to itself"
    assert table["would be found"].iloc[1] == f"{found[1].gain.smallest_detectable():.1f} points"
    assert table["would be found"].isna().tolist() == [True, False, False] + [True] * 5


def test_a_step_that_trains_at_no_rate_is_named():
    def tried(*errors: float) -> Runs:
        search = since_2012.study().searches[0]
        planned = [search.planned({"learning_rate": 0.01 * 2**place}) for place in range(len(errors))]
        return [(p, fabricate.record(p.spec, [0.9, error])) for p, error in zip(planned, errors, strict=True)]

    said = "*the paper's recipe* trains at none of 3 rates from 0.01 to 0.04"
    assert since_2012.untrained(tried(0.9, 0.9, 0.9014)) == said
    assert since_2012.untrained(tried(0.9, 0.5, 0.9)) == since_2012.untrained([]) == ""
