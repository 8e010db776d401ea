"""A run's spec -> all that it stands for: data set, splits, statistics, batches and network, looked up once.

Who starts a run prepares it and hands what was prepared down: to the learner, the evaluation and the probe.
"""

import functools
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..data import datasets, weights
from ..data.datasets import Dataset
from ..networks import models
from ..records.specs import RunSpec
from . import features, machine
from .batches import WEIGHTS_STREAM, Batches, Images, Loaders, check_filled, seed_of
from .features import FeatureRows
from .preparation import Preparation, Statistics, imagenet_statistics

SUBSET_SEED = 2012
WEIGHTS = "imagenet_weights"  # their name among the hashes of a record
AT_ONCE = 500  # images of a batch that is looked at and not trained on


@functools.lru_cache(maxsize=2)
def dataset_of(name: str) -> Dataset:
    """A verified data set, loaded once a process."""
    return datasets.load(name)


@functools.lru_cache(maxsize=4)
def images_of(dataset: Dataset, part: str, device: torch.device) -> Images:
    """The train or test images of a data set in a device's memory."""
    pixels, labels = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
    return Images.of(pixels, labels, dataset.classes, device)


@dataclass(frozen=True)
class Split:
    """The images of a data set that a run uses, as int64 places. What takes time is done when it is asked for."""

    dataset: Dataset
    train_size: int | None = None  # of a stratified subset; None: all that are not held back
    draw: int = 0  # another number, another subset
    valid_size: int | None = None
    test_size: int | None = None

    @cached_property
    def _all_train_and_valid(self) -> tuple[np.ndarray, np.ndarray]:
        return datasets.split(self.dataset.train_labels, self.valid_size)

    @cached_property
    def train(self) -> np.ndarray:
        """Places of the training images among those of the official training set."""
        every, _ = self._all_train_and_valid
        return every if self.train_size is None else self.part(every, self.train_size, SUBSET_SEED + self.draw)

    @property
    def valid(self) -> np.ndarray:
        """Places of the validation images among those of the official training set."""
        return self._all_train_and_valid[1]

    @property
    def test_labels(self) -> np.ndarray:
        """The labels uint8 [N] of the test images."""
        return self.dataset.test_labels[: self.test_size]

    @cached_property
    def statistics(self) -> Statistics:
        """Of the pixels of the training images."""
        return Statistics.of(self.dataset.train_images[self.train])

    def part(self, places: np.ndarray, size: int, seed: int = SUBSET_SEED) -> np.ndarray:
        """So many of the places, every class in proportion."""
        return datasets.subset(places, self.dataset.train_labels, size, seed)


@functools.lru_cache(maxsize=8)
def split_of(
    name: str,
    train_size: int | None = None,
    draw: int = 0,
    valid_size: int | None = None,
    test_size: int | None = None,
) -> Split:
    """A data set's split, kept for the next who asks."""
    return Split(dataset_of(name), train_size, draw, valid_size, test_size)


def split_for(spec: RunSpec) -> Split:
    """The same for the images of a run."""
    images = spec.images
    draw = 1 + spec.seed if images.subset == "own" else 0
    return split_of(spec.dataset, images.train_size, draw, images.valid_size, images.test_size)


class Beginning(NamedTuple):
    """A fresh network on the CPU and its first batch."""

    model: nn.Sequential  # the whole network, even if a part of it is frozen
    places: Tensor  # int64 [N], of the batch's images in the training set
    images: Tensor  # float32 [N, C, S, S]
    labels: Tensor  # int64 [N]


