"""The keypoint head of Mask R-CNN: a 56×56 heatmap for each of K keypoints in each RoI.

K keypoints, N RoIs, S = 56 cells a side. Boxes are x1, y1, x2, y2 in pixels of the network's input.
"""

from itertools import pairwise

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModule
from torch import Tensor, nn

IGNORED = -100  # what cross_entropy leaves out


def encode_keypoints(keypoints: Tensor, boxes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The heatmap cell of each keypoint in its RoI, and whether it takes part in the loss.

    A keypoint on the right or bottom edge belongs to the last cell (Detectron's
    `keypoints_to_heatmap_labels`, utils/keypoints.py).

    keypoints: (N, K, 3) x, y, visibility.
    boxes: (N, 4).
    size: S.

    Returns cell (N, K) int64, row · S + column; valid (N, K) bool, whether it is visible (v > 0) and inside
    the RoI.
    """
    origin, extent = boxes[:, None, :2], (boxes[:, None, 2:] - boxes[:, None, :2]).clamp(min=1e-6)
    relative = (keypoints[..., :2] - origin) / extent
    valid = (keypoints[..., 2] > 0) & (relative >= 0).all(-1) & (relative <= 1).all(-1)
    cell = (relative * size).floor().long().clamp(0, size - 1)
    return cell[..., 1] * size + cell[..., 0], valid


@MODELS.register_module()
class KeypointHead(BaseModule):
    """`convs` 3×3 convolutions, a 4×4 stride-2 deconvolution to K channels, ×2 bilinear upsampling.

    The output is (N, K, 56, 56) logits. The loss is the softmax cross-entropy over the 56² positions of each
    visible keypoint (Mask R-CNN, arXiv 1703.06870, section 5), averaged over the visible keypoints
    (Detectron's KRCNN.NORMALIZE_BY_VISIBLE_KEYPOINTS).

    keypoints: K.
    in_channels: C of the RoI features (N, C, 14, 14).
    convs, channels: of the stack of convolutions; 8 and 512 in Detectron.
    norm_cfg: none in Detectron, but a narrow head from random weights learns sooner with one.
    """

    def __init__(
        self,
        keypoints: int,
        in_channels: int = 256,
        convs: int = 8,
        channels: int = 512,
        norm_cfg: dict | None = None,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.loss_weight = loss_weight
        widths = [in_channels] + [channels] * convs
        self.convs = nn.Sequential(
            *(ConvModule(a, b, 3, padding=1, norm_cfg=norm_cfg) for a, b in pairwise(widths))
        )
        self.deconv = nn.ConvTranspose2d(channels, keypoints, 4, stride=2, padding=1)

    def init_weights(self) -> None:
        super().init_weights()
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Tensor:
        """RoI features (N, C, 14, 14) → heatmaps (N, K, 56, 56), logits."""
        x = self.deconv(self.convs(features))
        return F.interpolate(x.float(), scale_factor=2, mode="bilinear", align_corners=False)

    def loss(
        self, heatmaps: Tensor, keypoints: Tensor, boxes: Tensor, weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Loss of heatmaps (N, K, S, S) whose RoIs are `boxes` (N, 4) with keypoints (N, K, 3). weights: (N,)
        of each RoI's part; None: 1."""
        cell, valid = encode_keypoints(keypoints, boxes, heatmaps.shape[-1])
        # What is not valid is left out by its target: to choose rows, the CPU would wait for the GPU.
        target = cell.masked_fill(~valid, IGNORED).flatten()
        each = F.cross_entropy(heatmaps.flatten(2).flatten(0, 1), target, reduction="none").view_as(valid)
        loss = (each if weights is None else each * weights[:, None]).sum()
        count = valid.sum().to(loss)
        if get_world_size() > 1:  # the gradients are averaged over processes, so the count must be too
            all_reduce(count, op="mean")
        return {"loss_keypoint": self.loss_weight * loss / count.clamp(min=1)}
