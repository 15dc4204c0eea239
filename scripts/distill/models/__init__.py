"""The networks: what mmdet and mmengine lack for data distillation, as modules of their registries."""

import warnings

from distill.models import mmcv_ext

mmcv_ext.install()  # before mmdet is imported
warnings.filterwarnings("ignore", category=UserWarning, module="mmengine|mmdet|mmcv|torch.functional")
warnings.filterwarnings("ignore", category=FutureWarning, module="mmengine|mmdet|mmcv")
