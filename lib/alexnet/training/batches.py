"""uint8 images in memory -> augmented float batches, as fastai DataLoaders.

Images stay uint8 [N, H, W, C] on the training device and become float only as a batch. Everything random about an
epoch (order, crops, reflections, colour) is drawn at its start from (seed, epoch), on the CPU: runs that share a seed
see the same images in the same order, on every device, and a resumed run needs no generator state.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fastai.data.core import DataLoaders, TfmdDL
from fastai.data.transforms import Category, CategoryMap
from fastai.torch_core import TensorCategory, TensorImage
from torch import Tensor
from torch.utils.data import Subset

from ..data import datasets, photograph
from ..data.datasets import Dataset
from ..data.photograph import Source
from ..errors import DataError, SpecError
from ..records.specs import ImageSpec, RunSpec

WEIGHTS_STREAM, ORDER_STREAM, DROPOUT_STREAM = 1, 2, 3  # what a run's seed is used for, each its own random stream
PIXELS = {"cifar10": 32, "mnist": 28}  # a side, of each data set's images
SUBSET_SEED = 2012
BOX_TRIES, BOX_AREA, BOX_SHAPE = 10, (0.08, 1.0), math.log(4 / 3)  # of random resized crops: shapes from 3:4 to 4:3
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, of RGB in 0..1


def side_of(spec: RunSpec) -> int:
    """Pixels a side of what a run's network sees. Raises `SpecError` for a crop that does not fit."""
    return spec.images.side(PIXELS[spec.dataset])


@dataclass(frozen=True)
class Statistics:
    """What the training split's pixels are like; nothing of it comes from validation or test images."""

    mean_image: Tensor  # float32 [H, W, C], 0..255
    spread: float  # standard deviation of all pixels less the mean image
    channel_mean: Tensor  # float32 [C]
    channel_std: Tensor  # float32 [C]
    colour_axes: Tensor  # float32 [C, C]: principal components of the RGB values in columns, times their std


@functools.lru_cache(maxsize=4)
def split_of(
    name: str,
    train_size: int | None = None,
    draw: int = 0,  # another number, another subset
    valid_size: int | None = None,
) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """A data set with the indices of its training split (or a stratified subset) and its validation split."""
    dataset = datasets.load(name)
    train, valid = datasets.split(dataset.train_labels, valid_size)
    if train_size is not None:
        train = datasets.subset(train, dataset.train_labels, train_size, SUBSET_SEED + draw)
    return dataset, train, valid


def split_for(spec: RunSpec) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """The same for the images of a run."""
    return split_of(*_split_key(spec))


def check_filled(images: int, batch_size: int) -> None:
    """Raises `SpecError` when there are fewer images than a batch: training drops the last, incomplete batch."""
    if images < batch_size:
        raise SpecError(
            f"{images} training images do not fill a batch of {batch_size}; "
            f"make the batch smaller (recipe.batch_size) or train on more images (images.train_size)."
        )


def test_labels(spec: RunSpec) -> np.ndarray:
    """The labels uint8 [N] of the test images of a run; no subset of the training images is drawn for them."""
    labels: np.ndarray = split_of(spec.dataset)[0].test_labels[: spec.images.test_size]
    return labels


def _split_key(spec: RunSpec) -> tuple[str, int | None, int, int | None]:
    draw = 1 + spec.seed if spec.images.subset == "own" else 0
    return spec.dataset, spec.images.train_size, draw, spec.images.valid_size


