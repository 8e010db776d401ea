"""How images become a network's input (sections 2 and 4.1): statistics of pixels, crops, reflections, colours.

uint8 batches become float batches on the training device, with the same draws on every device.
"""

import functools
import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import photograph
from ..data.datasets import mean_image
from ..data.photograph import Source
from ..records.specs import ImageSpec

BOX_TRIES, BOX_AREA, BOX_SHAPE = 10, (0.08, 1.0), math.log(4 / 3)  # of random resized crops: shapes from 3:4 to 4:3
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, of RGB in 0..1


@dataclass(frozen=True)
class Statistics:
    """What the training split's pixels are like; nothing of it comes from validation or test images."""

    mean_image: Tensor  # float32 [H, W, C], 0..255
    spread: float  # standard deviation of all pixels less the mean image
    channel_mean: Tensor  # float32 [C]
    channel_std: Tensor  # float32 [C]
    colour_axes: Tensor  # float32 [C, C]: principal components of the RGB values in columns, times their std

    @classmethod
    def of(cls, images: np.ndarray) -> "Statistics":
        """Of uint8 images [N, H, W, C], accumulated in float64."""
        mean_pixels = mean_image(images)
        squares, outer = 0.0, np.zeros((images.shape[-1],) * 2)
        for chunk in np.array_split(images, max(1, len(images) // 5000)):
            pixels = chunk.astype(np.float32)
            outer += np.einsum("nhwc,nhwd->cd", pixels, pixels, optimize=True)
            squares += float(np.square(pixels - mean_pixels).sum(dtype=np.float64))
        mean = mean_pixels.astype(np.float64).mean(axis=(0, 1))
        covariance = outer / (images.size / images.shape[-1]) - np.outer(mean, mean)
        return cls.from_moments(mean_pixels, (squares / images.size) ** 0.5, mean, covariance)

    @classmethod
    def from_moments(
        cls, mean_image: np.ndarray, spread: float, mean: np.ndarray, covariance: np.ndarray
    ) -> "Statistics":
        """From the mean image float32 [H, W, C], the spread, and mean [C] and covariance [C, C] of the colours."""
        values, axes = np.linalg.eigh(covariance)
        axes *= np.where(axes.sum(axis=0) < 0, -1.0, 1.0)  # else an axis points where the algebra library likes
        return cls(
            mean_image=torch.from_numpy(mean_image),
            spread=spread,
            channel_mean=torch.tensor(mean, dtype=torch.float32),
            channel_std=torch.tensor(covariance.diagonal() ** 0.5, dtype=torch.float32),
            colour_axes=torch.tensor(axes * np.sqrt(values.clip(0)), dtype=torch.float32),
        )


def imagenet_statistics(side: int) -> Statistics:
    """torchvision's constants in the place of a training split's statistics, for images of `side` pixels a side."""
    mean, std = torch.tensor(IMAGENET_MEAN) * 255, torch.tensor(IMAGENET_STD) * 255
    return Statistics(mean.expand(side, side, 3).clone(), 1.0, mean, std, colour_axes=torch.zeros(3, 3))


@dataclass
class Draws:
    """The random part of an epoch's augmentation, one row an image: crop corner, reflection, colour coefficients."""

    rows: Tensor  # int64 [N]
    columns: Tensor  # int64 [N]
    flips: Tensor | None  # bool [N]
    colours: Tensor | None  # float32 [N, C]
    boxes: Tensor | None = None  # float32 [N, 4]: top, left, height and width of resized crops, in the image's pixels
    holes: Tensor | None = None  # int64 [N, 2]: row and column of the centre of what is cut out

    def part(self, chosen: slice | Tensor) -> "Draws":
        """The draws of one batch."""
        return Draws(*(None if rows is None else rows[chosen] for rows in vars(self).values()))  # type: ignore[arg-type]


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
            torch.randint(self.side, (count, 2), generator=generator).to(self.device) if self.spec.cutout else None,
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
        if draws.holes is not None:
            images = images.masked_fill(self._hidden(draws.holes)[..., None], 0.0)
        return images.permute(0, 3, 1, 2)

    def _hidden(self, centres: Tensor) -> Tensor:
        """Which pixels bool [B, S, S] lie in the squares around the centres [B, 2]; a border cuts squares off."""
        steps, side = torch.arange(self.side, device=self.device), self.spec.cutout
        along = steps - (centres[..., None] - side // 2)  # [B, 2, S]: places within the square, from 0
        rows, columns = ((along >= 0) & (along < side)).unbind(1)
        return rows[:, :, None] & columns[:, None, :]

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
