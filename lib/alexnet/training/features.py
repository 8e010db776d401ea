"""What ImageNet's convolutional layers see in our images, computed once and kept on disk.

With frozen convolutional layers every epoch would compute the same maps again. Instead they are computed for each
image and for its reflection, and kept as float16 [N, 9216] (256 maps of 6x6 after pool5), memory-mapped by all who
train on them. A file belongs to its weights, images, preparation, precision and kind of device: their hash names its
folder. A file that is not whole, or of which one bit has changed, is not used.
"""

import functools
import hashlib
import io
import json
import logging
import os
import shutil
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import filelock
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .. import paths
from ..data import datasets, weights
from ..data.datasets import Dataset
from ..data.weights import Weights
from ..errors import DataError, SpecError
from ..networks import models
from ..records.files import write_atomically
from ..records.specs import ImageSpec, NetSpec
from . import machine
from .preparation import IMAGENET_MEAN, IMAGENET_STD, Draws, Preparation, imagenet_statistics

log = logging.getLogger(__name__)

SIDE = 224  # pixels, as torchvision's AlexNet was trained
IMAGES = ImageSpec(scaling="imagenet", resize=SIDE)
NET = NetSpec(variant="torchvision", towers="full", norm="none", init="torch")
LAST_LAYER = "pool5"
BLOCK = 1024  # images after which a killed computation goes on
BATCH = 128  # images at once; on a CPU, 32 take a third longer an image
SPARE_BYTES = 200_000_000  # disk space left to others
ARRAY_FILE, MADE_FILE, PARTIAL_FILE, JOURNAL_FILE = "features.npy", "made.json", "features.partial", "blocks.partial"


@dataclass(frozen=True)
class Key:
    """All that determines a file of features."""

    images_sha256: str  # of the uint8 images' bytes
    images: int
    flip: bool  # of reflected images
    weights_sha256: str
    precision: str  # in which the layers are computed; the result is stored as float16
    device: str  # kind of device: the last bits differ
    side: int = SIDE
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    layer: str = LAST_LAYER
    version: int = 1  # of this file's code, to be raised when its results change

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that name the folder."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Features:
    """Features of images in their order."""

    values: np.ndarray  # float16 [N, 9216], memory-mapped and read-only
    sha256: str  # over the hashes of its blocks


def convolutional_part(found: Weights | None = None) -> nn.Sequential:
    """The layers up to pool5 with ImageNet's weights: float [N, 3, 224, 224] -> [N, 256, 6, 6].

    ReLU follows the pooling where the network has it before: a monotone function commutes with the maximum, the
    values are the same, and there are a quarter as many.
    """
    with torch.device("meta"):  # the fully connected layers, which are left out, shall take no time and memory
        model = models.build(NET, SIDE)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in model.named_children():
        layers[name] = layer
        if isinstance(layer, nn.MaxPool2d):
            layers.move_to_end(name.replace("pool", "relu"))
        if name == LAST_LAYER:
            break
    part = nn.Sequential(layers).to_empty(device="cpu")
    weights.put((found or weights.imagenet()).arrays, part)
    return part.eval().requires_grad_(False)


def width(model: nn.Module) -> int:
    """How many features an image has."""
    with torch.no_grad():
        return model(torch.zeros(1, 3, SIDE, SIDE)).numel()


def compute(images: np.ndarray, flip: bool, model: nn.Module, precision: str, device: torch.device) -> Iterator[Tensor]:
    """Features float16 [B, 9216] of uint8 images [N, H, W, C], batch by batch, on the CPU.

    `model` must be on the device and of the precision already.
    """
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    prepare = Preparation(IMAGES, imagenet_statistics(images.shape[1]), device)
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            pixels = torch.from_numpy(np.array(images[start : start + BATCH])).to(device)
            places = prepare.fixed(len(pixels), 0, 0, flip)
            yield model(prepare(pixels, places).to(dtype)).flatten(1).half().cpu()


