"""What a fastai user expects of a Learner: it works, with the right value, or one line says what to use instead."""

import copy
import math
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import small
import torch
from fastai.callback.core import Callback, FetchPredsCallback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.mixup import CutMix, MixUp
from fastai.callback.progress import CSVLogger, ShowGraphCallback
from fastai.callback.schedule import SuggestionMethod
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.callback.training import GradientAccumulation
from fastai.interpret import ClassificationInterpretation
from fastai.learner import load_learner
from PIL import Image
from torch import Tensor, nn

from alexnet import learner
from alexnet.errors import AlexnetError, DataError, SpecError
from alexnet.records.specs import RunSpec
from alexnet.records.store import Store
from alexnet.runs import execution
from alexnet.training import batches, evaluation, learners, recipe
from alexnet.training.learners import CoupledLearner
from alexnet.training.prepared import Split, prepare

CPU = torch.device("cpu")
CLASSES = small.dataset().classes
TRAINED = 600  # images of the training split


@pytest.fixture
def make(small_data: None, tmp_path: Path) -> Callable[..., CoupledLearner]:
    def new(spec: RunSpec | None = None, precision: str = "float32", progress: bool = False) -> CoupledLearner:
        learn = learner(spec or small.spec(), precision=precision, progress=progress)
        learn.path = tmp_path
        return learn

    return new


@pytest.fixture
def learn(make: Callable[..., CoupledLearner]) -> CoupledLearner:
    """After an epoch."""
    made = make()
    made.fit(1)
    return made


def state(learn: CoupledLearner) -> list[Tensor]:
    """Weights and velocity, as they are now."""
    optimiser = [s["momentum_buffer"] for s in learn.opt.opt.state_dict()["state"].values()] if learn.opt else []
    return [tensor.detach().clone() for tensor in (*learn.model.state_dict().values(), *optimiser)]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def scores(learn: CoupledLearner, images: batches.Batches) -> tuple[Tensor, Tensor]:
    """Softmax and labels, by the model alone."""
    learn.model.eval()
    with torch.no_grad():
        parts = [(learn.model(x).softmax(1), y) for x, y in images]
    return torch.cat([p for p, _ in parts]), torch.cat([y for _, y in parts])


@contextmanager
def refused(match: str = "", error: type[AlexnetError] = SpecError) -> Iterator[None]:
    """What is inside is refused, in one line that says why."""
    with pytest.raises(error, match=match) as caught:
        yield
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 30


# --- how long, and on what -----------------------------------------------------------------------------------


def test_no_epochs_are_none_and_not_all(make: Callable[..., CoupledLearner]) -> None:
    learn = make()
    before = state(learn)
    learn.fit(0)
    assert learn.history.rows == [] and equal(state(learn), before)
    learn.fit()
    assert len(learn.history.rows) == 2, "the recipe's"


@pytest.mark.parametrize("size", [TRAINED, 60])
def test_a_split_smaller_than_a_batch_is_refused_before_any_work(
    size: int, small_data: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Split, "statistics", property(lambda _: pytest.fail("worked before it looked")))
    spec = small.spec(images={"train_size": size}, recipe={"batch_size": size + 1})
    calls = (lambda: learner(spec), lambda: execution.execute(spec, Store(tmp_path)), lambda: execution.probe(spec))
    for call in calls:
        with refused(rf"^{size} training images do not fill a batch of {size + 1};"):
            call()


def test_no_loader_that_drops_the_last_batch_may_be_left_without_any(learn: CoupledLearner) -> None:
    with pytest.raises(SpecError, match="600 training images do not fill a batch of 601"):
        learn.dls.train.new(bs=601)
    assert len(learn.dls.train.new(bs=TRAINED)) == 1
    assert len(learn.dls.train.new(bs=601, drop_last=False)) == 1


# --- predictions ---------------------------------------------------------------------------------------------


def test_predictions_are_the_models_in_the_order_of_the_images(learn: CoupledLearner) -> None:
    expected, labels = scores(learn, learn.dls.valid)
    inputs, predicted, targets, decoded, losses = learn.get_preds(with_input=True, with_loss=True, with_decoded=True)
    assert torch.equal(inputs, torch.cat([x for x, _ in learn.dls.valid]))
    torch.testing.assert_close(predicted, expected)
    assert torch.equal(targets, labels) and torch.equal(decoded, expected.argmax(1))
    torch.testing.assert_close(losses, nn.functional.nll_loss(expected.log(), labels, reduction="none"))
    for shuffled in (learn.dls.valid.new(shuffle=True), learn.dls.valid.new(shuffle=True, bs=7)):
        again, same = learn.get_preds(dl=shuffled)
        torch.testing.assert_close(again, expected)
        assert torch.equal(same, labels)
    torch.testing.assert_close(learn.get_preds(reorder=False, act=nn.Identity())[0].softmax(1), expected)


