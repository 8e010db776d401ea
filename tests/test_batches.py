"""Batches: everything random is drawn from (seed, epoch), and fast paths equal their plain definitions."""

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.errors import SpecError
from alexnet.records.specs import ImageSpec
from alexnet.training.batches import seed_of
from alexnet.training.preparation import Draws, Preparation, Statistics, resizing_matrix
from alexnet.training.prepared import prepare, split_of

CPU = torch.device("cpu")


def statistics(side: int = 8) -> Statistics:
    generator = torch.Generator().manual_seed(1)
    return Statistics(
        mean_image=torch.rand(side, side, 3, generator=generator) * 255,
        spread=50.0,
        channel_mean=torch.tensor([120.0, 110.0, 100.0]),
        channel_std=torch.tensor([60.0, 61.0, 62.0]),
        colour_axes=torch.rand(3, 3, generator=generator) * 10,
    )


def pixels(count: int = 5, side: int = 8) -> Tensor:
    return torch.randint(0, 256, (count, side, side, 3), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


def plainly(spec: ImageSpec, images: Tensor, draws: Draws) -> Tensor:
    """The definition, image by image: scale, colour, resize, pad, crop, reflect."""
    found = statistics(images.shape[1])
    made = []
    for i, image in enumerate(images):
        x = image.float()
        if spec.scaling == "standardised":
            x, scale = x - found.channel_mean, 1 / found.channel_std
        else:
            x, scale = x - found.mean_image, torch.tensor(1 / found.spread if spec.scaling.endswith("unit") else 1.0)
        if draws.colours is not None:
            x = x + found.colour_axes @ draws.colours[i]
        x = (x * scale).permute(2, 0, 1)
        if spec.resize:
            x = F.interpolate(x[None], size=spec.resize, mode="bilinear", align_corners=False)[0]
        x = F.pad(x, (spec.padding,) * 4)
        side = spec.side(images.shape[1])
        row, column = int(draws.rows[i]), int(draws.columns[i])
        x = x[:, row : row + side, column : column + side]
        made.append(x.flip(2) if draws.flips is not None and draws.flips[i] else x)
    return torch.stack(made)


SPECS = [
    ImageSpec(),
    ImageSpec(scaling="mean-image"),
    ImageSpec(scaling="standardised", flip=True),
    ImageSpec(crop=6, flip=True, colour=0.1),
    ImageSpec(padding=2, crop=8, flip=True, scaling="standardised", colour=0.5),
    ImageSpec(resize=13, crop=11, flip=True),
    ImageSpec(resize=19, scaling="mean-image", colour=0.1),
    ImageSpec(resize=5, padding=1, crop=6),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_preparation_equals_its_definition(spec: ImageSpec) -> None:
    prepare, images = Preparation(spec, statistics(), CPU), pixels()
    generator = torch.Generator().manual_seed(3)
    views = [prepare.draw(5, generator), prepare.centre(5), *prepare.ten_crops(5)]
    for draws in views:
        made = prepare(images, draws)
        assert made.shape == (5, 3, prepare.side, prepare.side)
        assert made.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(made, plainly(spec, images, draws), rtol=1e-5, atol=1e-4)


def test_ten_crops_are_four_corners_and_the_centre_with_reflections() -> None:
    prepare = Preparation(ImageSpec(crop=6), statistics(), CPU)
    places = {(int(d.rows[0]), int(d.columns[0]), d.flips is not None) for d in prepare.ten_crops(1)}
    assert places == {(r, c, f) for r, c in [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)] for f in (False, True)}


def test_random_crops_reach_every_place_and_half_are_reflected() -> None:
    draws = Preparation(ImageSpec(crop=6, flip=True), statistics(), CPU).draw(2000, torch.Generator().manual_seed(0))
    assert set(draws.rows.tolist()) == set(draws.columns.tolist()) == {0, 1, 2}
    assert draws.flips is not None
    assert 0.45 < draws.flips.float().mean() < 0.55


def test_options_share_their_draws() -> None:
    """Arms that differ in one option see the same crops and reflections: pairs stay pairs."""
    full = Preparation(ImageSpec(crop=6, flip=True, colour=0.1), statistics(), CPU)
    plain = Preparation(ImageSpec(crop=6, flip=True), statistics(), CPU)
    one, other = (p.draw(50, torch.Generator().manual_seed(4)) for p in (full, plain))
    assert torch.equal(one.rows, other.rows)
    assert one.flips is not None
    assert other.flips is not None
    assert torch.equal(one.flips, other.flips)
    assert one.colours is not None
    assert other.colours is None


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(SpecError, match="does not fit"):
        Preparation(ImageSpec(crop=9), statistics(), CPU)


def test_resizing_matrix_rows_sum_to_one() -> None:
    matrix = resizing_matrix(32, 227)
    torch.testing.assert_close(matrix.sum(1), torch.ones(227))


def test_seeds_of_different_streams_differ() -> None:
    found = {seed_of(stream, seed, epoch) for stream in (1, 2, 3) for seed in range(20) for epoch in range(20)}
    assert len(found) == 3 * 20 * 20


def test_statistics_are_those_of_the_training_split(small_data: None) -> None:
    split = split_of("cifar10")
    images = split.dataset.train_images[split.train].astype(np.float64)
    found = split.statistics
    np.testing.assert_allclose(found.mean_image, images.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.spread, (images - images.mean(0)).std(), rtol=1e-5)
    np.testing.assert_allclose(found.channel_mean, images.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.channel_std, images.std((0, 1, 2)), rtol=1e-4)
    covariance = np.cov(images.reshape(-1, 3).T, bias=True)
    np.testing.assert_allclose(found.colour_axes @ found.colour_axes.T, covariance, rtol=1e-3, atol=1e-2)


def test_epochs_differ_and_repeat(small_data: None) -> None:
    training = prepare(small.spec(), CPU).loaders().train
    first, again = training.order(0)[0], training.order(0)[0]
    assert torch.equal(first, again)
    assert not torch.equal(first, training.order(1)[0])
    assert torch.equal(first.sort().values, training.order(1)[0].sort().values)
    other = prepare(small.spec(seed=1), CPU).loaders().train
    assert not torch.equal(first, other.order(0)[0])


def test_an_epoch_visits_every_image_once_but_the_last_incomplete_batch(small_data: None) -> None:
    loaders = prepare(small.spec(), CPU).loaders()
    seen = [labels for _, labels in loaders.train]
    assert len(seen) == len(loaders.train) == 600 // 64
    assert {len(labels) for labels in seen} == {64}
    validation = torch.cat([labels for _, labels in loaders.valid])
    assert len(validation) == small.VALIDATION
    assert torch.equal(validation.bincount(), torch.full((10,), small.VALIDATION // 10))


def test_training_validation_and_test_images_are_apart(small_data: None) -> None:
    loaders = prepare(small.spec(), CPU).loaders()
    train, valid = set(loaders.train.indices.tolist()), set(loaders.valid.indices.tolist())
    assert not train & valid
    assert len(train | valid) == 800
    assert len(prepare(small.spec(), CPU).test().dataset) == small.TEST


@pytest.mark.parametrize(("size", "left"), [(50, 600), (200, 600), (400, 400)])
def test_fewer_validation_images_leave_training_as_it_is_and_more_are_held_back(
    small_data: None, size: int, left: int
) -> None:
    usual = prepare(small.spec(), CPU).loaders()
    loaders = prepare(small.spec(images={"valid_size": size, "test_size": 30}), CPU).loaders()
    train, valid = set(loaders.train.indices.tolist()), set(loaders.valid.indices.tolist())
    assert (len(train), len(valid)) == (left, size) and not train & valid
    assert (train == set(usual.train.indices.tolist())) == (size <= small.VALIDATION)
    assert size > small.VALIDATION or valid <= set(usual.valid.indices.tolist())
    counts = loaders.valid.dataset.labels[loaders.valid.indices].bincount()
    assert torch.equal(counts, torch.full((10,), size // 10))
    with_subset = prepare(small.spec(images={"valid_size": size, "train_size": 300}), CPU).loaders().train.indices
    assert len(with_subset) == 300 and set(with_subset.tolist()) <= train


def test_a_larger_validation_split_is_no_part_of_the_statistics(small_data: None) -> None:
    dataset = small.dataset()
    spec = small.spec(images={"valid_size": 400})
    expected = dataset.train_images[prepare(spec, CPU).split.train].mean(0)
    np.testing.assert_allclose(prepare(spec, CPU).preparation.statistics.mean_image, expected, rtol=1e-5)


def test_a_run_that_reads_the_first_test_images_predicts_what_one_that_reads_all_does(small_data: None) -> None:
    spec = small.spec(images={"test_size": 30})
    assert prepare(spec, CPU).test().indices.tolist() == list(range(30))
    assert prepare(spec, CPU).split.test_labels.tolist() == small.dataset().test_labels[:30].tolist()
