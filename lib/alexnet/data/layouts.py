"""The file layouts in which data are found, and how each is decoded into arrays, without running what lies in them."""

import gzip
import io
import json
import pickle
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..errors import DataError

Arrays = dict[str, np.ndarray]  # train_images, train_labels, test_images, test_labels; or those of weights

FETCH_AGAIN = "Fetch it again, or name another folder."
_UNREADABLE = (OSError, tarfile.TarError, EOFError, zlib.error)  # what gzip and tarfile raise on damaged files
_ADMITTED = {  # what a pickled array refers to, under the names that numpy 1, numpy 2 and Python 2 write
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


@dataclass(frozen=True)
class Layout:
    """One way to lay data out in files."""

    title: str
    decode: Callable[[dict[str, bytes]], Arrays]  # from the contents of all the files, in the order of `files`
    archives: tuple[str, ...]  # glob patterns of the archives in which the files are distributed
    folders: tuple[str, ...] = ()  # where the files lie, relative to the folder that a user names
    files: tuple[str, ...] = ()  # none: what is called an archive is itself the one file

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
        archives = (path for pattern in self.archives for path in sorted(named.glob(pattern)) if path.is_file())
        return next(archives, None)

    def read(self, place: Path) -> Arrays:
        """Decode the files in a folder or archive; DataError where one is missing or damaged."""
        try:
            if not self.files:
                return self.decode({str(place): place.read_bytes()})
            contents = self._from_archive(place) if place.is_file() else self._from_folder(place)
        except _UNREADABLE as error:
            damage = " or is damaged" if self.files else ""
            raise DataError(f"{place} cannot be read{damage}: {error}. {FETCH_AGAIN}") from error
        missing = [name for name in self.files if name not in contents]
        if missing:
            raise DataError(f"{place} lacks {', '.join(missing)} of the {self.title} layout. {FETCH_AGAIN}")
        return self.decode({name: contents[name] for name in self.files})

    def _from_folder(self, folder: Path) -> dict[str, bytes]:
        found = {name: path for name in self.files if (path := _file(folder, name))}
        return {name: _plain(path.read_bytes(), path.name) for name, path in found.items()}

    def _from_archive(self, path: Path) -> dict[str, bytes]:
        """The wanted members of a tar file by their last name in any spelling, read in one pass."""
        contents = {}
        with tarfile.open(path) as archive:
            for member in archive:
                spelled = PurePosixPath(member.name).name
                # MNIST's files are also spelled train-images.idx3-ubyte
                name = spelled.removesuffix(".gz").replace(".idx", "-idx")
                if name in self.files and member.isfile() and (stream := archive.extractfile(member)):
                    contents[name] = _plain(stream.read(), spelled)
        return contents


def _plain(content: bytes, name: str) -> bytes:
    return gzip.decompress(content) if name.endswith(".gz") else content


def _file(folder: Path, name: str) -> Path | None:
    """The file of that name in any spelling; some unpack it into a folder that has the name too."""
    spellings = [name, name.replace("-idx", ".idx")]
    names = [spelling + ending for spelling in spellings for ending in ("", ".gz")]
    paths = [folder / name for name in names] + [folder / outer / inner for outer in spellings for inner in names]
    return next((path for path in paths if path.is_file()), None)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, and only numpy arrays are admitted")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_arrays(content: bytes, name: str) -> Any:
    """The numpy arrays and plain values pickled in `content`; DataError, naming the file `name`, on damage or on any
    other content, which could run code."""
    try:
        return _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(f"{name} cannot be read as a pickle of numpy arrays: {error}. Fetch it again.") from error


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
    images, labels = [], []
    for name, content in contents.items():
        batch = read_arrays(content, name)
        try:
            images.append(_channels_last(np.asarray(batch["data"])))
            labels.append(np.asarray(batch["labels"], dtype=np.uint8))
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise DataError(f"{name} holds no 'data' and 'labels' of a CIFAR-10 batch. {FETCH_AGAIN}") from error
    return _assemble(images, labels)


def decode_binary_batches(contents: dict[str, bytes]) -> Arrays:
    """The binary layout: records of one label byte and 3072 pixel bytes."""
    length = 1 + 3072
    for name, content in contents.items():
        if len(content) % length:
            raise DataError(f"{name} is truncated: {len(content)} bytes, and a record has {length}. {FETCH_AGAIN}")
    batches = [np.frombuffer(content, dtype=np.uint8).reshape(-1, length) for content in contents.values()]
    return _assemble([_channels_last(batch[:, 1:]) for batch in batches], [batch[:, 0] for batch in batches])


def decode_sprites(contents: dict[str, bytes]) -> Arrays:
    """The npm package's layout: an RGB image a batch, a picture in each pixel row, and two JSON label lists."""
    *sprites, train, test = contents.items()
    steps = tqdm(sprites, desc="decoding", unit="file", leave=False, disable=None)
    return _assemble([_sprite(*step) for step in steps], [_labels(*train), _labels(*test)])


def _labels(name: str, content: bytes) -> np.ndarray:
    try:
        return np.array(json.loads(content), dtype=np.uint8)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{name} is no list of labels ({error}). {FETCH_AGAIN}") from error


def _sprite(name: str, content: bytes) -> np.ndarray:
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