def test_predictions_on_training_images_are_of_all_of_them_without_augmentation(
    make: Callable[..., CoupledLearner],
) -> None:
    spec = small.spec(images={"crop": 24, "flip": True, "colour": 0.1})
    learn = make(spec)
    learn.fit(1)
    expected = scores(learn, prepare(spec, CPU).clean_training())
    for given in ({"ds_idx": 0}, {"dl": learn.dls.train}):
        found = learn.get_preds(**given)
        assert len(found[0]) == TRAINED
        torch.testing.assert_close(found, expected)


def test_any_image_can_be_predicted(learn: CoupledLearner, tmp_path: Path) -> None:
    place = learn.dls.valid.indices[3]
    pixels = learn.dls.valid.dataset.pixels[place].numpy()
    image = Image.fromarray(pixels)
    image.save(tmp_path / "x.png")
    expected = scores(learn, learn.dls.valid)[0][3]
    items = [
        image,
        tmp_path / "x.png",
        str(tmp_path / "x.png"),
        pixels,
        torch.from_numpy(pixels),
        learn.dls.valid_ds[3],
    ]
    for item in items:
        name, label, probabilities = learn.predict(item)
        torch.testing.assert_close(probabilities, expected)
        assert label == expected.argmax() and name == CLASSES[label]
    loader = learn.dls.test_dl(items[:4], bs=3)
    assert [len(batch) for (batch,) in loader] == [3, 1]
    predicted, targets = learn.get_preds(dl=loader)
    torch.testing.assert_close(predicted, expected.expand(4, 10))
    assert targets is None, "nobody said what they are"
    _, targets = learn.get_preds(dl=learn.dls.test_dl([(pixels, 4), (image, 2)]))
    assert targets.tolist() == [4, 2]
    large = image.resize((90, 64), Image.Resampling.NEAREST)
    assert learn.dls.test_dl([large]).one_batch()[0].shape == (1, 3, 32, 32)


@pytest.mark.parametrize("item", ["nowhere.png", 3, np.full((4, 4), 7e9)], ids=str)
def test_what_is_no_image_is_told_in_one_line(item: object, learn: CoupledLearner) -> None:
    with refused(error=DataError):
        learn.predict(item)
    with pytest.raises(DataError, match="the list is empty"):
        learn.dls.test_dl([])


def test_test_time_augmentation_is_the_papers_ten_crops(make: Callable[..., CoupledLearner]) -> None:
    learn = make(small.spec(images={"crop": 24}))
    found, labels = learn.tta()
    expected, same = evaluation.log_probabilities(learn.model, learn.dls.valid, ten_crop=True)
    assert torch.equal(found, expected.exp()) and labels is not None and torch.equal(labels, same)
    images = [item[0] for item in learn.dls.valid.items[:5]]
    some, none = learn.tta(dl=learn.dls.test_dl(images))
    torch.testing.assert_close(some, found[:5])
    assert none is None
    with refused("ten crops; leave out n, use_max"):
        learn.tta(n=8, use_max=True)


def test_the_classes_interpreted(learn: CoupledLearner) -> None:
    learn.fit(2)
    found = ClassificationInterpretation.from_learner(learn)
    predicted, labels = scores(learn, learn.dls.valid)
    counted = np.zeros((10, 10), dtype=int)
    np.add.at(counted, (labels.numpy(), predicted.argmax(1).numpy()), 1)
    assert found.confusion_matrix().tolist() == counted.tolist() and counted.sum() == small.VALIDATION
    actual, guessed, count = found.most_confused()[0]
    wrong = counted - np.diag(np.diag(counted))
    assert count == wrong.max() == wrong[CLASSES.index(actual), CLASSES.index(guessed)]
    losses = nn.functional.nll_loss(predicted.log(), labels, reduction="none")
    worst, places = found.top_losses(4)
    torch.testing.assert_close(worst, losses[places])
    torch.testing.assert_close(worst, losses.sort(descending=True).values[:4])
    found.plot_confusion_matrix()
    assert [tick.get_text() for tick in plt.gca().get_xticklabels()] == list(CLASSES)
    plt.close("all")
    found.plot_top_losses(4)
    titles = [axis.get_title() for axis in plt.gcf().axes]
    place = int(places[0])
    names = f"{CLASSES[predicted[place].argmax()]}/{CLASSES[labels[place]]}"
    assert titles[0] == f"{names} / {losses[place]:.2f} / {predicted[place].max():.2f}"
    plt.close("all")
    on_training = ClassificationInterpretation.from_learner(learn, ds_idx=0)
    assert on_training.confusion_matrix().sum() == TRAINED