@dataclass(frozen=True)
class Prepared:
    """A run with what its spec stands for. Where layers stay frozen, batches hold their features instead of images:
    training a classifier on them gives the same whether the layers run in every epoch or once."""

    spec: RunSpec
    split: Split
    device: torch.device
    precision: str

    @cached_property
    def preparation(self) -> Preparation:
        """How images become the network's input."""
        images = self.spec.images
        if images.scaling == "imagenet":
            original = self.split.dataset.train_images.shape[1]
            return Preparation(images, imagenet_statistics(original), self.device)
        return Preparation(images, self.split.statistics, self.device)

    @property
    def hashes(self) -> dict[str, str]:
        """Of all data that the run uses."""
        own = {WEIGHTS: weights.imagenet().sha256} if self.spec.transfer is not None else {}
        return self.split.dataset.hashes | own

    @property
    def images_an_epoch(self) -> int:
        """Training images that an epoch sees: the last, incomplete batch is dropped."""
        size = self.spec.recipe.batch_size
        return len(self.split.train) // size * size

    def network(self) -> nn.Sequential:
        """The whole network before training. Parameters of layers that stay frozen want no gradient.

        Raises `SpecError` when the network cannot take ImageNet's weights.
        """
        model = models.build(self.spec.net, self.spec.side, seed_of(WEIGHTS_STREAM, self.spec.seed))
        if self.spec.transfer is not None:
            weights.put(weights.imagenet().arrays, model)
        if self.spec.frozen:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(not name.startswith("conv"))
        return model

    def trained_part(self) -> nn.Sequential:
        """The layers that training runs through: all, or those after the frozen ones."""
        layers = list(self.network().named_children())
        frozen = [name for name, _ in layers].index(features.LAST_LAYER) + 1 if self.spec.frozen else 0
        return nn.Sequential(OrderedDict(layers[frozen:]))

    def whole(self, trained: nn.Module) -> nn.Module:
        """The network from the image on: with the frozen layers, where only those after them were trained."""
        if not self.spec.frozen:
            return trained
        complete = self.network()
        complete.load_state_dict({name: w.cpu() for name, w in trained.state_dict().items()}, strict=False)
        return complete

    def _seen(self, part: str) -> tuple[Images, Preparation]:
        """What the network is given of the train or test images, and what makes a batch of it."""
        dataset, flip = self.split.dataset, self.spec.images.flip and part == "train"
        if not self.spec.frozen:
            return images_of(dataset, part, self.device), self.preparation
        plain = features.rows_of(dataset, part, False, self.precision, self.device)
        reflected = features.rows_of(dataset, part, True, self.precision, self.device) if flip else None
        statistics = self.preparation.statistics
        lookup = FeatureRows(self.spec.images, statistics, self.device, plain=plain, reflected=reflected)
        labels = torch.as_tensor(np.array(getattr(dataset, f"{part}_labels"), dtype=np.int64), device=self.device)
        return Images(torch.arange(len(labels), device=self.device), labels, dataset.classes), lookup

    def loaders(self) -> Loaders:
        """Training and validation batches; training drops the last, incomplete batch."""
        images, preparation = self._seen("train")
        valid = Batches(images, preparation, bs=AT_ONCE, indices=self.split.valid)
        return Loaders(self._training(images, preparation), valid, device=self.device)

    def _training(self, images: Images, preparation: Preparation) -> Batches:
        """The training batches of what the network is given."""
        size, seed = self.spec.recipe.batch_size, self.spec.seed
        return Batches(images, preparation, size, self.split.train, shuffle=True, drop_last=True, seed=seed)

    def test(self) -> Batches:
        """The test images in their own order, centre crops."""
        images, preparation = self._seen("test")
        return Batches(images, preparation, bs=AT_ONCE, indices=torch.arange(len(images))[: self.split.test_size])

    def clean_training(self, most: int | None = None) -> Batches:
        """The training images in the order of their places, centre crops without augmentation; or a stratified part."""
        train = self.split.train
        if most is not None and most < len(train):
            train = self.split.part(train, most)
        return Batches(*self._seen("train"), bs=AT_ONCE, indices=torch.from_numpy(train))

    def beginning(self, model: nn.Sequential | None = None, count: int | None = None) -> Beginning:
        """What the run begins with: it depends neither on the device nor on the precision. The network is not built
        where one like it is given, and of the first batch only the first `count` images are prepared, if it is."""
        cpu = replace(self, device=torch.device("cpu"))
        images = images_of(self.split.dataset, "train", cpu.device)
        training = cpu._training(images, cpu.preparation)
        training = training.new(bs=min(count or training.bs, training.bs))
        places, _ = training.order(epoch=0)
        return Beginning(model or self.network(), places[: training.bs], *training.one_batch())


def prepare(spec: RunSpec, device: torch.device | None = None, precision: str | None = None) -> Prepared:
    """A run ready to be trained: on the GPU if there is one, in what the hardware is fast at, unless told otherwise.

    Raises `SpecError` when its images do not fill a batch, before statistics or features take minutes.
    """
    split = split_for(spec)
    check_filled(len(split.train), spec.recipe.batch_size)
    return Prepared(spec, split, device or machine.default_device(), precision or machine.default_precision())