def of(
    images: np.ndarray,  # uint8 [N, H, W, 3]
    images_sha256: str,  # of their bytes in C order, as verified when they were loaded
    flip: bool = False,
    precision: str | None = None,  # None: what the hardware is fast at
    folder: Path | None = None,  # the data folder; by default paths.data_folder()
    found: Weights | None = None,  # the weights; by default ImageNet's
    device: torch.device | None = None,
) -> Features:
    """The features of the images: from disk if they are there and whole, else computed and stored.

    Another process that wants the same waits. Raises `DataError` where they cannot be stored.
    """
    found = found or weights.imagenet()
    device = device or machine.default_device()
    precision = precision or machine.default_precision()
    key = Key(images_sha256, len(images), flip, found.sha256, precision, device.type)
    place = (folder or paths.data_folder()) / "features" / key.hash
    if cached := _read(place, key):
        return cached
    try:
        place.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place / ".lock"):
            return _read(place, key) or _make(place, key, images, found, device)
    except OSError as error:
        raise DataError(
            f"Features cannot be stored in {place}: {error.strerror or error}. Make room, or set ALEXNET_DATA to a "
            "folder that you can write to; what is there is kept, and the same command goes on from it."
        ) from error


def _read(place: Path, key: Key) -> Features | None:
    """Features from disk, every byte verified; None where there are none, or damaged ones, which is logged."""
    if not (place / MADE_FILE).exists():
        return None
    try:
        made = json.loads((place / MADE_FILE).read_text())
        values = np.load(place / ARRAY_FILE, mmap_mode="r", allow_pickle=False)
        blocks = made["blocks"]
        fits = made["key"] == json.loads(json.dumps(asdict(key))) and values.dtype == np.float16
        if fits and values.ndim == 2 and len(values) == key.images and blocks == list(_hashes(values)):
            return Features(values.view(np.ndarray), hashlib.sha256("".join(blocks).encode()).hexdigest())
        reason = "are not those that were stored: the files are damaged or altered"
    except Exception as error:  # a damaged file makes json and numpy raise errors of many kinds
        reason = f"cannot be read: {error}"
    log.warning("The features in %s %s. They are computed again.", place, reason)
    return None


def _hashes(values: np.ndarray) -> Iterator[str]:
    for start in range(0, len(values), BLOCK):
        yield hashlib.sha256(np.ascontiguousarray(values[start : start + BLOCK]).data).hexdigest()


def _make(place: Path, key: Key, images: np.ndarray, found: Weights, device: torch.device) -> Features:
    """Compute what is missing, block after block. Only the holder of the lock may do this."""
    model = convolutional_part(found)
    features = width(model)
    model = model.to(device, torch.bfloat16 if key.precision == "bfloat16" else torch.float32)
    (place / MADE_FILE).unlink(missing_ok=True)  # what it speaks of is damaged
    blocks = _resume(place, len(images), features)
    _require_room(place, (len(images) - len(blocks) * BLOCK) * features * 2)
    starts = range(len(blocks) * BLOCK, len(images), BLOCK)
    title = f"features of {'reflected ' if key.flip else ''}images"
    with (
        (place / PARTIAL_FILE).open("ab") as file,
        (place / JOURNAL_FILE).open("a") as journal,
        tqdm(desc=title, total=len(images), initial=len(blocks) * BLOCK, unit="image", disable=None) as progress,
    ):
        for start in starts:
            part = images[start : start + BLOCK]
            block = torch.cat(list(compute(part, key.flip, model, key.precision, device))).numpy()
            if not np.isfinite(block).all():
                raise DataError("Some features do not fit float16; were the weights altered?")
            file.write(block.data)
            _flush(file)
            # The journal names a block only once it is on disk; what it names is verified before it is used.
            blocks.append(hashlib.sha256(block.data).hexdigest())
            journal.write(blocks[-1] + "\n")
            _flush(journal)
            progress.update(len(part))
    (place / PARTIAL_FILE).replace(place / ARRAY_FILE)
    write_atomically(place / MADE_FILE, json.dumps({"key": asdict(key), "blocks": blocks}, indent=1).encode())
    (place / JOURNAL_FILE).unlink()
    stored = _read(place, key)
    if stored is None:
        raise DataError(f"{place} was removed while features were being stored; start again.")
    return stored