def test_what_is_shown_are_the_images_and_their_classes(learn: CoupledLearner) -> None:
    b = learn.dls.valid.one_batch()
    learn.dls.valid.show_batch(b, max_n=4)
    axes = plt.gcf().axes
    assert [axis.get_title() for axis in axes] == [CLASSES[label] for label in b[1][:4]]
    shown = np.asarray(axes[2].get_images()[0].get_array())
    low, high = b[0][2].min(), b[0][2].max()
    np.testing.assert_allclose(shown, ((b[0][2] - low) / (high - low)).permute(1, 2, 0), atol=1e-6)
    plt.close("all")
    learn.show_results(shuffle=False, max_n=4)
    predicted = scores(learn, learn.dls.valid)[0].argmax(1)
    titles = [axis.get_title() for axis in plt.gcf().axes]
    pairs = zip(b[1][:4].tolist(), predicted[:4].tolist(), strict=True)
    assert titles == [f"{CLASSES[label]}\n{CLASSES[found]}" for label, found in pairs]
    plt.close("all")


def test_loaders_have_what_fastai_asks_of_them(learn: CoupledLearner) -> None:
    dls = learn.dls
    assert list(dls.vocab) == list(CLASSES) and dls.c == 10 and dls.n_inp == 1 and dls.bs == 64
    assert (len(dls.train_ds), len(dls.valid_ds)) == (TRAINED, small.VALIDATION)
    pixels, label = dls.valid_ds[5]
    place = dls.valid.indices[5]
    assert torch.equal(pixels, dls.valid.dataset.pixels[place]) and label == dls.valid.dataset.labels[place]
    with pytest.raises(SpecError, match="set its images"):
        dls.add_tfms([noise], "after_batch")
    dls.to("meta")
    for part in (dls.train, dls.valid):
        assert {part.device, part.preparation.device, part.dataset.pixels.device} == {torch.device("meta")}


def noise(images: Tensor) -> Tensor:
    return images


# --- files and copies ----------------------------------------------------------------------------------------


def test_an_exported_learner_predicts_the_same_and_holds_no_images(
    make: Callable[..., CoupledLearner], tmp_path: Path
) -> None:
    learn, other = make(small.spec(measured="fit")), make(small.spec(measured="fit"))
    learn.fit(1)
    learn.export("e.pkl")
    callbacks, pixels = len(learn.cbs), learn.dls.train.dataset.pixels
    loaded = load_learner(tmp_path / "e.pkl")
    image = pixels[17].numpy()
    assert [len(dl.dataset) for dl in loaded.dls] == [0, 0] and loaded.dls.vocab == learn.dls.vocab
    assert pixels[17].numpy().tobytes() not in (tmp_path / "e.pkl").read_bytes()
    for ours, theirs in zip(loaded.predict(image), learn.predict(image), strict=True):
        assert torch.equal(ours, theirs) if isinstance(ours, Tensor) else ours == theirs
    with refused("no images to train on"):
        loaded.fit(1)
    learn.fit(1)
    other.fit(2)
    assert (
        len(learn.cbs) == callbacks and learn.history.rows == other.history.rows and equal(state(learn), state(other))
    )


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o)), lambda o: pickle.loads(cloudpickle.dumps(o))],
    ids=["deepcopy", "pickle", "cloudpickle"],
)
def test_a_copy_goes_on_as_the_original_does(copied: Callable[[Any], Any], learn: CoupledLearner) -> None:
    other = copied(learn)
    before = state(other)
    learn.fit(1)
    assert equal(state(other), before), "the copy is its own"
    other.fit(1)
    assert other.history.rows == learn.history.rows and equal(state(other), state(learn))


def test_two_learners_in_turn_are_as_each_alone(make: Callable[..., CoupledLearner]) -> None:
    specs = (small.spec(0), small.spec(1))
    alone, turns = [make(spec) for spec in specs], [make(spec) for spec in specs]
    for one in alone:
        one.fit(2)
    for one in (*turns, *turns):
        one.fit(1)
    for one, other in zip(alone, turns, strict=True):
        assert one.history.rows == other.history.rows and equal(state(one), state(other))


