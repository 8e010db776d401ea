"""`python -m alexnet data`: fetch and verify a data set, or the ImageNet weights."""

from argparse import Namespace
from pathlib import Path

import pandas as pd

from .. import paths
from ..errors import DataError
from . import datasets, weights
from .cache import read, read_or_build
from .layouts import Arrays
from .sources import DatasetDescription, named_local_folder


def run(arguments: Namespace) -> int:
    """Fetch and verify a data set, and print its arrays.

    A folder that the user names here or in ALEXNET_LOCAL is read even where the cached copy is good.
    """
    folder = paths.data_folder()
    description = description_of(arguments.dataset)
    if arguments.verify:
        require_cached(arguments.dataset, folder)
    own = weights.named_file if description is weights.IMAGENET else named_local_folder
    local = arguments.local or own()
    arrays, source = read_or_build(description, folder, local, rebuild=local is not None and not arguments.verify)
    print(table(arrays, description).to_string(index=False))
    print(f"source: {source}")
    print(f"folder: {folder / description.name}")
    return 0


def description_of(name: str) -> DatasetDescription:
    """What is known of a data set, or of the weights, by its name."""
    return {**datasets.DESCRIPTIONS, weights.IMAGENET.name: weights.IMAGENET}[name]


def require_cached(name: str, folder: Path) -> None:
    """DataError unless the cached copy is there and whole."""
    if read(description_of(name), folder / name) is None:
        command = "python -m alexnet data" + (f" --dataset {name}" if name not in datasets.DESCRIPTIONS else "")
        raise DataError(f"There is no cached copy of {name} in {folder}; `{command}` makes it.")


def table(arrays: Arrays, description: DatasetDescription) -> pd.DataFrame:
    """One row an array: its name, shape, type and hash."""
    rows = [
        (name, "x".join(map(str, array.shape)), str(array.dtype), description.arrays[name].sha256)
        for name, array in arrays.items()
    ]
    return pd.DataFrame(rows, columns=["array", "shape", "dtype", "sha256"])
