"""The networks: what mmdet and mmengine lack for data distillation, as modules of their registries."""

import warnings
from contextlib import redirect_stdout

from distill.nn import mmcv_ext

mmcv_ext.install()  # before mmdet is imported
warnings.filterwarnings("ignore", category=UserWarning, module="mmengine|mmdet|mmcv|torch.functional")
warnings.filterwarnings("ignore", category=FutureWarning, module="mmengine|mmdet|mmcv")

with redirect_stdout(None):  # mmdet prints which optional back ends it lacks
    import mmdet.datasets  # noqa: F401
