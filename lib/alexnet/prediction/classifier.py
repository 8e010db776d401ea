"""Show a trained network an image: its classes and their probabilities, with a picture after figure 4."""

import functools
import io
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .. import paths
from ..data import photograph
from ..data.photograph import Photograph, Source
from ..errors import DataError, RecordError, SpecError
from ..records.files import write_atomically
from ..training.evaluation import mean_log_softmax
from . import checkpoints
from .checkpoints import Checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 5  # classes with bars, as in figure 4
PICTURES = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 160


@dataclass(frozen=True)
class Prediction:
    """What a network makes of one image."""

    classes: tuple[str, ...]  # every class, in the network's order
    probabilities: np.ndarray  # float32 [classes]
    photograph: Photograph = field(repr=False)
    seen: np.ndarray = field(repr=False)  # uint8 [S, S, C]: the square that the network is given

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.ranked()[0][0]

    @property
    def probability(self) -> float:
        """The probability of that class."""
        return self.ranked()[0][1]

    def ranked(self, most: int | None = None) -> list[tuple[str, float]]:
        """Classes with their probabilities, the most probable first."""
        order = np.argsort(-self.probabilities, kind="stable")[:most]
        return [(self.classes[place], float(self.probabilities[place])) for place in order]

    def figure(self) -> tuple["Figure", str]:
        """The picture after figure 4, and its alt text."""
        from .figure import ranked_bars  # seaborn takes a second to import, and workers draw nothing

        return ranked_bars(self.photograph, self.seen, self.ranked(SHOWN), len(self))

    def show(self) -> None:
        """The picture in a notebook."""
        from ..figures.display import show  # imports IPython, which the command line does not need

        show(*self.figure())

    def save(self, path: Path | str) -> None:
        """Write the picture as PNG, SVG or PDF. Raises `SpecError` for other names, `RecordError` on a full disk."""
        kind = kind_of_picture(Path(path))
        from ..figures.base import themed

        content = io.BytesIO()
        figure, _ = self.figure()
        with themed():
            figure.savefig(content, format=kind, dpi=DOTS_PER_INCH, facecolor="white")
        write_atomically(Path(path), content.getvalue())


def kind_of_picture(path: Path) -> str:
    """The kind that a picture's name stands for. Raises `SpecError` when it stands for none."""
    kind = path.suffix.lower()
    if kind not in PICTURES:
        raise SpecError(f"{path} names no kind of picture; let it end in {', '.join(PICTURES)}.")
    return kind.removeprefix(".")


@dataclass(frozen=True)
class Classifier:
    """A trained network that takes any image: `Classifier.load("checkpoints/cifar10.safetensors").predict("cat.jpg")`.

    An image of another size than the training images is brought to theirs: its shorter side to that size, then the
    middle is cut out (section 2). All that follows (scaling, resizing, the centre crop) is the preparation the network
    was tested with, so that a test image gives the same probabilities as in the test.
    """

    checkpoint: Checkpoint

    @classmethod
    def load(cls, path: Path | str | None = None) -> "Classifier":
        """The network of a checkpoint (by default that of `make checkpoint`). Raises `RecordError` for another file."""
        return cls(checkpoints.load(Path(paths.DEFAULT_CHECKPOINT if path is None else path)))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes it tells apart."""
        return self.checkpoint.description.classes

    def predict(self, image: Source, invert: bool = False, ten_crops: bool = False) -> Prediction:
        """Classes and probabilities of one image: a path, a Pillow image or an array (see `photograph.read`).

        `invert` swaps dark and light: MNIST's digits are light on dark. With `ten_crops` the mean softmax over ten
        crops (section 4.1). Raises `DataError` when it is no image.
        """
        found = photograph.read(image)
        seen = found.square(self.checkpoint.side, self.checkpoint.channels)
        seen = 255 - seen if invert else seen
        probabilities = self.probabilities(seen[None], ten_crops)[0].numpy()
        if not np.isfinite(probabilities).all():
            raise RecordError(
                "The network's scores are not numbers: its training diverged. Train it with a lower rate."
            )
        return Prediction(self.classes, probabilities, found, seen)

    def probabilities(self, images: np.ndarray, ten_crops: bool = False) -> Tensor:
        """Softmax float32 [N, classes] of uint8 images [N, S, S, C] of the training images' size, dropout off."""
        side, channels = self.checkpoint.side, self.checkpoint.channels
        if images.dtype != np.uint8 or images.shape[1:] != (side, side, channels):
            raise DataError(
                f"This network takes uint8 images [N, {side}, {side}, {channels}], not {images.dtype} "
                f"{list(images.shape)}; `predict` takes any image."
            )
        pixels = torch.from_numpy(np.repeat(images, 3 // channels, axis=-1))
        with torch.inference_mode():
            return mean_log_softmax(self.checkpoint.model, self.checkpoint.preparation, pixels, ten_crops).exp()


@functools.lru_cache(maxsize=2)
def _loaded(path: Path, state: tuple[int, int, int] | None) -> Classifier:
    return Classifier.load(path)


def predict(image: Source, checkpoint: Path | str | None = None, **options: bool) -> Prediction:
    """What a trained network takes an image for: `predict("cat.jpg").show()`; options as `Classifier.predict` has them.

    The network is by default that of `make checkpoint`. It is read once, and again when its file has changed.
    """
    path = Path(paths.DEFAULT_CHECKPOINT if checkpoint is None else checkpoint)
    found = path.stat() if path.is_file() else None  # of none, loading says what is wrong
    return _loaded(path, found and (found.st_ino, found.st_size, found.st_mtime_ns)).predict(image, **options)


def run(arguments: Namespace) -> int:
    """`python -m alexnet predict`: print the most probable classes and what was done to the image; draw them."""
    if arguments.out is not None:
        kind_of_picture(arguments.out)
    found = predict(arguments.image, arguments.checkpoint, invert=arguments.invert, ten_crops=arguments.ten_crops)
    width = max(map(len, found.classes))
    for label, share in found.ranked(SHOWN):
        print(f"{label:<{width}}  {share:6.1%}")
    for note in found.photograph.notes:
        print(f"note: {note}")
    if arguments.out is not None:
        found.save(arguments.out)
        print(f"picture: {arguments.out}")
    return 0
