"""Reading a pickle of arrays, as detectron2's model zoo publishes them, without running what is in it.

A pickle is a program: it may call anything that can be imported. This reader knows NumPy's arrays and
nothing else. Our own artifacts are never pickles.
"""

import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy._core.multiarray import _reconstruct

from distill.program import UserError


def _latin1(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, by which pickles of protocol 2 write bytes."""
    return text.encode("latin1")


def _from_buffer(
    buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: Literal["C", "F"]
) -> np.ndarray:
    """Stands in for NumPy's function of pickles of protocol 5."""
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


_KNOWN = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _latin1,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it holds {module}.{name}; only arrays are read") from None


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays under `model` of a pickle {"model": {name: array}, …}.

    Raises UserError where the file is no such pickle, or holds anything but arrays, text and numbers.
    """
    try:
        with open(path, "rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # what a damaged pickle raises depends on where it is damaged
        raise UserError(f"{path}: not a pickle of arrays ({error})") from None
    arrays = content.get("model") if isinstance(content, dict) else None
    if not isinstance(arrays, dict):
        raise UserError(f"{path}: has no 'model'; it is not of detectron2's model zoo")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise UserError(f"{path}: {name!r} is not an array of numbers")
    return arrays
