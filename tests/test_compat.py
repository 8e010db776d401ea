import importlib
import subprocess
import sys

import pytest
import torch

from alexnet import paths
from alexnet.data import compat


def fresh(monkeypatch: pytest.MonkeyPatch, operators_load: bool) -> list[str]:
    """As before the first import of torchvision; what is declared or imported is listed instead."""
    happened: list[str] = []

    class Library:
        def __init__(self, namespace: str, kind: str) -> None:
            self.namespace = namespace

        def define(self, schema: str) -> None:
            happened.append(f"{self.namespace}::{schema}")

    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(compat, "_declarations", [])
    monkeypatch.setattr(compat, "_operators_load", lambda: operators_load)
    monkeypatch.setattr(torch.library, "Library", Library)
    monkeypatch.setattr(importlib, "import_module", happened.append)
    return happened


def test_schemas_are_declared_before_the_import_where_operators_cannot_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened = fresh(monkeypatch, operators_load=False)
    compat.import_torchvision()
    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    assert happened == [f"torchvision::nms{signature}", f"torchvision::qnms{signature}", "torchvision"]


def test_nothing_is_declared_where_operators_load(monkeypatch: pytest.MonkeyPatch) -> None:
    happened = fresh(monkeypatch, operators_load=True)
    compat.import_torchvision()
    assert happened == ["torchvision"]


def test_nothing_is_declared_after_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    happened = fresh(monkeypatch, operators_load=False)
    monkeypatch.setitem(sys.modules, "torchvision", compat)
    compat.import_torchvision()
    assert happened == ["torchvision"]


def test_torchvision_works_after_an_import_that_came_first_and_failed() -> None:
    """As it does beside a CPU build of torch; no code of ours has run by then."""
    script = (
        "try:\n    import torchvision\nexcept RuntimeError as error:\n    assert 'torchvision::nms' in str(error)\n"
        "import alexnet.data.compat\nalexnet.data.compat.import_torchvision()\nimport torchvision.models\n"
        "torchvision.models.alexnet()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_torchvision_imports_here_and_again() -> None:
    script = (
        "import runpy, sys; get = runpy.run_path(sys.argv[1])['import_torchvision']; assert get() is get(); "
        "import torch, torchvision.datasets, torchvision.models, torchvision.transforms.v2; "
        "torch.ops.torchvision.nms"
    )
    subprocess.run([sys.executable, "-c", script, str(paths.PACKAGE / "data" / "compat.py")], check=True)
