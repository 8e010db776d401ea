"""A trained network in one file: its weights, and all that is needed to show it an image.

The file is a safetensors file, which cannot run code when it is read. Its tensors are the weights of the whole network
and the pixel statistics that inputs are prepared with; its metadata hold the specification of the run, the names of
the classes, the hashes of the data, and a hash over everything, so that a changed bit is noticed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ..errors import RecordError, SpecError, at_fault
from ..networks import models
from ..records.files import Part, write_atomically
from ..records.specs import PIXELS, RunSpec
from ..training.preparation import Preparation, Statistics

VERSION: Literal[1] = 1
SUFFIX = ".safetensors"
WEIGHTS, STATISTICS = "network.", "pixels."  # what the names of tensors begin with
ENTRY, DIGEST = "alexnet", "sha256"  # in the file's metadata


class Description(Part):
    """What a checkpoint says of itself."""

    version: Literal[1] = VERSION
    spec: RunSpec
    classes: tuple[str, ...]
    epochs: int
    valid_error: float
    test_error: float | None
    data: dict[str, str]  # sha256 of the arrays it was trained on
    weights_sha256: str  # of what was trained, as a run record of the same spec has it
    precision: str
    torch: str
    created: str  # UTC, ISO 8601


@dataclass(frozen=True)
class Checkpoint:
    """A trained network with what prepares its inputs, on the CPU."""

    description: Description
    model: nn.Sequential  # float [N, 3, S, S] -> scores [N, classes]
    preparation: Preparation

    @property
    def side(self) -> int:
        """Pixels a side of the images it was trained on, before the preparation resizes or crops them."""
        return PIXELS[self.description.spec.dataset]

    @property
    def channels(self) -> int:
        """1 for a data set of grey images, 3 for one of colour images."""
        return self.preparation.statistics.mean_image.shape[-1]


def save(path: Path, description: Description, model: nn.Module, statistics: Statistics) -> None:
    """Write a checkpoint in one step. Raises `RecordError` where that is not possible."""
    tensors = {WEIGHTS + name: _plain(values) for name, values in model.state_dict().items()}
    for name, value in vars(statistics).items():  # tensors, and a number that stays float64
        tensors[STATISTICS + name] = _plain(torch.from_numpy(np.asarray(value)))
    text = description.model_dump_json()
    content = safetensors.torch.save(tensors, {ENTRY: text, DIGEST: _digest(text, tensors)})
    write_atomically(path, content)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises `RecordError` when it is none, damaged, altered, or of another version."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
    except FileNotFoundError as error:
        raise RecordError(f"There is no checkpoint {path}; `make checkpoint` makes one.") from error
    except (OSError, safetensors.SafetensorError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RecordError(f"{path} is no whole safetensors file: {reason}. Make or copy it again.") from error
    description = _description(metadata, path)
    if metadata.get(DIGEST) != _digest(metadata[ENTRY], tensors):
        raise RecordError(f"{path} is not what was saved: it is damaged or was altered. Make or copy it again.")
    try:
        return _assemble(description, tensors)
    except (SpecError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(".:")
        raise RecordError(f"{path} does not hold the network that it describes: {reason}.") from error


def _description(metadata: Mapping[str, str], path: Path) -> Description:
    """What the metadata say. An unknown version is told apart from damage."""
    if ENTRY not in metadata:
        what = f"{path} is a safetensors file, but no checkpoint of this program"
        raise RecordError(f"{what}; `make checkpoint` makes one.")
    try:
        return Description.model_validate_json(metadata[ENTRY])
    except ValidationError as error:
        fault = f"cannot be used: {at_fault(error, 'its description', most=1)}. Make or copy it again."
        if any(one["loc"] == ("version",) for one in error.errors()):
            fault = f"is of another version than {VERSION}, which this code reads; update the code or make it again."
        raise RecordError(f"{path} {fault}") from error


def _assemble(description: Description, tensors: Mapping[str, Tensor]) -> Checkpoint:
    """The network with its weights. Shapes are compared before any memory is taken for them."""
    known = {name.removeprefix(STATISTICS): v for name, v in tensors.items() if name.startswith(STATISTICS)}
    statistics: dict[str, Any] = {name: value if value.dim() else value.item() for name, value in known.items()}
    preparation = Preparation(description.spec.images, Statistics(**statistics), torch.device("cpu"))
    with torch.device("meta"):
        model = models.build(description.spec.net, preparation.side)
    if description.spec.net.classes != len(description.classes):
        raise ValueError(f"{len(description.classes)} names for {description.spec.net.classes} classes")
    weights = {name.removeprefix(WEIGHTS): values for name, values in tensors.items() if name.startswith(WEIGHTS)}
    model.load_state_dict(weights, assign=True)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return Checkpoint(description, model.eval().requires_grad_(False), preparation)


def _plain(values: Tensor) -> Tensor:
    return values.detach().cpu().contiguous()


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Over the description and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        values = tensors[name]
        digest.update(f"{name} {values.dtype} {list(values.shape)}".encode())
        digest.update(values.contiguous().view(-1).view(torch.uint8).numpy().data if values.numel() else b"")
    return digest.hexdigest()
