"""mmcv without its compiled extension.

mmdet imports all of `mmcv.ops`, each of which looks its functions up in the compiled `mmcv._ext`. Building
that takes a quarter of an hour and nvcc; detectors need a few of its operators, and `operators/` has them
without. Where `mmcv._ext` is missing, `install()` puts a module with those in its place.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import torch

from distill.models.operators import OPERATORS


def _load_operators() -> None:
    """Registers torchvision's compiled operators, as `import torchvision` does; but that takes two seconds of
    every job, most of them for torch's compiler, which is of no use here."""
    spec = importlib.util.find_spec("torchvision")
    libraries = sorted(Path(spec.origin).parent.glob("_C*.so")) if spec and spec.origin else []
    if libraries:
        torch.ops.load_library(libraries[0])
    else:
        import torchvision  # noqa: F401


class _Extension(ModuleType):
    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise NotImplementedError(f"mmcv._ext.{name} needs the compiled mmcv, which is not installed")

        return missing


def install() -> None:
    """Registers the operators as mmcv's extension; does nothing where mmcv has its own."""
    if "mmcv._ext" in sys.modules or importlib.util.find_spec("mmcv._ext") is not None:
        return
    _load_operators()
    extension = _Extension("mmcv._ext")
    extension.__spec__ = ModuleSpec("mmcv._ext", loader=None)
    vars(extension).update(OPERATORS)
    sys.modules["mmcv._ext"] = extension
