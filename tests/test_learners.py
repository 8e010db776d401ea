"""Learners: the paper's recipe step by step against plain arithmetic, and what a fastai user expects."""

import math

import matplotlib.pyplot as plt
import pytest
import small
import torch
from fastai.learner import Learner
from torch import nn

from alexnet import learner
from alexnet.networks import models
from alexnet.records.specs import RecipeSpec, RunSpec
from alexnet.training import evaluation
from alexnet.training import recipe as recipe_rules
from alexnet.training.batches import DROPOUT_STREAM, WEIGHTS_STREAM, seed_of
from alexnet.training.prepared import prepare

CPU = torch.device("cpu")


def by_hand(spec: RunSpec, epochs: int) -> nn.Module:
    """The paper's update rule (section 5) in plain code: v <- m v - d lr w - lr g; w <- w + v."""
    training = prepare(spec, CPU).loaders().train
    model = models.build(spec.net, training.preparation.side, seed_of(WEIGHTS_STREAM, spec.seed))
    recipe = spec.recipe
    velocity = {name: torch.zeros_like(w) for name, w in model.named_parameters()}
    for epoch in range(epochs):
        training.epoch = epoch
        torch.manual_seed(seed_of(DROPOUT_STREAM, spec.seed, epoch))
        rate = recipe.learning_rate / 10 ** sum(epoch >= drop for drop in recipe.drops)
        for images, labels in training:
            model.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            with torch.no_grad():
                for name, w in model.named_parameters():
                    own = rate * (recipe.bias_learning_rate_factor if name.endswith("bias") else 1)
                    assert w.grad is not None
                    velocity[name] = recipe.momentum * velocity[name] - recipe.weight_decay * own * w - own * w.grad
                    w += velocity[name]
    return model


