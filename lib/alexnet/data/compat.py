"""Lets torchvision import beside a CPU build of torch."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch

# Of both operators; torchvision's Python files register fake implementations of them on import.
_SUPPRESSION_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declarations: list[torch.library.Library] = []  # a declaration lives as long as its Library object


def import_torchvision() -> ModuleType:
    """Import torchvision, after `declare_operators`."""
    declare_operators()
    return importlib.import_module("torchvision")


def declare_operators() -> None:
    """Declare torchvision's operators where its compiled library cannot load, so that torchvision can be imported.

    The registry's torchvision wheel is built against CUDA. Beside a CPU build of torch its library does not load,
    and `import torchvision` stops with "operator torchvision::nms does not exist". With the two schemas declared
    it imports, and all that this project uses works. Nothing is declared where the library loads, or where
    torchvision has been imported before. Where a user's own `import torchvision` came first and failed, this mends it.
    """
    if "torchvision" not in sys.modules and not _declarations and not _operators_load():
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(operator + _SUPPRESSION_SIGNATURE)
        _declarations.append(library)


def _operators_load() -> bool:
    """Whether torchvision's compiled operators load into this torch; also True without any torchvision."""
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        return True
    files = [file for file in Path(package.origin).parent.glob("_C*") if file.suffix in (".so", ".pyd")]
    try:
        for file in files:
            torch.ops.load_library(str(file))
    except OSError:
        return False
    return bool(files)
