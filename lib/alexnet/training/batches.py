"""uint8 images in memory -> augmented float batches, as fastai DataLoaders.

Images stay uint8 [N, H, W, C] on the training device and become float only as a batch. Everything random about an
epoch (order, crops, reflections, colour) is drawn at its start from (seed, epoch), on the CPU: runs that share a seed
see the same images in the same order, on every device, and a resumed run needs no generator state.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from fastai.data.core import DataLoaders, TfmdDL
from fastai.data.transforms import Category, CategoryMap
from fastai.torch_core import TensorCategory, TensorImage
from torch import Tensor
from torch.utils.data import Subset

from ..errors import DataError, SpecError
from .preparation import Preparation

WEIGHTS_STREAM, ORDER_STREAM, DROPOUT_STREAM = 1, 2, 3  # what a run's seed is used for, each its own random stream


def seed_of(*numbers: int) -> int:
    """One generator seed from several numbers, such as a run's seed and an epoch, without collisions in practice."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def check_filled(images: int, batch_size: int) -> None:
    """Raises `SpecError` when there are fewer images than a batch: training drops the last, incomplete batch."""
    if images < batch_size:
        raise SpecError(
            f"{images} training images do not fill a batch of {batch_size}; "
            f"make the batch smaller (recipe.batch_size) or train on more images (images.train_size)."
        )


@dataclass
class Images:
    """Labelled images in memory: uint8 [N, H, W, C] and int64 [N], on one device."""

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    labelled: bool = True  # False for images to be predicted: their labels mean nothing

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.pixels[index], self.labels[index]

    @property
    def vocab(self) -> CategoryMap:
        """The classes as fastai wants them."""
        return CategoryMap(self.classes, sort=False)

    @property
    def c(self) -> int:
        """How many classes there are, by the name fastai has for it."""
        return len(self.classes)

    def decode(self, item: tuple, full: bool = True) -> tuple:
        """An item of a batch with the name of its class in the place of the label, for fastai to show."""
        image, *labels = item
        return image, *(Category(self.classes[label]) for label in labels)

    def new_empty(self) -> "Images":
        """The same without images, as fastai exports it."""
        return replace(self, pixels=self.pixels[:0].clone(), labels=self.labels[:0].clone())  # a view would keep all

    @classmethod
    def of(cls, pixels: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], device: torch.device) -> "Images":
        """Copy arrays to the device; grey images are repeated over three channels."""
        pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else np.array(pixels)
        to = functools.partial(torch.as_tensor, device=device)
        return cls(to(pixels), to(np.array(labels, dtype=np.int64)), tuple(classes))


