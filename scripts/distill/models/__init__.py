"""The networks: what mmdet and mmengine lack for data distillation, as modules of their registries."""

import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from distill.models import mmcv_ext

mmcv_ext.install()  # before mmdet is imported
if find_spec("xtcocotools") is None:
    # mmpose imports it, and nothing here calls it. It has to be compiled, and is not for Python 3.13.
    for part in ("", ".coco", ".cocoeval", ".mask"):
        sys.modules[f"xtcocotools{part}"] = import_module(f"pycocotools{part}")
warnings.filterwarnings("ignore", category=UserWarning, module="mmengine|mmdet|mmcv|torch.functional")
warnings.filterwarnings("ignore", category=FutureWarning, module="mmengine|mmdet|mmcv")


def __getattr__(name: str) -> Any:
    """`from distill.models import Predictor`; who only wants another module does not load it."""
    if name == "Predictor":
        return import_module("distill.models.predictor").Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