def _flush(file: IO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _header(images: int, features: int) -> bytes:
    """What a .npy file of float16 [images, features] starts with."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f2", "fortran_order": False, "shape": (images, features)})
    return stream.getvalue()


def _resume(place: Path, images: int, features: int) -> list[str]:
    """The hashes of the blocks that a killed computation left whole; the partial file is cut behind them."""
    partial, journal = place / PARTIAL_FILE, place / JOURNAL_FILE
    header, row = _header(images, features), features * 2
    named = journal.read_text().split() if journal.exists() else []
    if named and not partial.exists() and (place / ARRAY_FILE).exists():  # killed at the very end
        (place / ARRAY_FILE).replace(partial)
    whole: list[str] = []
    if partial.exists():
        with partial.open("rb") as file:
            if file.read(len(header)) == header:
                for digest, start in zip(named, range(0, images, BLOCK), strict=False):
                    length = min(BLOCK, images - start) * row
                    if hashlib.sha256(file.read(length)).hexdigest() != digest:
                        break
                    whole.append(digest)
    if whole:
        os.truncate(partial, len(header) + min(len(whole) * BLOCK, images) * row)
    else:
        partial.write_bytes(header)
    journal.write_text("".join(digest + "\n" for digest in whole))
    return whole


def _require_room(place: Path, needed: int) -> None:
    """DataError unless so many bytes fit on the disk."""
    free = shutil.disk_usage(place).free
    if free < needed + SPARE_BYTES:
        raise DataError(
            f"The features need {needed / 1e9:.2f} GB in {place}, and {free / 1e9:.2f} GB are free. Make room, or set "
            "ALEXNET_DATA to a folder on a larger disk."
        )


PARTS = (("train", False), ("train", True), ("test", False))  # what transfer needs: images, and their reflections


def of_part(dataset: Dataset, part: str, flip: bool = False, precision: str | None = None) -> Features:
    """The features of a data set's train or test images."""
    name = f"{part}_images"
    return of(getattr(dataset, name), dataset.hashes[name], flip, precision)


def are_made(dataset: Dataset, precision: str, weights_sha256: str, device: torch.device) -> bool:
    """Whether all features of a data set are on disk already, so that nothing but reading them takes time."""
    for part, flip in PARTS:
        name = f"{part}_images"
        images = getattr(dataset, name)
        key = Key(dataset.hashes[name], len(images), flip, weights_sha256, precision, device.type)
        if not (paths.data_folder() / "features" / key.hash / MADE_FILE).exists():
            return False
    return True


class Rows:
    """Feature rows by place: read from the memory-mapped file on the CPU, held in memory on a GPU."""

    def __init__(self, values: np.ndarray, device: torch.device):
        self.values = values
        self.held = torch.from_numpy(np.array(values)).to(device) if device.type != "cpu" else None

    def __getitem__(self, places: Tensor) -> Tensor:
        if self.held is not None:
            return self.held.index_select(0, places).float()
        return torch.from_numpy(self.values[places.numpy()]).float()


@functools.lru_cache(maxsize=4)
def rows_of(dataset: Dataset, part: str, flip: bool, precision: str, device: torch.device) -> Rows:
    """The rows of a data set's train or test images, kept for the next who asks."""
    return Rows(of_part(dataset, part, flip, precision).values, device)


@dataclass
class FeatureRows(Preparation):
    """Places in a data set [B] -> float32 features [B, 9216], of the images or of their reflections."""

    plain: Rows = field(kw_only=True)
    reflected: Rows | None = field(default=None, kw_only=True)

    def read(self, source: object) -> np.ndarray:
        """Refused: there are no features of images that are not in the data set."""
        raise SpecError("This network is given features of frozen layers, no images; unfreeze them to predict images.")

    def __call__(self, places: Tensor, draws: Draws) -> Tensor:
        """Look a batch up."""
        found = self.plain[places]
        if draws.flips is not None and self.reflected is not None:
            found[draws.flips] = self.reflected[places[draws.flips]]
        return found


def run(arguments: Namespace) -> int:
    """Compute the features that transfer trains on, after saying what that takes."""
    dataset, found = datasets.load(arguments.dataset), weights.imagenet()
    total = sum(len(getattr(dataset, f"{part}_images")) for part, _ in PARTS)
    size = total * width(convolutional_part(found)) * 2 / 1e9
    print(f"weights: {found.source}")
    print(f"{total:,} images and reflections, {size:.2f} GB in {paths.data_folder() / 'features'}", flush=True)
    for part, flip in PARTS:
        features = of_part(dataset, part, flip)
        title = f"{part}{' reflected' if flip else ''}"
        print(f"{title}: {len(features.values):,} images, sha256 {features.sha256[:16]}...")
    return 0
