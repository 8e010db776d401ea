"""The data sets: where their arrays come from, verified to the last byte, and how they are split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import paths
from ..errors import DataError
from ..records.specs import HELD_BACK
from . import layouts
from .cache import read_or_build
from .sources import DatasetDescription, named_local_folder, read_description

CIFAR10, MNIST = (read_description(name, vars(layouts)) for name in ("cifar10", "mnist"))
DESCRIPTIONS = {description.name: description for description in (CIFAR10, MNIST)}


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory-mapped, read-only arrays; images are uint8 [N, H, W, C], labels uint8 [N]."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    source: str  # which source of the chain answered when the data were fetched
    hashes: dict[str, str]  # sha256 of each array's bytes in C order, as just verified


def load(name: str) -> Dataset:
    """A verified data set from the cache, or else from the first source that answers; DataError where none does."""
    if name not in DESCRIPTIONS:
        raise DataError(f"{name!r} is no data set of this report; use one of {', '.join(DESCRIPTIONS)}.")
    return load_described(DESCRIPTIONS[name], paths.data_folder(), named_local_folder())


def load_described(
    description: DatasetDescription,
    folder: Path,  # of the cached copies
    local: Path | None = None,  # where the user keeps the files
    rebuild: bool = False,  # read the sources again even where the cached copy is good
) -> Dataset:
    """Like `load`, for any data set that can be described."""
    arrays, source = read_or_build(description, folder, local, rebuild)
    name, classes, hashes = description.name, description.classes, description.hashes
    return Dataset(name=name, classes=classes, source=source, hashes=hashes, **arrays)


def split(
    labels: np.ndarray,
    size: int | None = None,  # validation images; None: all that are held back
    held_back: int = HELD_BACK,  # images that training never sees; more, if `size` asks for more
    seed: int = 2012,
) -> tuple[np.ndarray, np.ndarray]:
    """Sorted int64 indices of the training and the validation images, every class in proportion."""
    everything = np.arange(len(labels), dtype=np.int64)
    held = subset(everything, labels, max(held_back, size or 0), seed)
    return np.setdiff1d(everything, held), held if size is None else subset(held, labels, size, seed)


def subset(indices: np.ndarray, labels: np.ndarray, size: int, seed: int = 2012) -> np.ndarray:
    """`size` of the indices into `labels`, every class in proportion, sorted, int64."""
    # It takes a second to import, and most users of this module draw no subset.
    from sklearn.model_selection import train_test_split

    indices = np.asarray(indices, dtype=np.int64)
    if size == len(indices):
        return np.sort(indices)
    try:
        chosen, _ = train_test_split(indices, train_size=size, random_state=seed, stratify=labels[indices])
    except ValueError as error:
        raise DataError(f"No stratified {size} of {len(indices)} images can be drawn: {error}") from error
    return np.sort(chosen)


def mean_image(images: np.ndarray) -> np.ndarray:
    """The mean over uint8 images [N, H, W, C], summed in float64, as float32 [H, W, C]."""
    return images.mean(axis=0, dtype=np.float64).astype(np.float32)