def test_weights_saved_are_weights_loaded(learn: CoupledLearner, make: Callable[..., CoupledLearner]) -> None:
    learn.save("a")
    before = state(learn)
    learn.fit(1)
    assert not equal(state(learn), before)
    learn.load("a")
    other = make().load("a")
    assert equal(state(learn), before) and equal(state(other), before)
    other.fit(1)
    assert [row["epoch"] for row in other.history.rows] == [1]


# --- training in fastai's ways -------------------------------------------------------------------------------


def test_the_search_for_a_rate_leaves_everything_as_it_was(make: Callable[..., CoupledLearner]) -> None:
    """There are 9 batches an epoch, fewer than its steps."""
    searched, plain = make(), make()
    for epoch in range(2):
        before = state(searched)
        found = searched.lr_find(num_it=30, suggest_funcs=(SuggestionMethod.Valley, SuggestionMethod.Minimum))
        plt.close("all")
        assert 1e-7 <= found.valley <= 10 and len(searched.recorder.losses) == 30
        assert equal(state(searched), before) and len(searched.history.rows) == epoch
        searched.fit(1)
        plain.fit(1)
    assert searched.history.rows == plain.history.rows and equal(state(searched), state(plain))


class Stop(Callback):
    """Ctrl-C, or a fault, in the middle of an epoch."""

    order = 7  # within the forward pass's precision

    def __init__(self, error: type[BaseException], batch: int = 4):
        self.error, self.batch = error, batch

    def before_batch(self) -> None:
        if self.training and self.iter == self.batch:
            raise self.error("stopped")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_search_that_is_stopped_leaves_everything_as_it_was(
    error: type[BaseException], learn: CoupledLearner
) -> None:
    before = state(learn)
    learn.add_cb(Stop(error, batch=8))
    with pytest.raises(error):
        learn.lr_find()
    assert equal(state(learn), before)