class Batches(TfmdDL):
    """A fastai DataLoader over images in memory that prepares whole batches at once.

    Raises `SpecError` when `drop_last` would leave no batch.
    """

    dataset: Any  # `Images`, or in a subclass what stands for them
    n_inp = 1  # an image is all that a network is given

    def __init__(
        self,
        dataset: Images,  # all images, of which `indices` are used
        preparation: Preparation,
        bs: int = 128,
        indices: Tensor | np.ndarray | None = None,  # int64 [n], places in the data set
        shuffle: bool = False,  # a new order each epoch; also switches random augmentation on
        drop_last: bool = False,
        seed: int = 0,
    ):
        indices = torch.arange(len(dataset)) if indices is None else torch.as_tensor(indices)
        if drop_last:
            check_filled(len(indices), bs)
        options = {"bs": bs, "shuffle": shuffle, "drop_last": drop_last, "device": preparation.device}
        super().__init__(dataset, n=len(indices), num_workers=0, **options)
        self.preparation, self.indices, self.seed, self.epoch = preparation, indices, seed, 0
        self.augmented = shuffle

    @property
    def items(self) -> list[tuple[Tensor, Tensor]]:
        """The images with their labels, in the order of `indices`, as fastai asks for some of them by position."""
        return [self.dataset[place] for place in self.indices.tolist()]

    def _positions(self, epoch: int) -> tuple[Tensor, torch.Generator]:
        generator = torch.Generator().manual_seed(seed_of(ORDER_STREAM, self.seed, epoch))
        return torch.randperm(self.n, generator=generator) if self.shuffle else torch.arange(self.n), generator

    def order(self, epoch: int) -> tuple[Tensor, torch.Generator]:
        """The places [n] in the data set that an epoch visits, and the generator for its augmentation."""
        positions, generator = self._positions(epoch)
        return self.indices[positions], generator

    def get_idxs(self) -> list[int]:
        """Positions in `indices` in the order of iteration, as fastai wants them to put predictions back in order."""
        return self._positions(self.epoch)[0].tolist()

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        places, generator = self.order(self.epoch)
        draws = self.preparation.draw(self.n, generator) if self.augmented else self.preparation.centre(self.n)
        places = places.to(self.device)
        for start in range(0, len(self) * self.bs, self.bs):
            batch = slice(start, min(start + self.bs, self.n))
            chosen = places[batch]
            images = self.preparation(self.dataset.pixels.index_select(0, chosen), draws.part(batch))
            yield (images, self.dataset.labels.index_select(0, chosen)) if self.dataset.labelled else (images,)

    def first_batch(self) -> tuple[Tensor, ...]:
        """The first batch of the first epoch, as the probe has it."""
        self.epoch = 0
        return self.one_batch()

    def new(self, dataset: Images | Sequence | None = None, cls: type | None = None, **changes: object) -> "Batches":
        """A copy with other options, or of other images, as fastai asks for when it predicts or shows.

        Images to predict are paths, Pillow images or arrays, each alone or in a pair with its label; they come in
        their order. Raises `DataError` for what is no image. Only batches that are augmented and stay shuffled are
        augmented.
        """
        fields = {"bs": self.bs, "indices": self.indices, "shuffle": self.shuffle, "drop_last": self.drop_last}
        if dataset is not None:
            dataset = dataset if isinstance(dataset, Images) else self._read(dataset)
            fields |= {"indices": None, "shuffle": False, "drop_last": False}
        known = {name: value for name, value in changes.items() if name in fields}
        options = {"seed": self.seed, **fields, **known}
        copy = Batches(self.dataset if dataset is None else dataset, self.preparation, **options)
        copy.epoch, copy.augmented = self.epoch, self.augmented and copy.shuffle
        return copy

    def _read(self, items: Sequence) -> Images:
        """Images to predict, without labels unless each comes in a pair with its own."""
        if not len(items):
            raise DataError("There are no images to predict: the list is empty.")
        labelled = all(isinstance(item, tuple) for item in items)
        pixels = np.stack([self.preparation.read(item[0] if isinstance(item, tuple) else item) for item in items])
        labels = np.array([int(item[1]) if labelled else -1 for item in items])
        found = Images.of(pixels, labels, self.dataset.classes, self.device)
        return replace(found, labelled=labelled)

    def to(self, device: torch.device | str) -> None:
        """Move the images, and prepare them there."""
        super().to(device)
        if self.device != self.preparation.device:
            images = self.dataset
            self.dataset = replace(images, pixels=images.pixels.to(device), labels=images.labels.to(device))
            self.preparation = replace(self.preparation, device=self.device)

    def decode(self, batch: tuple) -> tuple:
        """Float images [B, C, S, S] and their labels as fastai shows them: each image brought to 0..1 by its range."""
        images, *labels = (part.detach().cpu() for part in batch)
        if images.dim() != 4:
            raise SpecError("This network is given features of frozen layers, which are no pictures to be shown.")
        images = images.float()
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        return TensorImage((images - low) / (high - low).clamp(min=1e-6)), *map(TensorCategory, labels)


class Loaders(DataLoaders):
    """Training and validation batches."""

    def to(self, device: torch.device | str) -> "Loaders":
        """Move all images, and prepare them there."""
        return super().to(torch.device(device))

    @property
    def train_ds(self) -> Subset:
        """The training images with their labels."""
        return Subset(self.train.dataset, self.train.indices)

    @property
    def valid_ds(self) -> Subset:
        """The validation images with their labels."""
        return Subset(self.valid.dataset, self.valid.indices)

    def add_tfms(self, *arguments: object, **options: object) -> None:
        """Refused: images are prepared in whole batches, as the spec says."""
        raise SpecError("Images are prepared as the spec says: set its images (crop, flip, colour, scaling) instead.")
