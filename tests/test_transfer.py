import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import small
import torch
from fabricate import record
from fastai.callback.core import Callback
from fastai.callback.schedule import ParamScheduler, combined_cos
from fastai.interpret import ClassificationInterpretation
from test_features import make_weights

from alexnet import paths
from alexnet.audit import checks
from alexnet.data import datasets, weights
from alexnet.data.sources import array_hash
from alexnet.errors import SpecError
from alexnet.experiments import profiles, transfer
from alexnet.networks.models import multiply_adds
from alexnet.records.record import RunRecord
from alexnet.records.specs import NetSpec, RunSpec, parse
from alexnet.records.store import Store
from alexnet.runs import execution
from alexnet.runs.planning import GRID_SEED
from alexnet.training import features, learners
from alexnet.training import recipe as recipes
from alexnet.training.prepared import prepare, split_for

TRAIN, VALIDATION, TEST = 60, 20, 20
CPU = torch.device("cpu")


WHOLE = small.dataset()
ARRAYS = {
    "train_images": WHOLE.train_images[:TRAIN],
    "train_labels": WHOLE.train_labels[:TRAIN],
    "test_images": WHOLE.test_images[:TEST],
    "test_labels": WHOLE.test_labels[:TEST],
}
FEW = dataclasses.replace(WHOLE, hashes={name: array_hash(array) for name, array in ARRAYS.items()}, **ARRAYS)
WEIGHTS = make_weights()


@pytest.fixture
def few_data(
    small_data: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """60 training and 20 test images in the place of CIFAR-10, and made-up weights in the place of ImageNet's.

    Their features are computed once for all tests.
    """
    folder = tmp_path_factory.getbasetemp() / "transfer"
    monkeypatch.setattr(paths, "data_folder", lambda: folder)
    monkeypatch.setattr(datasets, "load", lambda *_, **__: FEW)
    monkeypatch.setattr(datasets, "split", partial(datasets.split.func, held_back=VALIDATION))  # type: ignore[attr-defined]
    monkeypatch.setattr(weights, "imagenet", lambda: WEIGHTS)
    monkeypatch.setattr(weights, "pinned_sha256", lambda: WEIGHTS.sha256)
    forget()
    yield
    forget()


def forget() -> None:
    small.forget()


SHORT = {"batch_size": 10, "epochs": 3, "learning_rate": 0.001}
PROBE = transfer.PROBE.with_(recipe=SHORT)
THAWING = transfer.FINE_TUNING.with_(net={"hidden": (), "dropout": 0.0}, recipe=SHORT)


# --- specs ---------------------------------------------------------------------------------------------------


def test_runs_without_transfer_keep_their_names() -> None:
    assert RunSpec().hash == "44136fa355b3678a"  # of the empty spec, as sha256 gives it
    assert RunSpec().with_(net={"name": "four-layer"}, seed=3).hash == "1e418cab422cebc4"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"images": {"resize": 227}}, "transfer needs images"),
        ({"images": {"scaling": "mean-image"}}, "transfer needs images"),
        ({"images": {"colour": 0.1}}, "transfer needs images"),
        ({"measured": "fit"}, "measured by their errors alone"),
        ({"recipe": {"bias_learning_rate_factor": 2.0}}, "no rates or weight decays of their own"),
        ({"transfer": {"rate_ratio": 0.5}}, "rate_ratio"),
        ({"transfer": {"unfreeze": (1, 2, 3)}}, "unfreeze"),
        ({"net": {"hidden": (1, 2, 3)}}, "hidden"),
    ],
)
def test_specs_that_make_no_sense_are_refused(changes: dict, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        transfer.CLASSIFIER.with_(**changes)


def test_a_transfer_spec_survives_its_record() -> None:
    for spec in (transfer.CLASSIFIER, transfer.FINE_TUNING, transfer.RANDOM_START, transfer.PROBE):
        assert parse(spec.model_dump(mode="json")).hash == spec.hash


def test_a_network_of_another_shape_cannot_take_the_weights(few_data: None) -> None:
    narrow = PROBE.with_(net={"width": 0.5})
    with pytest.raises(SpecError, match=r"conv1\.weight have the shape \(64, 3, 11, 11\), the network's \(32, 3"):
        prepare(narrow, CPU).network()


def test_the_published_classifier_has_its_parameters() -> None:
    from alexnet.networks import models

    model = models.build(transfer.NET, 224)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if name.startswith("fc") and p.ndim == 2}
    assert shapes == {"fc6.weight": (4096, 9216), "fc7.weight": (1024, 4096), "fc8.weight": (10, 1024)}
    linear = models.build(NetSpec(**transfer.PROBE.net.model_dump()), 224)
    assert [name for name, _ in linear.named_children()][-2:] == ["flatten", "fc8"]