@pytest.mark.parametrize(
    "recipe",
    [
        {"weight_decay": 0.0},
        {"weight_decay": 0.01, "bias_learning_rate_factor": 2.0},
        {"weight_decay": 0.0005, "schedule": "steps", "drops": (1, 2), "epochs": 3},
    ],
    ids=["plain", "decay", "drops"],
)
def test_training_is_the_papers_update_rule(small_data: None, recipe: dict) -> None:
    spec = small.spec(recipe={"learning_rate": 0.005} | recipe)
    learn = learner(spec, precision="float32", progress=False)
    learn.fit()
    expected = by_hand(spec, spec.recipe.epochs)
    for (name, ours), theirs in zip(learn.model.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_validating_predicting_and_showing_leave_the_history_alone(small_data: None) -> None:
    learn = learner(small.spec(), progress=False)
    learn.fit(1)
    rows = [dict(row) for row in learn.history.rows]
    loss, error = learn.validate()
    assert math.isclose(error, rows[0]["valid_error"], abs_tol=1e-6)
    assert math.isclose(loss, rows[0]["valid_loss"], rel_tol=1e-4)
    predictions, labels = learn.get_preds()
    assert predictions.shape == (small.VALIDATION, 10)
    torch.testing.assert_close(predictions.sum(1), torch.ones(small.VALIDATION))
    assert math.isclose((predictions.argmax(1) != labels).float().mean(), error, abs_tol=1e-6)
    learn.show_results(max_n=4)
    titles = [axis.get_title() for axis in plt.gcf().axes]
    plt.close("all")
    assert len([title for title in titles if "\n" in title]) == 4
    assert learn.history.rows == rows


def test_a_fastai_user_finds_what_they_expect(small_data: None, capsys: pytest.CaptureFixture) -> None:
    learn = learner(small.spec())
    assert isinstance(learn, Learner)
    summary = learn.summary()
    assert f"Total params: {models.parameter_count(learn.model):,}" in str(summary)
    learn.fit(1)
    assert len(learn.recorder.values) == 1
    assert learn.recorder.metric_names[1:4] == ["train_loss", "valid_loss", "error_rate"]
    images, labels = learn.dls.one_batch()
    assert images.shape == (64, 3, 32, 32)
    assert labels.dtype == torch.int64
    learn.dls.train.show_batch(max_n=3)
    plt.close("all")


def test_stops_at_the_training_error(small_data: None) -> None:
    recipe = {"epochs": 20, "learning_rate": 0.01, "stop_at_train_error": 0.6}
    learn = learner(small.spec(recipe=recipe), progress=False)
    learn.fit()
    errors = [row["train_error"] for row in learn.history.rows]
    assert len(errors) < 20
    assert errors[-1] <= 0.6 < min(errors[:-1], default=1.0)


def rows(*valid_errors: float) -> list[dict]:
    return [{"valid_error": error} for error in valid_errors]


def test_plateau_drops_after_patience_and_only_then() -> None:
    recipe = RecipeSpec(schedule="plateau", patience=2)
    drops = [recipe_rules.drops_before(recipe, rows(*errors)) for errors in ([0.5, 0.4, 0.4], [0.5, 0.4, 0.4, 0.41])]
    assert drops == [0, 1]
    assert recipe_rules.drops_before(recipe, rows(0.5, 0.4, 0.4, 0.41, 0.39, 0.39, 0.39)) == 2


def test_a_plateau_after_the_last_drop_ends_the_run(small_data: None) -> None:
    recipe = {"schedule": "plateau", "patience": 1, "most_drops": 1, "learning_rate": 1e-9, "epochs": 20}
    learn = learner(small.spec(recipe=recipe), progress=False)
    learn.fit()
    rates = [row["learning_rate"] for row in learn.history.rows]
    assert 2 <= len(rates) < 20
    assert math.isclose(rates[-1], rates[0] / 10)


WAITING = RecipeSpec(stop_after=2, epochs=20)
TWO_STAGES = RecipeSpec(stop_after=2, epochs=10, second={"after": 5, "learning_rate": 0.001})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recipe", "errors", "ends"),
    [
        (WAITING, [0.5, 0.5], False),
        (WAITING, [0.5, 0.5, 0.5], True),
        (WAITING, [0.5, 0.6, 0.4, 0.4], False),
        (WAITING, [0.5, 0.6, 0.4, 0.4, 0.41], True),
        (RecipeSpec(), [0.5] * 50, False),
        (TWO_STAGES, [0.5, 0.5, 0.5], False),  # the first stage hands over
        (TWO_STAGES, [0.5, 0.5, 0.5, 0.6, 0.6], False),  # the second has a best error of its own
        (TWO_STAGES, [0.5, 0.5, 0.5, 0.6, 0.6, 0.6], True),
        (TWO_STAGES, [0.5, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1], False),
        (TWO_STAGES, [0.5, 0.5, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1], True),  # it has its own epochs, and no more
    ],
)
def test_a_run_ends_when_the_validation_error_gets_no_better(
    recipe: RecipeSpec, errors: list[float], ends: bool
) -> None:
    done = [row | {"train_loss": 1.0, "valid_loss": 1.0, "train_error": 0.5} for row in rows(*errors)]
    assert recipe_rules.finished(recipe, done) == ends
    assert recipe_rules.ending(recipe, done) == ("completed", None)


@pytest.mark.parametrize(("errors", "begins"), [([0.5, 0.5], None), ([0.5] * 4, 3), ([0.5, 0.4, 0.3, 0.2, 0.1], 5)])
def test_the_second_stage_begins_when_the_first_gets_no_better(errors: list[float], begins: int | None) -> None:
    assert recipe_rules.handed_over(TWO_STAGES, rows(*errors)) == begins
    rate = recipe_rules.rate_at(TWO_STAGES, 0.01, rows(*errors))
    assert rate == pytest.approx(0.01 if begins is None else 0.001)


def test_ten_crops_average_the_softmax(small_data: None) -> None:
    spec = small.spec(images={"crop": 24}, recipe={"epochs": 1})
    learn = learner(spec, progress=False)
    test = prepare(spec, CPU).test()
    found, labels = evaluation.log_probabilities(learn.model, test, ten_crop=True)
    views = test.preparation.ten_crops(len(labels))
    with torch.no_grad():
        expected = torch.stack([learn.model(test.preparation(test.dataset.pixels, v)).softmax(1) for v in views])
    torch.testing.assert_close(found.exp(), expected.mean(0), rtol=1e-4, atol=1e-6)


def test_bfloat16_stays_close_to_float32(small_data: None) -> None:
    runs = {}
    for precision in ("float32", "bfloat16"):
        learn = learner(small.spec(), precision=precision, progress=False)
        learn.fit(1)
        assert {p.dtype for p in learn.model.parameters()} == {torch.float32}
        runs[precision] = learn.history.rows[0]["train_loss"]
    assert runs["bfloat16"] != runs["float32"]
    assert math.isclose(runs["bfloat16"], runs["float32"], rel_tol=0.02)
