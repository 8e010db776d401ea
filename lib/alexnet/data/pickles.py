"""Reads pickles that hold numpy arrays and plain Python values, and nothing that could run code."""

import io
import pickle
from typing import Any

from ..errors import DataError

# What a pickled array refers to, under the names that numpy 1, numpy 2 and Python 2 write.
_ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, and only numpy arrays are admitted")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_arrays(content: bytes, name: str) -> Any:
    """The object pickled in `content`; DataError, naming the file `name`, on damage or on any other content."""
    try:
        return _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(f"{name} cannot be read as a pickle of numpy arrays: {error}. Fetch it again.") from error