# --- labelled images -----------------------------------------------------------------------------------------


def test_each_seed_draws_its_own_images_the_same_for_all_approaches(few_data: None) -> None:
    drawn = {}
    for seed in range(3):
        for base in (transfer.PROBE, transfer.RANDOM_START):
            spec = base.with_(images={"train_size": 20, "subset": "own"}, seed=seed)
            split = split_for(spec)
            dataset, train, valid = split.dataset, split.train, split.valid
            assert np.bincount(dataset.train_labels[train], minlength=10).tolist() == [2] * 10
            assert not set(train) & set(valid)
            drawn.setdefault(seed, set()).add(tuple(train.tolist()))
    assert all(len(of_a_seed) == 1 for of_a_seed in drawn.values())
    assert len(set.union(*drawn.values())) == 3
    same = [transfer.PROBE.with_(images={"train_size": 20}, seed=seed) for seed in range(3)]
    assert len({tuple(split_for(spec).train.tolist()) for spec in same}) == 1


# --- frozen layers -------------------------------------------------------------------------------------------


def test_features_stand_for_the_images_of_every_batch(few_data: None) -> None:
    """Same order, labels and reflections as the images, and what the frozen layers give for them."""
    frozen = features.convolutional_part()
    spec = PROBE.with_(images={"train_size": 20, "subset": "own"}, seed=3)
    unfrozen = spec.with_(transfer=None)
    for epoch in range(2):
        images, rows = prepare(unfrozen, CPU).loaders(), prepare(spec, CPU, "float32").loaders()
        for part in ("train", "valid"):
            seen, looked_up = getattr(images, part), getattr(rows, part)
            seen.epoch = looked_up.epoch = epoch
            for (pixels, labels), (found, same) in zip(seen, looked_up, strict=True):
                torch.testing.assert_close(same, labels)
                torch.testing.assert_close(found, frozen(pixels).flatten(1), rtol=2e-3, atol=2e-3)
    for (pixels, _), (found, _) in zip(
        prepare(unfrozen, CPU).test(), prepare(spec, CPU, "float32").test(), strict=True
    ):
        torch.testing.assert_close(found, frozen(pixels).flatten(1), rtol=2e-3, atol=2e-3)


def test_the_probe_of_a_frozen_run_goes_through_all_layers(few_data: None) -> None:
    """Its loss on images is that of the classifier on features, and its weights are ImageNet's."""
    found = execution.probe(PROBE)
    learn = learners.learner(PROBE, precision="float32", progress=False)
    inputs, labels = learn.dls.train.one_batch()
    loss = torch.nn.functional.cross_entropy(learn.model(inputs), labels)
    assert found.loss == pytest.approx(loss.item(), rel=1e-3)
    assert found.parameters == 9216 * 10 + 10
    imagenet = sum(float(np.square(array, dtype=np.float64).sum()) for array in weights.imagenet().arrays.values())
    assert found.weights_norm**2 > imagenet
    assert execution.probe(PROBE.with_(transfer=None)).weights_norm != pytest.approx(found.weights_norm, rel=1e-3)


def test_the_arithmetic_of_a_frozen_run_is_its_classifiers() -> None:
    specs = (transfer.PROBE, transfer.CLASSIFIER, transfer.FINE_TUNING)
    probe, classifier, fine_tuning = (multiply_adds(spec.net, spec.side, spec.frozen) for spec in specs)
    assert probe == 9216 * 10 + 10
    assert classifier < 43e6 < 690e6 < fine_tuning


