"""Faster and Keypoint R-CNN as one ONNX graph, from pixels to boxes and keypoints.

Every shape follows from that of the image: where fewer boxes are found than a step takes, the rest has a
score of 0, and NMS keeps its list of boxes and marks them. So any exporter can trace it.

Inputs: `image` (1, 3, H, W) float32, RGB from 0 to 255, of the view's size, put into the upper left of an
image whose sides are multiples of 32 (what is put around it does not matter); `size` (2,) int64, height and
width without that. Outputs, of the 100 best: `boxes` (100, 4) x1, y1, x2, y2 in these pixels; `scores`
(100,), 0 where there is none; `labels` (100,) int64, places among the categories; of keypoint models
`keypoints` (100, K, 3) x, y, and the probability at the peak of the heatmap.
"""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torchvision  # noqa: F401, its operators with shapes for the exporter
from torch import Tensor, nn
from torch.nn.functional import softmax

from distill.files import replacing
from distill.program import UserError

OPSET = 18
NEEDED = ("onnx", "onnxscript")
STEP = 32  # sides of the input are multiples of it
MOST = 4096  # boxes of all categories that go into the last NMS
WIDEST = 4.135166556742356  # |logarithm of a change of size|: 1000 / 16, as in mmdet


def write(network: Any, output: Path) -> None:
    """Writes the graph of a network in eval mode. Raises UserError where a package is missing."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(f"onnx: needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    network = network.to(memory_format=torch.contiguous_format)
    height, width = torch.export.Dim("rows", min=2, max=256), torch.export.Dim("columns", min=2, max=256)
    sample = torch.rand(1, 3, 5 * STEP, 7 * STEP) * 255, torch.tensor([150, 220])
    names = ["boxes", "scores", "labels"]
    names += ["keypoints"] if network.roi_head.keypoint_head is not None else []
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with replacing(output) as temporary, torch.inference_mode():
        program = torch.onnx.export(
            Graph(network).eval(),
            sample,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["image", "size"],
            output_names=names,
            dynamic_shapes={"image": {2: STEP * height, 3: STEP * width}, "size": {}},
        )
        assert program is not None  # of dynamo
        program.save(temporary, external_data=False)


class Graph(nn.Module):
    """The steps of mmdet's TwoStageDetector.predict on one image."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        pixels = network.data_preprocessor
        self.order = [0, 1, 2] if pixels._channel_conversion else [2, 1, 0]
        self.mean: Tensor
        self.register_buffer("mean", pixels.mean.clone())
        self.std: Tensor
        self.register_buffer("std", pixels.std.clone())

    def forward(self, image: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        inside = (torch.arange(image.shape[2]) < size[0])[:, None] & (torch.arange(image.shape[3]) < size[1])
        pixels = (image[:, self.order] - self.mean) / self.std * inside
        levels = self.network.neck(self.network.backbone(pixels))
        limit = size.flip(0).to(image.dtype).repeat(2)
        proposals, _ = self.propose(levels, limit)
        boxes, scores, labels = self.classify(levels, proposals, limit)
        if self.network.roi_head.keypoint_head is None:
            return boxes, scores, labels
        return boxes, scores, labels, self.locate(levels, boxes)

    def propose(self, levels: tuple[Tensor, ...], limit: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals (n, 4), the best first, and their scores (n,), 0 where there are fewer."""
        head, cfg = self.network.rpn_head, self.network.test_cfg.rpn
        sizes = [level.shape[-2:] for level in levels]
        priors = head.prior_generator.grid_priors(sizes, dtype=torch.float32, device="cpu")
        found = []
        for number, (objectness, change, prior) in enumerate(zip(*head(levels), priors, strict=True)):
            score = objectness[0].permute(1, 2, 0).reshape(-1).sigmoid()
            change = change[0].permute(1, 2, 0).reshape(-1, 4)
            # A small level has fewer anchors than are taken.
            score, change, prior = (
                torch.cat([values, values.new_zeros(cfg.nms_pre, *values.shape[1:])])
                for values in (score, change, prior)
            )
            score, rows = score.topk(cfg.nms_pre)
            boxes = clip(decode(prior[rows], change[rows], head.bbox_coder.stds), limit)
            found.append((boxes, score, torch.full_like(rows, number)))
        boxes, scores, level = (torch.cat(column) for column in zip(*found, strict=True))
        large = (boxes[:, 2:] - boxes[:, :2] > max(cfg.min_bbox_size, 0)).all(1)
        scores = best_of(boxes, scores * large, level, cfg.nms.iou_threshold, limit)
        scores, rows = scores.topk(min(cfg.max_per_img, len(scores)))
        return boxes[rows], scores

    def classify(
        self, levels: tuple[Tensor, ...], proposals: Tensor, limit: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (n, 4), scores (n,) and labels (n,), the best first."""
        head, cfg = self.network.roi_head.bbox_head, self.network.test_cfg.rcnn
        logits, change = head(pool(self.network.roi_head.bbox_roi_extractor, levels, proposals))
        classes, count = head.num_classes, proposals.shape[0]
        scores = softmax(logits, -1)[:, :classes].reshape(-1)
        # A proposal that is none has no extent.
        real = (proposals[:, 2:] > proposals[:, :2]).all(1)
        scores = scores * (scores > cfg.score_thr) * real[:, None].expand(count, classes).reshape(-1)
        scores, rows = scores.topk(min(MOST, count * classes))
        mine, labels = rows // classes, rows % classes
        change = change.reshape(count, -1, 4)
        change = change[mine, labels if change.shape[1] > 1 else labels * 0]
        boxes = clip(decode(proposals[mine], change, head.bbox_coder.stds), limit)
        scores = best_of(boxes, scores, labels, cfg.nms.iou_threshold, limit)
        scores, rows = scores.topk(min(cfg.max_per_img, len(scores)))
        return boxes[rows], scores, labels[rows]

    def locate(self, levels: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
        """Keypoints (n, K, 3): the centre of the best cell of each heatmap, and its probability."""
        roi = self.network.roi_head
        maps = roi.keypoint_head(pool(roi.keypoint_roi_extractor, levels, boxes))
        side = maps.shape[-1]
        score, cell = softmax(maps.flatten(2), -1).max(-1)
        place = torch.stack([cell % side, cell // side], -1).to(boxes.dtype)
        points = boxes[:, None, :2] + (place + 0.5) / side * (boxes[:, 2:] - boxes[:, :2])[:, None]
        return torch.cat([points, score[..., None]], -1)


def decode(boxes: Tensor, change: Tensor, stds: list[float]) -> Tensor:
    """mmdet's delta2bbox: boxes (n, 4) moved and stretched by `change` (n, 4)."""
    change = change * change.new_tensor(stds)
    extent = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + change[:, :2] * extent
    half = extent * change[:, 2:].clamp(-WIDEST, WIDEST).exp() / 2
    return torch.cat([centre - half, centre + half], 1)


def clip(boxes: Tensor, limit: Tensor) -> Tensor:
    """Boxes inside an image whose width, height, width, height are `limit`."""
    return torch.minimum(boxes.clamp(min=0), limit)


def best_of(boxes: Tensor, scores: Tensor, groups: Tensor, overlap: float, limit: Tensor) -> Tensor:
    """Scores (n,), 0 where NMS within a group suppresses a box. The groups lie apart, as in batched NMS."""
    apart = boxes + groups[:, None].to(boxes.dtype) * (limit.max() + 1)
    kept = torch.ops.torchvision.nms(apart, scores, overlap)
    return scores * torch.zeros_like(scores).index_fill(0, kept, 1.0)


def pool(extractor: Any, levels: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
    """mmdet's SingleRoIExtractor: features (n, C, h, w) of boxes, each from the level of its size."""
    rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)
    number = extractor.map_roi_levels(rois, extractor.num_inputs)
    pooled: Any = 0.0
    for i, (layer, level) in enumerate(zip(extractor.roi_layers, levels, strict=False)):
        here = torch.ops.torchvision.roi_align(
            level, rois, layer.spatial_scale, *layer.output_size, layer.sampling_ratio, layer.aligned
        )
        pooled = pooled + here * (number == i)[:, None, None, None]
    return pooled
