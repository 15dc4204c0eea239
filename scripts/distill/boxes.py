"""Boxes: x1, y1, x2, y2 in float pixels, area (x2 − x1)(y2 − y1), without the old +1 pixel.

Every function takes and returns NumPy float64, (N, 4).
"""

import numpy as np


def xywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """(…, 4) x, y, w, h → x1, y1, x2, y2."""
    boxes = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """(…, 4) x1, y1, x2, y2 → x, y, w, h."""
    boxes = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def area(boxes: np.ndarray) -> np.ndarray:
    """(N,) areas; 0 where a box is turned inside out."""
    boxes = np.asarray(boxes, dtype=np.float64)
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def clip(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes cut at the borders of a (width, height) image."""
    return np.clip(np.asarray(boxes, dtype=np.float64), 0, np.tile(size, 2))


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union of (N, 4) with (M, 4); 0 for boxes without area."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    sides = []
    for low, high in ((0, 2), (1, 3)):
        side = np.minimum(a[:, None, high], b[None, :, high])
        side -= np.maximum(a[:, None, low], b[None, :, low])
        sides.append(np.maximum(side, 0, out=side))
    intersection = sides[0] * sides[1]
    union = area(a)[:, None] + area(b)[None]
    union -= intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def nms(boxes: np.ndarray, scores: np.ndarray, categories: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the boxes that survive non-maximum suppression within their category, best first.

    boxes (N, 4), scores (N,), categories (N,). A box goes where its IoU with a better survivor is above the
    threshold. Equal scores: the lower index is better.
    """
    import torch
    from torchvision.ops import nms as torchvision_nms

    boxes = np.asarray(boxes, dtype=np.float64)
    if not len(boxes):
        return np.zeros(0, dtype=np.int64)
    # Each category gets a place of its own on the plane, so that one pass does all. The offsets are multiples
    # of a power of two: coordinates of few binary digits stay exact, others move by less than 1e-9 pixels.
    _, place = np.unique(categories, return_inverse=True)
    step = 2.0 ** np.ceil(np.log2(max(np.ptp(boxes), 0.5) + 1))
    moved = boxes + (place * step)[:, None]
    keep = torchvision_nms(torch.from_numpy(moved), torch.tensor(np.asarray(scores, np.float64)), threshold)
    return keep.numpy()
