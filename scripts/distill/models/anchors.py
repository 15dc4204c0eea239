"""torchvision's anchors, for models that were trained with them."""

from copy import copy

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.registry import TASK_UTILS
from torch import Tensor


@TASK_UTILS.register_module()
class TorchvisionAnchorGenerator(AnchorGenerator):
    """mmdet's anchors with sides rounded to whole pixels and the distance that torchvision puts them at.

    That is the input's size divided by the level's, rounded down: 800 pixels have 13 cells at stride 64, and
    anchors 61 pixels apart.
    """

    def gen_single_level_base_anchors(self, *args, **kwargs) -> Tensor:
        return super().gen_single_level_base_anchors(*args, **kwargs).round()

    def grid_priors(self, featmap_sizes, dtype=torch.float32, device="cuda") -> list[Tensor]:
        """Anchors (h · w · A, 4) of each level from the levels' sizes (h, w), the finest first."""
        (rows, columns), (width, height) = featmap_sizes[0], self.strides[0]
        placed = copy(self)
        placed.strides = [(columns * width // w, rows * height // h) for h, w in featmap_sizes]
        return super(TorchvisionAnchorGenerator, placed).grid_priors(featmap_sizes, dtype, device)