# --- whole runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [PROBE, THAWING], ids=["frozen", "gradual unfreezing"])
def test_a_killed_run_ends_where_it_would_have_ended(spec: RunSpec, few_data: None, tmp_path: Path) -> None:
    whole, parts = Store(tmp_path / "whole"), Store(tmp_path / "parts")
    expected = execution.execute(spec, whole, "float32")
    for epochs in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            execution.execute(spec, parts, "float32", small.stop_after(epochs))
    found = execution.execute(spec, parts, "float32")
    assert small.comparable(found) == small.comparable(expected)
    assert found.final.test_error is not None
    assert found.data.hashes["imagenet_weights"] == weights.imagenet().sha256
    assert list(checks.differences(found, parts)) == []


def test_layers_are_released_from_the_top_to_the_bottom(few_data: None) -> None:
    learn = learners.learner(THAWING, precision="float32", progress=False)
    changed: list[set[str]] = []

    class Watch(Callback):
        order = 55

        def before_train(self) -> None:
            self.before = {name: p.detach().clone() for name, p in self.model.named_parameters()}

        def after_train(self) -> None:
            now = dict(self.model.named_parameters())
            changed.append({name.split(".")[0] for name, p in self.before.items() if not torch.equal(p, now[name])})

    learn.fit(3, cbs=Watch())
    upper = {"conv3", "conv4", "conv5", "fc8"}
    assert changed == [{"fc8"}, upper, upper | {"conv1", "conv2"}]


def test_lower_layers_learn_at_lower_rates(few_data: None) -> None:
    rates = recipes.learning_rates(THAWING.recipe, THAWING.transfer)
    top = THAWING.recipe.learning_rate
    assert rates == pytest.approx([top / 10, top / 10**0.5, top])
    model = prepare(THAWING, CPU).network()
    found = recipes.layer_groups(model)
    names = {id(p): name.split(".")[0] for name, p in model.named_parameters()}
    assert [{names[id(p)] for p in group} for group in found] == [
        {"conv1", "conv2"},
        {"conv3", "conv4", "conv5"},
        {"fc8"},
    ]


def test_one_cycle_is_that_of_fastai(small_data: None) -> None:
    rate, epochs = 0.01, 3
    spec = small.spec(recipe={"schedule": "one-cycle", "learning_rate": rate, "epochs": epochs})
    ours = learners.learner(spec, progress=False)
    ours.fit()
    theirs = learners.learner(spec.with_(recipe={"schedule": "constant"}), progress=False)
    cycle = {"lr": combined_cos(0.25, rate / 25, rate, rate / 1e5)}
    theirs.fit(epochs, cbs=ParamScheduler(cycle))
    np.testing.assert_allclose(ours.recorder.lrs, theirs.recorder.lrs, rtol=1e-6)
    assert ours.history.rows[-1]["valid_loss"] == pytest.approx(theirs.history.rows[-1]["valid_loss"], rel=1e-5)


# --- the plan ------------------------------------------------------------------------------------------------


def made(spec: RunSpec, valid_error: float) -> RunRecord:
    found = record(spec, [0.5], test_error=0.3 if spec.test else None)
    return found.model_copy(update={"final": found.final.model_copy(update={"valid_error": valid_error})})


def tried(approach: transfer.Approach, store: Store, best: Callable[[int], int]) -> None:
    """Records of an approach's grids, in which the rate at a place of the row does best, by number of images."""
    for search in approach.study().searches:
        for place, planned in enumerate(search.outcome(store)[0]):
            store.put(made(planned.spec, 0.1 if place == best(int(search.condition)) else 0.2))


