"""What is measured of a trained network, and that the records hold it."""

from pathlib import Path

import numpy as np
import pytest
import small
import torch

from alexnet import RunSpec, learner
from alexnet.audit import checks
from alexnet.records.record import RunRecord
from alexnet.records.store import Store
from alexnet.runs import execution
from alexnet.training import evaluation
from alexnet.training.evaluation import colour_selectivity, colour_separation, tower_means
from alexnet.training.prepared import prepare, split_of

CPU = torch.device("cpu")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture
def towers(small_data: None) -> RunSpec:
    """A narrow two-tower AlexNet, of which everything is measured."""
    net = {"name": "alexnet", "form": "32", "width": 0.05, "dropout": 0.5, "init": "kaiming", "norm": "sum"}
    return small.spec(3, net=net, images={"crop": 27, "flip": True}).with_(measured="features")


@pytest.fixture
def record(towers: RunSpec, tmp_path: Path) -> RunRecord:
    return execution.execute(towers, Store(tmp_path), precision="float32")


def test_a_run_on_fewer_images_is_measured_and_checked_like_any_other(towers: RunSpec, tmp_path: Path) -> None:
    store = Store(tmp_path)
    fewer = towers.with_(images={"valid_size": 50, "test_size": 30}, recipe={"epochs": 1})
    record = execution.execute(fewer, store, precision="float32")
    arrays = store.predictions(record)
    assert {len(arrays[name]) for name in ("predicted", "ten_crop_predicted", "ranked", "feature_neighbours")} == {30}
    assert (record.final.valid_error * 50) % 1 == pytest.approx(0, abs=1e-4)
    assert not list(checks.differences(record, store))
    whole = record.model_copy(update={"spec": towers.with_(recipe={"epochs": 1})})
    assert any("predictions" in text for text in checks.differences(whole, store))


def test_nearest_is_what_the_distances_say():
    generator = torch.Generator().manual_seed(0)
    queries, candidates = (torch.randn(n, 8, generator=generator) for n in (7, 50))
    expected = torch.cdist(queries, candidates).topk(6, largest=False).indices
    assert torch.equal(evaluation.nearest(queries, candidates), expected)


def test_the_images_nearer_in_pixels_are_counted_at_every_place(monkeypatch):
    monkeypatch.setattr(evaluation, "BLOCK", 20)  # 50 images in three parts
    queries, candidates = (np.random.default_rng(n).integers(0, 256, (n, 4, 4, 3), np.uint8) for n in (7, 50))
    flat = [images.reshape(len(images), -1).astype(float) for images in (queries, candidates)]
    order = np.square(flat[0][:, None] - flat[1]).sum(2).argsort(1)
    found = evaluation.nearer_in_pixels(queries, candidates, candidates[order[:, [0, 3, 49]]])
    assert found == pytest.approx(np.tile([0, 3 / 50, 49 / 50], (7, 1)))


def test_runners_up_of_the_true_kind_are_counted_against_a_random_order():
    cat, frog, deer, horse, ship, truck = (CLASSES.index(n) for n in ("cat", "frog", "deer", "horse", "ship", "truck"))
    ranked = np.array([[cat, frog, deer, horse, ship], [ship, truck, cat, frog, deer]])
    labels = np.array([cat, truck])
    share, chance = evaluation.runner_up_kind(ranked, labels, CLASSES)
    assert share == pytest.approx((3 + 1) / 8)
    # A cat leaves five other animals among nine classes; the truck taken for a ship leaves three vehicles among nine.
    assert chance == pytest.approx((5 / 9 + 3 / 9) / 2)


def test_a_random_order_gives_the_chance_it_is_measured_against():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, 20_000)
    ranked = np.argsort(generator.random((20_000, 10)), axis=1)[:, :5]
    share, chance = evaluation.runner_up_kind(ranked, labels, CLASSES)
    assert share == pytest.approx(chance, abs=0.01)


def test_a_record_holds_all_that_was_asked_for(record: RunRecord, towers: RunSpec, tmp_path: Path) -> None:
    assert record.learned is not None
    assert all(value is not None for value in record.learned.model_dump().values())
    assert all(epoch.clean_train_loss is not None for epoch in record.history)
    arrays = Store(tmp_path).predictions(record)
    assert {"ranked", "feature_neighbours", "maps_conv1", "maps_conv5", "first_kernels"} <= arrays.keys()
    assert arrays["ranked"][:, 0].tolist() == arrays["predicted"].tolist()
    probabilities = arrays["ranked_probability"].astype(float)
    assert np.all(np.diff(probabilities, axis=1) <= 0)
    assert np.all(probabilities.sum(axis=1) <= 1.01)
    assert not list(checks.differences(record, Store(tmp_path))), "the audit derives every figure again"


