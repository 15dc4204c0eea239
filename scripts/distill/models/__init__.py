"""The networks: what mmdet and mmengine lack for data distillation, as modules of their registries."""

import sys
import warnings
from importlib import import_module

from distill.models import mmcv_ext

mmcv_ext.install()  # before mmdet is imported
for part in ("", ".coco", ".cocoeval", ".mask"):
    # mmpose imports it, and nothing here calls it. It has to be compiled, and is not for Python 3.13.
    sys.modules.setdefault(f"xtcocotools{part}", import_module(f"pycocotools{part}"))
warnings.filterwarnings("ignore", category=UserWarning, module="mmengine|mmdet|mmcv|torch.functional")
warnings.filterwarnings("ignore", category=FutureWarning, module="mmengine|mmdet|mmcv")