def chosen(approach: transfer.Approach, store: Store) -> dict[int, float]:
    """Number of images -> the rate of the runs that count, as far as they can be named."""
    counted = [one for one in approach.study().plan(store) if one.stage == "seeds"]
    return {int(one.condition): one.spec.recipe.learning_rate for one in counted}


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_rates_are_chosen_on_the_validation_split_before_anything_counts(profile: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    planned = []
    for approach in transfer.APPROACHES[profile]:
        grid = list(approach.study().plan(store))
        assert {(one.stage, one.seed, one.spec.test) for one in grid} == {("grid", GRID_SEED, False)}
        tried(approach, store, lambda size: 0 if size == 300 else 1)
        planned += approach.study().plan(store)
        own = [one for one in planned if one.stage == "seeds" and one.arm == approach.name]
        assert {int(one.condition) for one in own} == set(approach.budgets)
        assert len(own) == sum(budget.seeds for budget in approach.budgets.values())
        for one in own:
            images, size = one.spec.images, int(one.condition)
            assert (images.train_size or transfer.ALL) == size
            assert one.spec.recipe.batch_size <= size
            assert one.spec.test
            place = 0 if size == 300 and 300 in approach.grid_sizes else 1
            assert one.spec.recipe.learning_rate == approach.rates[place]
    planned = [one for one in planned if (one.arm, one.condition) != (transfer.SHORT, str(transfer.ALL))]
    hashes = [one.spec.hash for one in planned]  # with all images the random starts may have the same run
    assert len(set(hashes)) == len(hashes)


def test_a_size_takes_the_rate_of_the_next_smaller_one_that_was_tried(tmp_path: Path) -> None:
    store = Store(tmp_path)
    approach = dataclasses.replace(transfer.APPROACHES["cpu"][0], grid_sizes=(300, 3000))
    tried(approach, store, {300: 0, 3000: 2}.__getitem__)
    low, high = approach.rates[0], approach.rates[2]
    assert chosen(approach, store) == {100: low, 300: low, 1000: low, 3000: high, 10000: high, 45000: high}
    few, _ = approach.study().searches
    store.path(few.outcome(store)[0][-1].spec.hash).unlink()
    assert chosen(approach, store) == {3000: high, 10000: high, 45000: high}


def test_nobody_has_to_make_runs_of_the_first_plan(tmp_path: Path) -> None:
    """They are planned where they are recorded, unless they count."""
    store = Store(tmp_path)
    approach = next(one for one in transfer.APPROACHES["cpu"] if one.name == "new classifier")
    assert approach.first is not None
    first = approach.rates.index(approach.first.rate)
    tried(approach, store, lambda size: 0 if size == 100 else first)
    assert all(planned.stage != "replaced" for planned in approach.study().plan(store))
    old = [approach.run(size, approach.first.rate) for size in (100, 300)]
    for spec in old:
        store.put(made(spec, 0.3))
    stages = {planned.spec.hash: planned.stage for planned in approach.study().plan(store)}
    assert [stages[spec.hash] for spec in old] == ["replaced", "seeds"], "with 300 images the rate stayed"


def test_the_runs_are_among_the_experiments(tmp_path: Path) -> None:
    planned = list(profiles.plan("cpu", Store(tmp_path), claim=transfer.CLAIM))
    assert {one.claim for one in planned} == {transfer.CLAIM}


# --- fastai's ways -------------------------------------------------------------------------------------------


def test_too_few_images_are_told_before_any_features(few_data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "of_part", lambda *_: pytest.fail("worked before it looked"))
    with pytest.raises(SpecError, match="40 training images do not fill a batch of 41"):
        learners.learner(PROBE.with_(recipe={"batch_size": 41}))


def test_a_classifier_on_features_takes_no_images(few_data: None) -> None:
    learn = learners.learner(PROBE, precision="float32", progress=False)
    found = ClassificationInterpretation.from_learner(learn)
    assert found.confusion_matrix().sum() == VALIDATION
    for ask in (lambda: learn.predict(WHOLE.test_images[0]), lambda: found.plot_top_losses(3), learn.show_results):
        with pytest.raises(SpecError, match="features of frozen layers"):
            ask()


def test_who_freezes_by_hand_does_it_instead_of_the_recipe(few_data: None) -> None:
    learn = learners.learner(THAWING, precision="float32", progress=False)
    weights = {name: p.detach().clone() for name, p in learn.model.named_parameters()}
    learn.freeze()
    learn.fit_one_cycle(1, slice(1e-5, 1e-3))
    moved = {name.split(".")[0] for name, p in learn.model.named_parameters() if not torch.equal(p, weights[name])}
    assert moved == {"fc8"}
    learn.fine_tune(1)
    moved = {name.split(".")[0] for name, p in learn.model.named_parameters() if not torch.equal(p, weights[name])}
    assert moved == {"conv1", "conv2", "conv3", "conv4", "conv5", "fc8"}
    assert [row["epoch"] for row in learn.history.rows] == [1, 2, 3]
