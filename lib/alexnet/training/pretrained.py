"""Networks that start with ImageNet's convolutional layers, and batches for a classifier that is trained alone.

Training a classifier on frozen layers gives the same whether the layers run in every epoch or once: the batches here
have the order and the reflections that `alexnet.training.batches` gives a run, but hold features instead of images.
"""

import functools
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import torch
from fastai.data.core import DataLoaders
from torch import Tensor, nn

from ..data import datasets, weights
from ..errors import SpecError
from ..networks import models
from ..records.specs import NetSpec, RunSpec
from . import batches, features
from .batches import PIXELS, WEIGHTS_STREAM, Batches, Draws, Images, Preparation, imagenet_statistics, seed_of

WEIGHTS = "imagenet_weights"  # their name among the hashes of a record
LOWEST = ("conv1", "conv2")  # what is unfrozen last


def build(spec: RunSpec, side: int) -> nn.Sequential:
    """The whole network of a run before training. Parameters of layers that stay frozen want no gradient.

    Raises `SpecError` when the network cannot take ImageNet's weights.
    """
    model = models.build(spec.net, side, seed_of(WEIGHTS_STREAM, spec.seed))
    if spec.transfer is not None:
        weights.put(weights.imagenet().arrays, model)
    if spec.frozen:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith("conv"))
    return model


def trained_part(spec: RunSpec, side: int) -> nn.Sequential:
    """The layers that training runs through: all, or those after the frozen ones."""
    model = build(spec, side)
    if not spec.frozen:
        return model
    layers = list(model.named_children())
    frozen = [name for name, _ in layers].index(features.LAST_LAYER) + 1
    return nn.Sequential(OrderedDict(layers[frozen:]))


def groups(model: nn.Sequential) -> list[list[nn.Parameter]]:
    """fastai splitter: conv1 and conv2, conv3 to conv5, the classifier."""
    found: list[list[nn.Parameter]] = [[], [], []]
    for name, parameter in model.named_parameters():
        group = 2 if not name.startswith("conv") else 0 if name.startswith(LOWEST) else 1
        found[group].append(parameter)
    return found


def multiply_adds(spec: RunSpec) -> int:
    """Multiply-adds of one forward pass for one image, through the layers that run in every epoch."""
    side = batches.side_of(spec)
    if not spec.frozen:
        return models.multiply_adds(spec.net, side)
    return _classifier_size(spec.net, side)


@functools.lru_cache(maxsize=16)
def _classifier_size(net: NetSpec, side: int) -> int:
    """Weights and biases behind the convolutional layers; none are drawn."""
    with torch.device("meta"):
        model = models.build(net, side)
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith("conv"))


def hashes(spec: RunSpec) -> dict[str, str]:
    """What a run uses besides its data set."""
    return {WEIGHTS: weights.imagenet().sha256} if spec.transfer is not None else {}


@dataclass
class FeatureRows(Preparation):
    """Places in a data set [B] -> float32 features [B, 9216], of the images or of their reflections."""

    plain: "Rows" = field(kw_only=True)
    reflected: "Rows | None" = field(default=None, kw_only=True)

    def read(self, source: object) -> np.ndarray:
        """Refused: there are no features of images that are not in the data set."""
        raise SpecError("This network is given features of frozen layers, no images; unfreeze them to predict images.")

    def __call__(self, places: Tensor, draws: Draws) -> Tensor:
        """Look a batch up."""
        found = self.plain[places]
        if draws.flips is not None and self.reflected is not None:
            found[draws.flips] = self.reflected[places[draws.flips]]
        return found


class Rows:
    """Feature rows by place: read from the memory-mapped file on the CPU, held in memory on a GPU."""

    def __init__(self, values: np.ndarray, device: torch.device):
        self.values = values
        self.held = torch.from_numpy(np.array(values)).to(device) if device.type != "cpu" else None

    def __getitem__(self, places: Tensor) -> Tensor:
        if self.held is not None:
            return self.held.index_select(0, places).float()
        return torch.from_numpy(self.values[places.numpy()]).float()


@functools.lru_cache(maxsize=4)
def _rows(name: str, part: str, flip: bool, precision: str, device: torch.device) -> Rows:
    return Rows(features.of_part(datasets.load(name), part, flip, precision).values, device)


def _feature_rows(spec: RunSpec, part: str, precision: str, device: torch.device) -> tuple[Images, FeatureRows]:
    """The places of a part of the data set in the form of images, and what looks their features up."""
    dataset, _, _ = batches.split_for(spec)
    labels = torch.as_tensor(np.array(getattr(dataset, f"{part}_labels"), dtype=np.int64), device=device)
    images = Images(torch.arange(len(labels), device=device), labels, dataset.classes)
    reflected = _rows(spec.dataset, part, True, precision, device) if spec.images.flip and part == "train" else None
    plain = _rows(spec.dataset, part, False, precision, device)
    statistics = imagenet_statistics(PIXELS[spec.dataset])
    return images, FeatureRows(spec.images, statistics, device, plain=plain, reflected=reflected)


def loaders(spec: RunSpec, device: torch.device, precision: str) -> DataLoaders:
    """Training and validation batches of a run: features where its layers are frozen, else images."""
    if not spec.frozen:
        return batches.loaders(spec, device)
    batches.check_filled(len(batches.split_for(spec)[1]), spec.recipe.batch_size)  # before features take minutes
    return batches.loaders(spec, device, *_feature_rows(spec, "train", precision, device))


def test_batches(spec: RunSpec, device: torch.device, precision: str) -> Batches:
    """The run's test images in their own order, as `loaders` has them."""
    if not spec.frozen:
        return batches.test_batches(spec, device)
    images, rows = _feature_rows(spec, "test", precision, device)
    return Batches(images, rows, bs=500, indices=torch.arange(len(images))[: spec.images.test_size])
