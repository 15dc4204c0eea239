"""What is left of overlapping boxes: NMS, soft-NMS (arXiv 1704.04503), and the groups that NMS finds.

Reference: `pytorch/cpu/nms.cpp`. A box without extent overlaps with nothing.
"""

import numpy as np
import torch
from torch import Tensor

from distill.models.operators.precision import wide

NAIVE, LINEAR, GAUSSIAN = range(3)  # how the scores of overlapping boxes are lowered


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes (N, 4) that survive, best first; `offset` 1 counts pixels (x2 − x1 + 1)."""
    if offset:  # else nothing is copied to a GPU
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torch.ops.torchvision.nms(boxes.float(), scores.float(), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    *,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Indices of the boxes whose lowered scores are at least `min_score`, best first, and the best one.

    boxes: (N, 4), scores: (N,), both on the CPU. dets: (N, 5) takes the boxes that are left, and
    their lowered scores. method: of `NAIVE` (0 from the threshold on), `LINEAR`, `GAUSSIAN` (of width sigma).
    Equal scores come in the order of the reference, which swaps a box with the last one to drop it.
    """
    corners, lowered = wide(boxes).numpy(), wide(scores).numpy().copy()
    order, picked = np.arange(len(corners)), []
    while len(order):
        best = int(lowered[order].argmax())
        order[[0, best]] = order[[best, 0]]
        box, order = order[0], order[1:]
        picked.append(box)
        overlap = _overlaps(corners[box], corners[order], offset)
        if method == GAUSSIAN:
            kept = np.exp(-(overlap**2) / np.asarray(sigma, lowered.dtype))
        else:
            kept = np.where(overlap < iou_threshold, 1, 1 - overlap if method == LINEAR else 0)
        lowered[order] *= kept.astype(lowered.dtype)
        order = _without(order, lowered[order] < min_score)
    left = np.array(picked, dtype=np.int64)
    dets[: len(left)] = torch.from_numpy(np.column_stack([corners[left], lowered[left]]))
    return torch.from_numpy(left)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """The groups of boxes that NMS makes one: each box that survives, then those that it suppresses.

    dets: (N, 5) x1, y1, x2, y2, score, on the CPU. Groups and boxes in them come best first.
    """
    boxes, scores = wide(dets).split([4, 1], dim=1)
    order, boxes, groups = scores[:, 0].argsort(descending=True, stable=True).numpy(), boxes.numpy(), []
    while len(order):
        same = _overlaps(boxes[order[0]], boxes[order], 0) >= iou_threshold
        same[0] = True
        groups.append(order[same].tolist())
        order = order[~same]
    return groups


def _overlaps(box: np.ndarray, boxes: np.ndarray, offset: int) -> np.ndarray:
    """The IoU (N,) of a box (4,) and boxes (N, 4)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = (high - low + offset).clip(min=0).prod(1)
    union = (box[2:] - box[:2] + offset).prod() + (boxes[:, 2:] - boxes[:, :2] + offset).prod(1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union != 0)


def _without(order: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """The order with its last ones in the places of the dropped ones."""
    left = len(order) - dropped.sum()
    gaps = np.flatnonzero(dropped[:left])
    order[gaps] = order[left:][~dropped[left:]][::-1]
    return order[:left]
