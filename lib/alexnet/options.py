"""What the values of options and environment variables may be. All are read before any work.

The readers are the types of the options in `alexnet.commands`; `ENVIRONMENT` has one for each variable.
"""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from .errors import SpecError

PRECISIONS = ("float32", "bfloat16")

Reader = Callable[[str], Any]  # raises ArgumentTypeError, whose message goes on from the name of what was read


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `SpecError` where others print how they are used and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the words of the command line."""
        raise SpecError(message)


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
