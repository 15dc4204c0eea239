"""Merging the keypoint heatmaps of several views of one RoI, and reading keypoints off the result.

Data Distillation (arXiv 1712.04440), section 4; the alternatives are those of Detectron's
`im_detect_keypoints_aug` (core/test.py) and `heatmaps_to_keypoints` (utils/keypoints.py).

N instances, K keypoints, S × S cells of a RoI: cell (row, col) covers the part of the box from col/S to
(col + 1)/S of its width, and its centre, at (col + 0.5)/S, is where a peak is put in the image.
"""

from collections.abc import Sequence
from functools import reduce

import cv2
import numpy as np

from distill.predictions.agreement import Peaks
from distill.predictions.views import View
from distill.program import UserError

AVERAGES = ("probability", "logit", "max_logit")


def softmax2d(logits: np.ndarray, highest: np.ndarray | None = None) -> np.ndarray:
    """(…, S, S) logits → float32 probabilities over the S² positions of each map. highest: (…), the highest
    of each map where the caller has it."""
    probability = np.array(logits, dtype=np.float32)
    if highest is None:
        highest = probability.max(axis=(-2, -1))
    probability -= highest[..., None, None]
    np.exp(probability, out=probability)
    probability /= probability.sum(axis=(-2, -1), keepdims=True)
    return probability


class Average:
    """Running merger of the heatmaps of the same RoIs over views; its size hardly depends on their number.

    kind: "probability" averages the softmax of each map (the paper); "logit" takes the softmax of the
        averaged logits (Detectron's HM_AVG), "max_logit" that of each cell's highest logit (HM_MAX).
    flip_pairs: keypoints (0-based) that are each other's mirror image.

    `peaks` are those of the single views.
    """

    def __init__(self, kind: str, flip_pairs: Sequence[tuple[int, int]]):
        check(kind)
        self.kind, self.flip_pairs = kind, flip_pairs
        self.peaks = Peaks(flip_pairs)
        self._views = np.zeros(1, int)  # (N,) once there are views: how many count for each instance
        self._merge: np.ufunc = np.maximum if kind == "max_logit" else np.add
        self._start = -np.inf if kind == "max_logit" else 0.0
        # One sum for each orientation (flip, turn): inverting only moves cells, so the sum is inverted, once.
        self._maps: dict[tuple[bool, int], tuple[View, np.ndarray, np.ndarray]] = {}

    def add(self, logits: np.ndarray, view: View, rows: np.ndarray | None = None) -> None:
        """Merges in the heatmaps of one view.

        logits: (N, K, S, S) in the view's frame.
        rows: (N,) bool, the instances that the view counts for; None: all.
        """
        logits = np.asarray(logits, dtype=np.float32)
        self._views = self._views + (np.ones(len(logits), dtype=bool) if rows is None else rows)
        orientation = (view.flip, view.rotate)
        if orientation not in self._maps:
            self._maps[orientation] = (view, np.full_like(logits, self._start), np.zeros_like(logits))
        _, logit, probability = self._maps[orientation]
        where = True if rows is None else rows[:, None, None, None]
        self._merge(logit, logits, out=logit, where=where)
        flat = logits.reshape(*logits.shape[:2], logits.shape[2] * logits.shape[3])
        peak = flat.argmax(axis=-1)
        self.peaks.add(peak, logits.shape[2:], view, rows)
        if self.kind == "probability":
            highest = np.take_along_axis(flat, peak[..., None], axis=-1)[..., 0]
            np.add(probability, softmax2d(logits, highest), out=probability, where=where)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Merged probabilities and logits, both (N, K, S, S), in the image's frame.

        Logits are the mean over the views, with "max_logit" their maximum. Raises UserError where an instance
        has no view that counts.
        """
        if not np.all(self._views):
            raise UserError("merge: an instance is left without a view")
        pairs, oriented = self.flip_pairs, self._maps.values()
        logit = reduce(self._merge, (view.inverse_heatmap(maps, pairs) for view, maps, _ in oriented))
        probability = reduce(self._merge, (view.inverse_heatmap(maps, pairs) for view, _, maps in oriented))
        if self.kind != "max_logit":
            views = self._views[:, None, None, None].astype(np.float32)
            logit, probability = logit / views, probability / views
        return (probability if self.kind == "probability" else softmax2d(logit)), logit


def counts(view: View, plain: int, areas: np.ndarray, large: float) -> np.ndarray:
    """The instances that a view counts for where the use of scales depends on size (Detectron's
    SCALE_SIZE_DEP): small ones not under views smaller than the plain one, large ones not under larger views.

    plain: the scale of the plain view, pixels of its shorter side.
    areas: (N,) of the instances, pixels of the original image.
    large: the area from which an instance is large.

    Returns (N,) bool.
    """
    areas = np.asarray(areas)
    return np.where(areas < large, view.scale >= plain, view.scale <= plain)


def check(kind: str) -> None:
    """UserError for an unknown kind of average."""
    if kind not in AVERAGES:
        raise UserError(f"merge: average {kind!r} is none of {', '.join(AVERAGES)}")


def decode(
    probability: np.ndarray, logit: np.ndarray, boxes: np.ndarray, upsample: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads keypoints off heatmaps: the centre of the best cell, of equals the first by rows.

    probability, logit: (N, K, S, S).
    boxes: (N, 4) x1, y1, x2, y2 of the RoIs.
    upsample: points and logits are Detectron's (`heatmaps_to_keypoints`), of maps resized to the RoI. The
        probability remains that of a cell: a pixel's would be lower in larger boxes, and one threshold is to
        serve all.

    Returns points (N, K, 2) in the frame of the boxes, and the probabilities and logits there, both (N, K).
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    cells = probability.shape[-1]
    flat = probability.reshape(*probability.shape[:-2], cells**2)
    peak = flat.argmax(axis=-1)[..., None]
    score = np.take_along_axis(flat, peak, axis=-1)[..., 0]
    if upsample:
        points, height = _decode_pixels(probability, logit, boxes)
        return points, score, height
    height = np.take_along_axis(logit.reshape(flat.shape), peak, axis=-1)[..., 0]
    cell = np.concatenate([peak % cells, peak // cells], axis=-1)
    boxes = boxes[:, None]
    points = boxes[..., :2] + (cell + 0.5) / cells * (boxes[..., 2:] - boxes[..., :2])
    return points, score, height


def _decode_pixels(
    probability: np.ndarray, logit: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, K, 2) and logits (N, K) of `decode` after bicubic resizing of each map to the RoI's pixels,
    whose number is rounded up. The peak is that of the logarithm of the probability, which is an averaged
    logit plus a constant."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    pixels = np.ceil(sides).astype(int)
    points, height = np.zeros((*logit.shape[:2], 2)), np.zeros(logit.shape[:2])
    evidence = np.log(np.maximum(probability, np.finfo(np.float32).tiny), dtype=np.float32)
    for n, k in np.ndindex(logit.shape[:2]):
        found, logits = (
            cv2.resize(maps[n, k], pixels[n].tolist(), interpolation=cv2.INTER_CUBIC)
            for maps in (evidence, logit)
        )
        row, column = np.unravel_index(found.argmax(), found.shape)
        points[n, k] = boxes[n, :2] + (column + 0.5, row + 0.5) * sides[n] / pixels[n]
        height[n, k] = logits[row, column]
    return points, height
