"""Reading the tensors of a checkpoint that holds more than tensors, without running what is in it.

`torch.load(weights_only=True)` refuses such a file as a whole. mmengine's own checkpoints are of this kind:
the logs of the training are in them as objects. Here all but tensors and plain values becomes a dummy.
"""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import torch

_KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}


class _Dummy:
    """Stands in for any class, function or object of the file: can be called and filled, and does nothing."""

    def __new__(cls, *args, **kwargs) -> "_Dummy":
        return super().__new__(cls)

    def __call__(self, *args, **kwargs) -> "_Dummy":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    __setitem__ = append = extend = __call__


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _KNOWN.get((module, name), _Dummy)


class _Reader:
    """What torch.load takes for the module `pickle`."""

    Unpickler = _TensorUnpickler

    @staticmethod
    def load(file: IO[bytes], **options) -> Any:
        return _TensorUnpickler(file, **options).load()


def read_tensors(path: str | Path) -> Any:
    """The content of a file of `torch.save`, with dummies in the place of what is neither a tensor nor plain.

    Raises whatever torch raises for a file that it did not write.
    """
    return torch.load(path, map_location="cpu", pickle_module=_Reader, weights_only=False)
