"""Boxes: x1, y1, x2, y2 in float pixels, area (x2 − x1)(y2 − y1), without the old +1 pixel.

Every function returns NumPy float64. Coordinates are the last axis, (N, 4), but for `iou_of_pairs`.
"""

import numpy as np
from numpy.typing import ArrayLike


def xywh_to_xyxy(boxes: ArrayLike) -> np.ndarray:
    """(…, 4) x, y, w, h → x1, y1, x2, y2."""
    boxes = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes: ArrayLike) -> np.ndarray:
    """(…, 4) x1, y1, x2, y2 → x, y, w, h."""
    boxes = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def in_file(boxes: ArrayLike) -> np.ndarray:
    """(…, 4) x1, y1, x2, y2 → x, y, w, h as files have them, in thousandths of a pixel."""
    return np.round(xyxy_to_xywh(boxes), 3)


def area(boxes: ArrayLike) -> np.ndarray:
    """(N,) areas; 0 where a box is turned inside out."""
    boxes = np.asarray(boxes, dtype=np.float64)
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def clip(boxes: ArrayLike, size: tuple[int, int]) -> np.ndarray:
    """Boxes cut at the borders of a (width, height) image."""
    return np.clip(np.asarray(boxes, dtype=np.float64), 0, np.tile(size, 2))


def iou(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """(N, M) intersection over union of each of (N, 4) with each of (M, 4); 0 for boxes without area."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return iou_of_pairs(a.T[:, :, None], b.T[:, None, :])


def iou_of_pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(…,) intersection over union of boxes given by coordinate first, (4, …) float64, broadcast."""
    width = np.maximum(np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]), 0)
    height = np.maximum(np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]), 0)
    intersection = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=intersection > 0)
