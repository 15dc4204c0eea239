"""Loads a detector that was exported for torchvision: this file, NAME.json and NAME.pth, side by side.

    from NAME import load
    detections = load()([image])  # (3, H, W), RGB from 0 to 1

It needs torch and torchvision only. NAME.pth is a state dict of torchvision's own class, which loads into it
strictly; NAME.json has the arguments that the class takes. Two of these are objects: where a network was not
trained with torchvision's anchors and RoIAlign, but mmdet's, the classes below take their place.
"""

import json
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign, roi_align

STRIDES = (4, 8, 16, 32, 64)


class Anchors(AnchorGenerator):
    """mmdet's: sides are not rounded, distances are those of the strides whatever the size of the image."""

    def __init__(self, scale: float, ratios: list[float]) -> None:
        super().__init__(tuple((scale * s,) for s in STRIDES), (tuple(ratios),) * len(STRIDES))

    def generate_anchors(self, scales, aspect_ratios, dtype=torch.float32, device="cpu") -> Tensor:
        ratio = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        width, height = scales[0] / ratio, scales[0] * ratio
        return torch.stack([-width, -height, width, height], 1) / 2

    def forward(self, image_list, feature_maps: list[Tensor]) -> list[Tensor]:
        first = feature_maps[0]
        self.set_cell_anchors(first.dtype, first.device)
        strides = [[torch.tensor(s, device=first.device)] * 2 for s in STRIDES]
        anchors = self.grid_anchors([level.shape[-2:] for level in feature_maps], strides)
        return [torch.cat(anchors)] * len(image_list.image_sizes)


class Pooling(MultiScaleRoIAlign):
    """mmdet's SingleRoIExtractor: the centre of a cell is at +0.5 (RoIAlign's `aligned`). samples: in a bin,
    along each side; 0: as many as it has cells."""

    def __init__(self, size: int, samples: int) -> None:
        super().__init__(["0", "1", "2", "3"], size, samples)

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes) -> Tensor:
        index = [b.new_full((len(b), 1), i) for i, b in enumerate(boxes)]
        rois = torch.cat([torch.cat(index), torch.cat(boxes)], 1)
        sides = rois[:, 3:] - rois[:, 1:3]
        level = (sides.prod(1).sqrt() / 56 + 1e-6).log2().floor().clamp(0, 3)
        pooled = rois.new_zeros(len(rois), x["0"].shape[1], *self.output_size)
        for i, stride in enumerate(STRIDES[:4]):
            here = torch.where(level == i)[0]
            pooled[here] = roi_align(
                x[str(i)], rois[here], self.output_size, 1 / stride, self.sampling_ratio, aligned=True
            )
        return pooled


def build(settings: dict) -> torch.nn.Module:
    """torchvision's network of NAME.json, without its weights."""
    arguments, pooling = dict(settings["arguments"]), settings.get("pooling")
    if anchors := settings.get("anchors"):
        arguments["rpn_anchor_generator"] = Anchors(**anchors)
    if pooling:
        arguments["box_roi_pool"] = Pooling(7, pooling["boxes"])
    network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, **arguments)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.eps = settings["eps"]
    return network


def load(weights: Path | None = None) -> torch.nn.Module:
    """The trained network, which predicts. Its labels are the numbers of `categories` in NAME.json."""
    weights = weights or Path(__file__).with_suffix(".pth")
    network = build(json.loads(weights.with_suffix(".json").read_text(encoding="utf-8")))
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