def test_a_search_of_too_few_losses_is_told_in_one_line(learn: CoupledLearner) -> None:
    before = state(learn)
    with refused("8 losses are too few"):
        learn.lr_find(num_it=8, suggest_funcs=SuggestionMethod.Slide)
    assert equal(state(learn), before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_after_a_stop_it_goes_on_with_the_same_epoch(
    error: type[BaseException], make: Callable[..., CoupledLearner]
) -> None:
    learn = make(precision="bfloat16")
    learn.fit(1)
    with pytest.raises(error):
        learn.fit(1, cbs=Stop(error))
    assert not torch.is_autocast_enabled("cpu"), "or all that follows would be in bfloat16"
    assert len(learn.history.rows) == 1
    assert learn.validate()[1] == pytest.approx(scores_error(learn), abs=1e-6)
    learn.fit(1)
    assert [row["epoch"] for row in learn.history.rows] == [1, 2]
    assert 0 < learn.history.rows[1]["train_error"] <= 1


def scores_error(learn: CoupledLearner) -> float:
    found, labels = evaluation.log_probabilities(learn.model, learn.dls.valid, "bfloat16")
    return evaluation.loss_and_error(found, labels)[1]


def test_a_drop_keeps_the_velocity_once_though_its_epoch_was_stopped(make: Callable[..., CoupledLearner]) -> None:
    learn = make(small.spec(recipe={"epochs": 3, "schedule": "steps", "drops": (1,)}))
    learn.fit(1)
    velocity = [s["momentum_buffer"].clone() for s in learn.opt.opt.state.values()]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            learn.fit(1, cbs=Stop(KeyboardInterrupt, batch=0))
        for now, then in zip(learn.opt.opt.state.values(), velocity, strict=True):
            assert torch.equal(now["momentum_buffer"], then * recipe.DROP)


def test_after_one_cycle_the_recipe_holds_again(make: Callable[..., CoupledLearner]) -> None:
    learn = make()
    learn.fit_one_cycle(1, 0.02)
    assert max(learn.recorder.lrs) == pytest.approx(0.02, rel=0.05)
    assert learn.opt.hypers[0]["mom"] > 0.94
    learn.fit(1)
    assert {(h["lr"], h["mom"], h["wd"]) for h in learn.opt.hypers} == {(0.05, 0.9, 0.0005)}
    for fit in (learn.fit_one_cycle, learn.fit_flat_cos):
        with refused("give one number"):
            fit(1, slice(1e-4, 1e-2))


def changed(learn: CoupledLearner, **options: object) -> set[str]:
    """The layers that an epoch changes."""
    before = {name: p.detach().clone() for name, p in learn.model.named_parameters()}
    learn.fit(1, **options)
    return {name.split(".")[0] for name, p in learn.model.named_parameters() if not torch.equal(p, before[name])}


def test_frozen_are_the_layers_below_the_last(make: Callable[..., CoupledLearner]) -> None:
    learn = make()
    learn.freeze()
    assert changed(learn) == {"fc4"}
    learn.freeze_to(-2)
    assert changed(learn) == {"conv3", "fc4"}
    learn.unfreeze()
    assert changed(learn) == {"conv1", "conv2", "conv3", "fc4"}
    with refused("fit_one_cycle, or a spec with transfer"):
        learn.fine_tune(1)
    assert changed(learn) == {"conv1", "conv2", "conv3", "fc4"}, "nothing was frozen before it was refused"


@pytest.mark.parametrize("kind", [MixedPrecision, ReduceLROnPlateau])
def test_callbacks_that_would_do_nothing_are_refused(kind: type[Callback], learn: CoupledLearner) -> None:
    for given in (kind, kind()):
        with refused(f"{kind.__name__} does not work with this learner: use"):
            learn.fit(1, cbs=given)
    with pytest.raises(SpecError, match="to_bf16"):
        learn.to_fp16()
    assert len(learn.history.rows) == 1


def test_precision_can_be_changed_afterwards(make: Callable[..., CoupledLearner]) -> None:
    low, high = make(precision="bfloat16"), make(precision="float32")
    for changed_later, given in (
        (make(precision="float32").to_bf16(), low),
        (make(precision="bfloat16").to_fp32(), high),
    ):
        changed_later.fit(1)
        given.fit(1)
        assert changed_later.history.rows == given.history.rows
    assert low.history.rows != high.history.rows


class Steps(Callback):
    """Counts the steps of the optimiser, and moves its rate once."""

    order = 70
    taken = 0

    def after_step(self) -> None:
        self.taken += 1

    def after_epoch(self) -> None:
        if self.epoch == 0:
            self.opt.set_hypers(lr=0.001)


def test_a_callback_may_lower_the_rate_for_good(make: Callable[..., CoupledLearner]) -> None:
    learn = make()
    learn.fit(3, cbs=Steps())
    assert [row["learning_rate"] for row in learn.history.rows] == [0.05, 0.001, 0.001]


def test_each_new_callback_is_told_of_its_events(make: Callable[..., CoupledLearner]) -> None:
    learn = make()
    for _ in range(3):
        counting = Steps()
        learn.fit(1, cbs=counting)
        assert counting.taken == 9


def test_fastais_callbacks_do_their_work(make: Callable[..., CoupledLearner], tmp_path: Path) -> None:
    recipe = {"epochs": 4}
    learn = make(small.spec(recipe=recipe), progress=True)
    saving = SaveModelCallback(monitor="error_rate", comp=np.greater)  # the worst, which is not the last
    with learn.no_bar():
        learn.fit(4, cbs=[saving, CSVLogger(), FetchPredsCallback()])
    learn.recorder.plot_loss()
    assert len(plt.gca().lines[0].get_xdata()) == 4 * 9 - 5, "it leaves out the first five"
    plt.close("all")
    errors = [row["valid_error"] for row in learn.history.rows]
    assert len(errors) == 4 and errors[-1] < max(errors)
    assert learn.validate()[1] == pytest.approx(max(errors), abs=1e-6)
    logged = pd.read_csv(tmp_path / "history.csv")
    np.testing.assert_allclose(logged["error_rate"], errors, atol=1e-6)

    stopping = make(small.spec(recipe=recipe))
    stopping.fit(4, cbs=EarlyStoppingCallback(monitor="error_rate", comp=np.less, min_delta=1, patience=2))
    assert len(stopping.history.rows) == 3

    gathering, steps = make(), Steps()
    gathering.fit(1, cbs=[GradientAccumulation(2 * 64), steps])
    assert steps.taken == 9 // 2

    shown = make(progress=True)
    shown.fit(1, cbs=ShowGraphCallback())
    assert len(shown.history.rows) == 1


@pytest.mark.parametrize("mix", [MixUp, CutMix])
def test_mixed_images_are_trained_on_and_never_validated(
    mix: type[Callback], make: Callable[..., CoupledLearner]
) -> None:
    learn, plain = make(), make()
    learn.fit(1, cbs=mix())
    plain.fit(1)
    assert learn.history.rows[0]["train_loss"] != plain.history.rows[0]["train_loss"]
    found, labels = evaluation.log_probabilities(learn.model, learn.dls.valid)
    loss, error = evaluation.loss_and_error(found, labels)
    assert math.isclose(learn.history.rows[0]["valid_loss"], loss, rel_tol=1e-5)
    assert math.isclose(learn.history.rows[0]["valid_error"], error, abs_tol=1e-6)
    assert isinstance(learn.loss_func, learners.CrossEntropy)