def test_neighbours_come_from_the_training_split(record: RunRecord, tmp_path: Path) -> None:
    split = split_of("cifar10")
    train, valid = split.train, split.valid
    for kind in ("feature", "pixel"):
        places = Store(tmp_path).predictions(record)[f"{kind}_neighbours"]
        assert places.shape == (small.TEST, 6)
        assert set(places.ravel().tolist()) <= set(train.tolist())
        assert not set(places.ravel().tolist()) & set(valid.tolist())


def test_pixel_neighbours_are_the_nearest_images(record: RunRecord, tmp_path: Path) -> None:
    split = split_of("cifar10")
    dataset, train = split.dataset, split.train
    query = dataset.test_images[3].astype(np.float64)
    distances = np.square(dataset.train_images[train].astype(np.float64) - query).sum(axis=(1, 2, 3))
    expected = train[np.argsort(distances)[:6]]
    assert Store(tmp_path).predictions(record)["pixel_neighbours"][3].tolist() == expected.tolist()


@pytest.mark.parametrize("name", ["feature_neighbours_share", "runner_up_kind", "ten_crop_error", "tower_colour"])
def test_the_audit_catches_a_figure_that_was_altered(
    record: RunRecord, tmp_path: Path, name: str, bad_input: None
) -> None:
    assert record.learned is not None
    altered = record.learned.model_copy(update={name: getattr(record.learned, name) + 0.01})
    found = list(checks.differences(record.model_copy(update={"learned": altered}), Store(tmp_path)))
    assert [text for text in found if f"learned: {name}" in text]


def test_measuring_changes_nothing_of_the_training(towers: RunSpec, record: RunRecord, tmp_path: Path) -> None:
    plain = execution.execute(towers.with_(measured="errors"), Store(tmp_path), precision="float32")
    assert plain.weights_sha256 == record.weights_sha256
    assert plain.final.test_error == record.final.test_error
    assert plain.learned is None
    assert plain.final.clean_train_error is None


def test_clean_training_loss_has_dropout_off_and_centre_crops(towers: RunSpec) -> None:
    learn = learner(towers, precision="float32", progress=False)
    learn.fit(1)
    row = learn.history.rows[-1]
    learn.model.eval()
    clean = prepare(towers, CPU).clean_training()
    with torch.no_grad():
        pairs = [(learn.model(images), labels) for images, labels in clean]
    scores, labels = torch.cat([s for s, _ in pairs]), torch.cat([y for _, y in pairs])
    assert row["clean_train_loss"] == pytest.approx(torch.nn.functional.cross_entropy(scores, labels).item(), rel=1e-4)
    assert row["clean_train_error"] == pytest.approx((scores.argmax(1) != labels).float().mean().item())


# --- colour of the first layer's kernels ------------------------------------------------------------------------


def grey(count: int) -> np.ndarray:
    return np.repeat(np.random.default_rng(1).normal(size=(count, 1, 5, 5)), 3, axis=1)


def coloured(count: int) -> np.ndarray:
    """Kernels whose channels add up to nothing."""
    kernels = np.random.default_rng(2).normal(size=(count, 3, 5, 5))
    return kernels - kernels.mean(axis=1, keepdims=True)


def test_selectivity_is_the_share_of_energy_that_is_colour():
    assert colour_selectivity(grey(4)) == pytest.approx(np.zeros(4), abs=1e-15)
    assert colour_selectivity(coloured(4)) == pytest.approx(np.ones(4))
    one = np.zeros((1, 3, 1, 1))
    one[0, 0] = 3.0  # red alone: grey part 1, 1, 1 has a third of the energy
    assert colour_selectivity(one) == pytest.approx([2 / 3])
    assert colour_selectivity(np.zeros((1, 3, 2, 2))) == pytest.approx([0.0])


def test_white_noise_has_two_thirds_of_its_energy_in_colour():
    noise = np.random.default_rng(3).normal(size=(2000, 3, 5, 5))
    assert colour_selectivity(noise).mean() == pytest.approx(2 / 3, abs=0.01)


def test_towers_that_share_out_colour_stand_out_from_random_halves():
    towers, halves = colour_separation(np.concatenate([grey(12), coloured(12)]))
    assert towers == pytest.approx(1.0)
    assert halves < 0.3
    assert tower_means(np.concatenate([grey(12), coloured(12)])) == pytest.approx((0.0, 1.0))
    mixed = np.concatenate([grey(6), coloured(6), grey(6), coloured(6)])
    towers, same = colour_separation(mixed)
    assert towers == pytest.approx(0.0, abs=1e-12)
    assert same == pytest.approx(halves, abs=0.02), "the halves do not depend on the order"
    assert colour_separation(mixed) == (towers, same), "the draw is fixed, so an audit derives the same figure"
