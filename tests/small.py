"""A data set and runs small enough for tests that train: a run takes a second or two."""

import io
import resource
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
import pytest
import torch

from alexnet import RunRecord, RunSpec
from alexnet.data import datasets
from alexnet.data.datasets import Dataset
from alexnet.data.sources import array_hash
from alexnet.records.record import Epoch
from alexnet.training import features, machine, prepared

VALIDATION, TEST = 200, 200


@cache
def dataset(name: str = "cifar10") -> Dataset:
    """800 training and 200 test images in the form of CIFAR-10: noise around one colour a class."""
    generator = np.random.default_rng(2012)
    colours = generator.integers(40, 216, (10, 1, 1, 3))

    def images(labels: np.ndarray) -> np.ndarray:
        noise = generator.normal(0, 50, (len(labels), 32, 32, 3))
        return (colours[labels] + noise).clip(0, 255).astype(np.uint8)

    train_labels, test_labels = ((np.arange(count) % 10).astype(np.uint8) for count in (800, TEST))
    arrays = {
        "train_images": images(train_labels),
        "train_labels": train_labels,
        "test_images": images(test_labels),
        "test_labels": test_labels,
    }
    hashes = {key: array_hash(array) for key, array in arrays.items()}
    return Dataset(name=name, classes=datasets.CIFAR10.classes, source="made for a test", hashes=hashes, **arrays)


def flipped(content: bytes, place: int | None = None, bit: int = 0) -> bytes:
    """The same with one bit changed, in the middle unless told otherwise."""
    changed = bytearray(content)
    changed[len(content) // 2 if place is None else place] ^= 1 << bit
    return bytes(changed)


def packed(files: dict[str, bytes]) -> bytes:
    """A gzipped tar archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def install(patch: pytest.MonkeyPatch) -> None:
    """Let the library see the small data set in the place of CIFAR-10, and no GPU, whatever the machine has."""
    small = dataset()
    patch.setattr(datasets, "load", lambda *_, **__: small)
    patch.setattr(datasets, "split", partial(datasets.split, held_back=VALIDATION))
    patch.setattr(machine, "default_device", lambda: torch.device("cpu"))
    forget()


def forget() -> None:
    """Empty the library's memory of data sets."""
    for function in (prepared.dataset_of, prepared.images_of, prepared.split_of, features.rows_of):
        function.cache_clear()


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file may grow beyond `free` bytes, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def spec(seed: int = 0, **changes: dict) -> RunSpec:
    """A small four-layer net for two epochs of nine batches."""
    few = RunSpec(seed=seed).with_(
        net={"name": "four-layer", "norm": "none", "dropout": 0.0, "width": 0.125, "init": "kaiming"},
        recipe={"learning_rate": 0.05, "batch_size": 64, "epochs": 2},
    )
    return few.with_(**changes)


def grid() -> list[RunSpec]:
    """Runs that between them use all that must survive a kill: momentum, drops, dropout, augmentation, an early end."""
    steps = {"epochs": 4, "schedule": "steps", "drops": (1, 3)}
    plateau = {"epochs": 6, "schedule": "plateau", "patience": 1, "most_drops": 1, "learning_rate": 1e-5}
    alexnet = {"name": "alexnet", "form": "32", "width": 0.02, "dropout": 0.5}
    return [
        spec(0, recipe={"epochs": 4, "weight_decay": 0.0005}),
        spec(1, recipe=steps),
        spec(2, recipe=plateau),
        spec(3, recipe={"epochs": 3}, net=alexnet, images={"padding": 2, "crop": 32, "flip": True, "colour": 0.1}),
        spec(4, recipe={"learning_rate": 0.01, "epochs": 8, "stop_at_train_error": 0.7}),
    ]


def stop_after(epoch: int) -> Callable[[Epoch], None]:
    """A report that stops its run when this epoch is done, as Ctrl-C would."""

    def report(done: Epoch) -> None:
        if done.epoch == epoch:
            raise KeyboardInterrupt

    return report


def comparable(record: RunRecord) -> dict:
    """All of a record but the clock's part; history, final, weights and the hash of the predictions are in it."""
    fields = record.model_dump(exclude={"wall_seconds", "images_per_second", "created"})
    for epoch in fields["history"]:
        del epoch["seconds"]
    return fields
