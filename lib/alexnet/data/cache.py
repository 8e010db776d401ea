"""The verified copy of a data set: .npy files that every process maps into memory."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

import filelock
import numpy as np
from tqdm import tqdm

from ..errors import DataError
from .layouts import Arrays
from .sources import DISK_FULL, DatasetDescription, fetch, verify

log = logging.getLogger(__name__)
SOURCE_FILE = "source.txt"


def read(description: DatasetDescription, folder: Path) -> tuple[Arrays, str] | None:
    """Memory-mapped, read-only arrays and their source; None where nothing is cached, DataError on damage.

    Every byte is hashed on every call. With the processor's sha256 instructions the 184 MB of CIFAR-10 take a
    tenth of a second, without them about half a second, and training reads them all anyway. A cheaper check, by
    size and time, would let a flipped byte into a run.
    """
    if not folder.is_dir():
        return None
    files = {name: folder / f"{name}.npy" for name in description.arrays}
    try:
        arrays = {name: np.load(file, mmap_mode="r").view(np.ndarray) for name, file in files.items()}
    except Exception as error:  # a damaged header makes numpy raise errors of many kinds
        raise DataError(f"The cached copy in {folder} cannot be read: {error}.") from error
    verify(arrays, description, f"The cached copy in {folder}")
    source = folder / SOURCE_FILE
    return arrays, source.read_text().strip() if source.is_file() else "not recorded"


def read_or_build(
    description: DatasetDescription, data_folder: Path, local: Path | None, rebuild: bool = False
) -> tuple[Arrays, str]:
    """The cached arrays and their source; from the sources where there are none, on damage, and on `rebuild`."""

    def cached() -> tuple[Arrays, str] | None:
        try:
            return None if rebuild else read(description, data_folder / description.name)
        except DataError as error:
            log.warning("%s It is built again from the sources.", error)
            return None

    if found := cached():
        return found
    try:
        data_folder.mkdir(parents=True, exist_ok=True)
        # One process builds; others wait, and then find what it has built.
        with filelock.FileLock(data_folder / f".{description.name}.lock"):
            return cached() or _build(description, data_folder, local)
    except OSError as error:
        what = f"{description.title} cannot be stored in {data_folder}"
        if error.errno in DISK_FULL:
            reason = f"{what}: the disk is full ({error.strerror}). Make room, or set ALEXNET_DATA."
            raise DataError(reason) from error
        raise DataError(f"{what}: {error}. Set ALEXNET_DATA to a folder that you can write to.") from error


def _build(description: DatasetDescription, data_folder: Path, local: Path | None) -> tuple[Arrays, str]:
    """Fetch and store the arrays. Only the holder of the lock may do this."""
    prefix = f".{description.name}-"
    for left_over in data_folder.glob(f"{prefix}*"):  # of a process that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    folder = data_folder / description.name
    with tempfile.TemporaryDirectory(prefix=prefix, dir=data_folder) as workspace:
        arrays, source = fetch(description, Path(workspace), local)
        _store(arrays, source, Path(workspace), folder)
    stored = read(description, folder)
    if stored is None:
        raise DataError(f"{folder} was removed while {description.title} was being stored; start again.")
    return stored


def _store(arrays: Arrays, source: str, workspace: Path, folder: Path) -> None:
    """Write all files to the workspace, then move each into the cache.

    A file's hash fixes its content, so a reader who meets old and new files side by side reads the same data.
    """
    for name, array in tqdm(arrays.items(), desc="storing", unit="array", leave=False, disable=None):
        with (workspace / f"{name}.npy").open("wb") as file:
            # Not np.save: on a full disk it raises an error without a number, and one could not tell why.
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(np.ascontiguousarray(array).data)
            file.flush()
            os.fsync(file.fileno())
    (workspace / SOURCE_FILE).write_text(source + "\n")
    folder.mkdir(exist_ok=True)
    for file_name in (*(f"{name}.npy" for name in arrays), SOURCE_FILE):
        (workspace / file_name).replace(folder / file_name)
