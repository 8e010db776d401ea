"""The verified copy of a data set: four .npy files that every process maps into memory."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

import filelock
import numpy as np
from tqdm import tqdm

from .errors import DataError
from .layouts import Arrays
from .sources import DISK_FULL, DatasetDescription, fetch, verify

log = logging.getLogger(__name__)
SOURCE_FILE = "source.txt"


def read(description: DatasetDescription, folder: Path) -> tuple[Arrays, str] | None:
    """Memory-mapped, read-only arrays and their source; None without a cached copy, DataError where it is damaged.

    Every byte is hashed on every call: with the processor's sha256 instructions the 184 MB of CIFAR-10 take a tenth
    of a second (half a second without), and they have to be read into memory for training anyway. A cheaper
    check by size and time would let a flipped byte into a training run.
    """
    if not folder.is_dir():
        return None
    try:
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in description.arrays
        }
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"The cached copy in {folder} cannot be read: {error}.") from error
    verify(arrays, description, f"The cached copy in {folder}")
    source = folder / SOURCE_FILE
    return arrays, source.read_text().strip() if source.is_file() else "not recorded"


def read_or_build(
    description: DatasetDescription, data_folder: Path, local: Path | None, rebuild: bool = False
) -> tuple[Arrays, str]:
    """The cached arrays and their source; where there are none, they are damaged, or on `rebuild`, from the sources."""
    cached = None if rebuild else _read_undamaged(description, data_folder)
    if cached is not None:
        return cached
    try:
        data_folder.mkdir(parents=True, exist_ok=True)
        # The lock lets one process build while others wait for what it builds.
        with filelock.FileLock(data_folder / f".{description.name}.lock"):
            cached = None if rebuild else _read_undamaged(description, data_folder)
            return cached or _build(description, data_folder, local)
    except OSError as error:
        raise _storage_error(description, data_folder, error) from error


def _read_undamaged(description: DatasetDescription, data_folder: Path) -> tuple[Arrays, str] | None:
    try:
        return read(description, data_folder / description.name)
    except DataError as error:
        log.warning("%s It is built again from the sources.", error)
        return None


def _build(description: DatasetDescription, data_folder: Path, local: Path | None) -> tuple[Arrays, str]:
    prefix = f".{description.name}-"
    for left_over in data_folder.glob(f"{prefix}*"):  # of a process that was killed: the lock is ours
        shutil.rmtree(left_over, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=data_folder) as workspace:
        arrays, source = fetch(description, Path(workspace), local)
        _write(arrays, source, Path(workspace), data_folder / description.name)
    stored = read(description, data_folder / description.name)
    assert stored is not None
    return stored


def _write(arrays: Arrays, source: str, workspace: Path, folder: Path) -> None:
    """Write all files under temporary names, then rename each into the cache.

    The content of each file is fixed by its hash, so a reader that meets old and new files side by side is right.
    """
    steps = tqdm(arrays.items(), desc="storing", unit="array", leave=False, disable=None)
    for name, array in steps:
        with (workspace / f"{name}.npy").open("wb") as file:
            np.save(file, array, allow_pickle=False)
            _flush(file.fileno())
    (workspace / SOURCE_FILE).write_text(source + "\n")
    folder.mkdir(exist_ok=True)
    for name in (*(f"{name}.npy" for name in arrays), SOURCE_FILE):
        os.replace(workspace / name, folder / name)


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def _storage_error(description: DatasetDescription, data_folder: Path, error: OSError) -> DataError:
    what = f"{description.title} cannot be stored in {data_folder}"
    if error.errno in DISK_FULL:
        return DataError(f"{what}: the disk is full ({error.strerror}). Make room, or set ALEXNET_DATA to another folder.")
    return DataError(f"{what}: {error}. Set ALEXNET_DATA to a folder that you can write to.")