@functools.lru_cache(maxsize=4)
def statistics(name: str, train_size: int | None = None, draw: int = 0, valid_size: int | None = None) -> Statistics:
    """Pixel statistics of the training split, accumulated in float64."""
    dataset, train, _ = split_of(name, train_size, draw, valid_size)
    images = dataset.train_images[train]
    mean_image = datasets.mean_image(images)
    squares, outer = 0.0, np.zeros((images.shape[-1],) * 2)
    for chunk in np.array_split(images, max(1, len(images) // 5000)):
        pixels = chunk.astype(np.float32)
        outer += np.einsum("nhwc,nhwd->cd", pixels, pixels, optimize=True)
        squares += float(np.square(pixels - mean_image).sum(dtype=np.float64))
    mean = mean_image.astype(np.float64).mean(axis=(0, 1))
    covariance = outer / (images.size / images.shape[-1]) - np.outer(mean, mean)
    values, axes = np.linalg.eigh(covariance)
    axes *= np.where(axes.sum(axis=0) < 0, -1.0, 1.0)  # else an axis points where the algebra library likes
    return Statistics(
        mean_image=torch.from_numpy(mean_image),
        spread=(squares / images.size) ** 0.5,
        channel_mean=torch.tensor(mean, dtype=torch.float32),
        channel_std=torch.tensor(covariance.diagonal() ** 0.5, dtype=torch.float32),
        colour_axes=torch.tensor(axes * np.sqrt(values.clip(0)), dtype=torch.float32),
    )


def imagenet_statistics(side: int) -> Statistics:
    """torchvision's constants in the place of a training split's statistics, for images of `side` pixels a side."""
    mean, std = torch.tensor(IMAGENET_MEAN) * 255, torch.tensor(IMAGENET_STD) * 255
    return Statistics(mean.expand(side, side, 3).clone(), 1.0, mean, std, colour_axes=torch.zeros(3, 3))


def preparation(spec: RunSpec, device: torch.device) -> "Preparation":
    """How the images of a run are prepared."""
    if spec.images.scaling == "imagenet":
        return Preparation(spec.images, imagenet_statistics(PIXELS[spec.dataset]), device)
    return Preparation(spec.images, statistics(*_split_key(spec)), device)


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


@dataclass
class Draws:
    """The random part of an epoch's augmentation, one row an image: crop corner, reflection, colour coefficients."""

    rows: Tensor  # int64 [N]
    columns: Tensor  # int64 [N]
    flips: Tensor | None  # bool [N]
    colours: Tensor | None  # float32 [N, C]
    boxes: Tensor | None = None  # float32 [N, 4]: top, left, height and width of resized crops, in the image's pixels

    def part(self, chosen: slice) -> "Draws":
        """The draws of one batch."""
        flips = None if self.flips is None else self.flips[chosen]
        colours = None if self.colours is None else self.colours[chosen]
        boxes = None if self.boxes is None else self.boxes[chosen]
        return Draws(self.rows[chosen], self.columns[chosen], flips, colours, boxes)


@dataclass
class Preparation:
    """uint8 batch [B, H, W, C] -> float32 batch [B, C, S, S] in channels-last format (sections 2 and 4.1)."""

    spec: ImageSpec
    statistics: Statistics
    device: torch.device
    _mean: Tensor = field(init=False)
    _scale: Tensor = field(init=False)
    _colour_axes: Tensor = field(init=False)

    def __post_init__(self) -> None:
        statistics, standardised = self.statistics, self.spec.scaling in ("standardised", "imagenet")
        mean = statistics.channel_mean.expand_as(statistics.mean_image) if standardised else statistics.mean_image
        scale = {
            "mean-image": torch.tensor(1.0),
            "mean-image-unit": torch.tensor(1 / statistics.spread),
            "standardised": 1 / statistics.channel_std,
            "imagenet": 1 / statistics.channel_std,
            "unit-range": torch.tensor(1 / 255),
        }[self.spec.scaling]
        if self.spec.scaling == "unit-range":
            mean = torch.zeros_like(mean)
        self._mean, self._scale = mean.to(self.device), scale.to(self.device)
        self._colour_axes = statistics.colour_axes.to(self.device)
        original = mean.shape[0]
        self.side = self.spec.side(original)
        resized = self.spec.resize or original
        self._room = resized + 2 * self.spec.padding - self.side  # pixels by which a crop can be moved
        self._resizing = resizing_matrix(original, resized, self.spec.padding).to(self.device)

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """Random crops, reflections and colours for `count` images. Every option draws, used or not, so that arms
        which differ in one of them share all others."""
        corners = torch.rand(2, count, generator=generator)
        flips = torch.rand(count, generator=generator) < 0.5
        colours = torch.randn(count, self._mean.shape[-1], generator=generator)
        rows, columns = (corners * (self._room + 1)).long().clamp_(max=self._room)
        if self.spec.crops == "centre":
            rows, columns = (torch.full_like(places, self._room // 2) for places in (rows, columns))
        resized = self.spec.crops == "resized"
        return Draws(
            rows.to(self.device),
            columns.to(self.device),
            flips.to(self.device) if self.spec.flip else None,
            (colours * self.spec.colour).to(self.device) if self.spec.colour else None,
            random_boxes(count, self._mean.shape[0], generator).to(self.device) if resized else None,
        )

    def read(self, source: Source) -> np.ndarray:
        """uint8 [H, W, C]: any image, as `photograph.read` takes it, at the size of the data set's."""
        return photograph.read(source).square(self._mean.shape[0], self.statistics.mean_image.shape[-1])

    def centre(self, count: int) -> Draws:
        """The centre crop without reflection, as at test time."""
        return self.fixed(count, self._room // 2, self._room // 2, flip=False)

    def fixed(self, count: int, row: int, column: int, flip: bool) -> Draws:
        """One crop for all images of a batch."""
        full = functools.partial(torch.full, (count,), device=self.device)
        return Draws(full(row), full(column), full(True) if flip else None, None)

    def ten_crops(self, count: int) -> list[Draws]:
        """The four corners and the centre, each with its reflection (section 4.1)."""
        corners = [(0, 0), (0, self._room), (self._room, 0), (self._room, self._room)]
        places = [*corners, (self._room // 2, self._room // 2)]
        return [self.fixed(count, row, column, flip) for row, column in places for flip in (False, True)]

    def __call__(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Scale, colour, resize, crop and reflect a batch."""
        images = (pixels.float() - self._mean) * self._scale
        if draws.colours is not None:
            noise = draws.colours @ self._colour_axes.T
            images += (noise * self._scale)[:, None, None, :]
        if self.spec.resize is not None:
            images = self._resize_and_crop(images, draws)
        elif self._room:
            images = self._crop(F.pad(images, (0, 0) + (self.spec.padding,) * 4), draws)
        elif draws.flips is not None:
            images = torch.where(draws.flips[:, None, None, None], images.flip(2), images)
        return images.permute(0, 3, 1, 2)

    def _places(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """Rows [B, S] and columns [B, S] of the crops; reflected crops read their columns backwards."""
        steps = torch.arange(self.side, device=self.device)
        across = steps if draws.flips is None else torch.where(draws.flips[:, None], steps.flip(0), steps)
        return draws.rows[:, None] + steps, draws.columns[:, None] + across

    def _crop(self, images: Tensor, draws: Draws) -> Tensor:
        rows, columns = self._places(draws)
        batch, height, width, channels = images.shape
        first = torch.arange(batch, device=self.device)[:, None, None] * (height * width)
        places = (first + rows[:, :, None] * width + columns[:, None, :]).flatten()
        return images.view(-1, channels).index_select(0, places).view(batch, self.side, self.side, channels)

    def _resize_and_crop(self, images: Tensor, draws: Draws) -> Tensor:
        """Bilinear resizing is linear in the pixels: crop, reflection and resizing are two matrix products."""
        if draws.boxes is None:
            rows, columns = (self._resizing[places].to(images.dtype) for places in self._places(draws))
        else:
            rows, columns = self._stretched(draws, images.shape[1])
        batch, height, _, channels = images.shape
        across = torch.bmm(columns, images.transpose(1, 2).flatten(2))  # [B, S, H*C]
        across = across.view(batch, self.side, height, channels).transpose(1, 2).flatten(2)  # [B, H, S*C]
        return torch.bmm(rows, across).view(batch, self.side, self.side, channels)

    def _stretched(self, draws: Draws, original: int) -> tuple[Tensor, Tensor]:
        """Bilinear weights [B, S, original] that bring each image's box to the network's size, for rows and columns."""
        steps, pixels = (torch.arange(count, device=self.device) for count in (self.side, original))

        def along(start: Tensor, length: Tensor) -> Tensor:
            places = start[:, None] + (steps + 0.5) * (length / self.side)[:, None] - 0.5
            return (1 - (places.clamp(0, original - 1)[:, :, None] - pixels).abs()).clamp(min=0)

        top, left, height, width = draws.boxes.unbind(1)  # type: ignore[union-attr]  # only where there are boxes
        columns = along(left, width)
        if draws.flips is not None:
            columns = torch.where(draws.flips[:, None, None], columns.flip(1), columns)
        return along(top, height), columns


def random_boxes(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Boxes float32 [count, 4] (top, left, height, width) within images of `side` pixels, as torchvision draws them:
    area and shape are drawn up to ten times, until the box fits; else it is the whole image."""
    areas, shapes = torch.rand(2, BOX_TRIES, count, generator=generator)
    low, high = BOX_AREA
    areas = side**2 * (low + (high - low) * areas)
    shapes = (BOX_SHAPE * (2 * shapes - 1)).exp()
    tries = torch.stack([(areas / shapes).sqrt(), (areas * shapes).sqrt()])  # heights and widths
    fits = (tries <= side).all(0)
    first = fits.int().argmax(0)
    sizes = torch.where(fits.any(0), tries[:, first, torch.arange(count)], float(side))
    return torch.cat([torch.rand(2, count, generator=generator) * (side - sizes), sizes]).T.contiguous()


def resizing_matrix(original: int, resized: int, padding: int = 0) -> Tensor:
    """float32 [resized + 2*padding, original]: row i holds the weights that make pixel i of a resized line.

    Bilinear, as `torch.nn.functional.interpolate` does it (half-pixel centres); padded rows are zero.
    """
    lines = torch.eye(original)[None]
    matrix = F.interpolate(lines, size=resized, mode="linear", align_corners=False)[0].T
    return F.pad(matrix, (0, 0, padding, padding)).contiguous()


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
        indices: Tensor | None = None,  # int64 [n], places in the data set
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


def seed_of(*numbers: int) -> int:
    """One generator seed from several numbers, such as a run's seed and an epoch, without collisions in practice."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def loaders(
    spec: RunSpec,
    device: torch.device,
    images: Images | None = None,  # what is in the places of the training set, if not its images
    prepare: Preparation | None = None,  # how they are prepared, if not as the spec says
) -> DataLoaders:
    """Training and validation batches of a run; training drops the last, incomplete batch."""
    _, train, valid = split_for(spec)
    check_filled(len(train), spec.recipe.batch_size)
    if images is None:
        images = _in_memory(spec.dataset, "train", device)
    prepare = preparation(spec, device) if prepare is None else prepare
    make: Callable[..., Batches] = functools.partial(Batches, images, prepare)
    recipe = spec.recipe
    training = make(bs=recipe.batch_size, indices=train, shuffle=True, drop_last=True, seed=spec.seed)
    return Loaders(training, make(bs=500, indices=valid), device=device)


def test_batches(spec: RunSpec, device: torch.device, images: int | None = None) -> Batches:
    """The run's test images (or the first `images` of them), in their own order, centre crops."""
    prepare = preparation(spec, device)
    dataset = _in_memory(spec.dataset, "test", device)
    places = torch.arange(len(dataset))[: spec.images.test_size]
    return Batches(dataset, prepare, bs=500, indices=places[:images])


def unaugmented_training_batches(spec: RunSpec, device: torch.device, images: int | None = None) -> Batches:
    """The training split in the order of its places, centre crops without augmentation; or a stratified part of it."""
    dataset, train, _ = split_for(spec)
    if images is not None and images < len(train):
        train = datasets.subset(train, dataset.train_labels, images)
    prepare = preparation(spec, device)
    return Batches(_in_memory(spec.dataset, "train", device), prepare, bs=500, indices=torch.from_numpy(train))


@functools.lru_cache(maxsize=4)
def _in_memory(name: str, part: str, device: torch.device) -> Images:
    dataset = datasets.load(name)
    pixels, labels = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
    return Images.of(pixels, labels, dataset.classes, device)
