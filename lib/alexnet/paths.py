"""Where things are, and what the user's environment sets: every path and variable of the project in one place.

Variables are read by the readers of `ENVIRONMENT`; the other readers are types of the options in `alexnet.__main__`.
"""

import argparse
import ast
import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs

from .errors import SpecError

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parents[1]
PAPER = PACKAGE / "paper"  # its claims and figures, and others', as tables
NOTEBOOKS = ROOT / "notebooks"
REPORTS = ROOT / "reports"
RUNS = REPORTS / "runs"
FLOAT32_RUNS = REPORTS / "runs-float32"  # repetitions that show what bfloat16 does to results
BENCH = REPORTS / "bench"
AUDITS = REPORTS / "audits"
CHECKPOINTS = ROOT / "checkpoints"  # trained networks, and what trainings under way need; never committed
DEFAULT_CHECKPOINT = CHECKPOINTS / "cifar10.safetensors"
BUILD = ROOT / "build"
SMOKE = BUILD / "smoke"


def data_folder() -> Path:
    """The folder of verified data: `ALEXNET_DATA` if set, else the user's cache folder, which clones share."""
    return environment("ALEXNET_DATA", platformdirs.user_cache_dir("alexnet-report"))


def runs_folder(profile: str, fresh: bool = False) -> Path:
    """Where the records of a profile lie. Smoke runs and fresh ones are made anew by each state of the training code,
    and never committed."""
    return _temporary(profile, fresh) / training_code() / "runs" if fresh or profile == "smoke" else RUNS


def checkpoints_folder() -> Path:
    """Where runs of committed records keep their last epoch: beside the data, outside the clone; each state of the
    training code has a folder of its own, since clones share them."""
    return data_folder() / "checkpoints" / training_code()


def pages_folder(profile: str, fresh: bool = False) -> Path:
    """Where the pages of a profile are built."""
    return _temporary(profile, fresh) / "pages" if fresh or profile == "smoke" else REPORTS


def _temporary(profile: str, fresh: bool) -> Path:
    return BUILD / "fresh" / profile if fresh else SMOKE


@functools.cache
def training_code() -> str:
    """16 hexadecimal digits that name the state of the code which trains: `runs.execution` and all it imports of us."""
    digest = hashlib.sha256()
    for path in with_imports(PACKAGE / "runs" / "execution.py"):
        digest.update(str(path.relative_to(PACKAGE)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def with_imports(path: Path) -> list[Path]:
    """A file of the package and all that it needs of it, sorted."""
    found, waiting = set(), [path]
    while waiting:
        found.add(path := waiting.pop())
        waiting += [imported for imported in imports(path) if imported not in found]
    return sorted(found)


def imports(path: Path) -> Iterator[Path]:
    """The files of the package that one of them imports, inside its functions too."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level:
            origin = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            named = [origin, *(origin / alias.name for alias in node.names)]
            yield from (place for name in named if (place := name.with_suffix(".py")).exists())


# ---- values that users type ----------------------------------------------------------------------------------------

PRECISIONS = ("float32", "bfloat16")

Reader = Callable[[str], Any]  # raises ArgumentTypeError, whose message goes on from the name of what was read


def whole(least: int, most: int = 1_000_000) -> Reader:
    """Reads a whole number within limits."""
    return _reader(int, lambda value: least <= value <= most, f"a whole number from {least} to {most:,}")


def _reader(kind: type, fits: Callable[[Any], bool], words: str) -> Reader:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
        return value

    return read


def one_of(*names: str) -> Reader:
    """Reads one of some names."""
    return _reader(str, names.__contains__, f"one of {', '.join(names)}")


def path(text: str) -> Path:
    """Reads a path, its ~ as a shell would; relative ones are relative to where the command was called."""
    expanded = os.path.expanduser(text)
    if not text or expanded.split("/")[0] == "~":
        raise argparse.ArgumentTypeError(f"{text!r} is not the path of a file or folder here")
    return Path(expanded)


def _folder(text: str) -> Path:
    return path(text).absolute()  # notebooks run in another folder


def _backend(text: str) -> str:
    import torch  # slow to import, and the variable is seldom set

    return one_of("eager", "aot_eager", *torch.compiler.list_backends())(text)


def _unless_denied(text: str) -> bool:
    return text.lower() not in ("0", "no", "false", "off")


count = whole(1)
seed = whole(0, 2**32 - 1)
positive = _reader(float, lambda value: 0 < value < math.inf, "a number above 0")
share = _reader(float, lambda value: 0 <= value < 1, "a number from 0 to below 1")

ENVIRONMENT: dict[str, Reader] = {
    "ALEXNET_COMPILE": _backend,  # of torch.compile, for networks in training; unset: none is compiled
    "ALEXNET_DATA": _folder,  # of data sets and weights
    "ALEXNET_LOCAL": _folder,  # with a copy of the data sets
    "ALEXNET_NETWORK": str,  # set: the tests that need a network run too
    "ALEXNET_PRECISION": one_of(*PRECISIONS),
    "CI": _unless_denied,  # services set words of their own
    "WORLD_SIZE": count,  # processes that torchrun or accelerate has started
}


def environment(name: str, default: str | None = None) -> Any:
    """The value of a variable of the table; None where it is unset or empty. Raises `SpecError` for a senseless one."""
    text = os.environ.get(name) or default
    try:
        return ENVIRONMENT[name](text) if text else None
    except argparse.ArgumentTypeError as error:
        raise SpecError(f"{name}: {error}.") from error


def check_environment() -> None:
    """Read all variables, and make folders absolute for the processes to come. Raises `SpecError`."""
    for name in os.environ:
        if name.startswith("ALEXNET_") and name not in ENVIRONMENT:
            known = ", ".join(variable for variable in ENVIRONMENT if variable.startswith("ALEXNET_"))
            raise SpecError(f"{name} is no variable of ours; there are {known}.")
    for name in ENVIRONMENT:
        value = environment(name)
        if isinstance(value, Path):
            os.environ[name] = str(value)
