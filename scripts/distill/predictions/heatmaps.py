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

from distill.predictions.views import View
from distill.program import UserError

AVERAGES = ("probability", "logit", "max_logit")


def softmax2d(logits: np.ndarray) -> np.ndarray:
    """(…, S, S) logits → float32 probabilities over the S² positions of each map."""
    probability = np.array(logits, dtype=np.float32)
    probability -= probability.max(axis=(-2, -1), keepdims=True)
    np.exp(probability, out=probability)
    probability /= probability.sum(axis=(-2, -1), keepdims=True)
    return probability


class Average:
    """Running merger of the heatmaps of the same RoIs over views; its size does not depend on their number.

    kind: "probability" averages softmaxed maps (the paper); of "logit" (Detectron's HM_AVG) the logits are
    averaged, of "max_logit" (HM_MAX) the highest of each cell is taken, and softmaxed then. flip_pairs:
    keypoints (0-based) that are each other's mirror image.
    """

    def __init__(self, kind: str, flip_pairs: Sequence[tuple[int, int]]):
        check(kind)
        self.kind, self.flip_pairs = kind, flip_pairs
        self._views: np.ndarray | int = 0  # (N,) how many views count for each instance
        self._merge, self._start = (np.maximum, -np.inf) if kind == "max_logit" else (np.add, 0)
        # Merged by orientation: inverting only moves cells, so it is done once for all views turned alike.
        self._maps: dict[tuple[bool, int], tuple[View, np.ndarray, np.ndarray]] = {}

    def add(self, logits: np.ndarray, view: View, rows: np.ndarray | None = None) -> None:
        """logits: (N, K, S, S) in the view's frame. rows: (N,) bool, whom the view counts for; None: all."""
        logits = np.asarray(logits, dtype=np.float32)
        self._views = self._views + (np.ones(len(logits), dtype=bool) if rows is None else rows)
        orientation = (view.flip, view.rotate)
        if orientation not in self._maps:
            self._maps[orientation] = (view, np.full_like(logits, self._start), np.zeros_like(logits))
        _, logit, probability = self._maps[orientation]
        where = True if rows is None else rows[:, None, None, None]
        self._merge(logit, logits, out=logit, where=where)
        if self.kind == "probability":
            np.add(probability, softmax2d(logits), out=probability, where=where)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Merged probabilities and logits, both (N, K, S, S), in the image's frame.

        Logits are the mean over views, of "max_logit" the highest. Raises UserError where no view counts.
        """
        if not np.all(self._views):
            raise UserError("merge: an instance is left without a view")
        logit, probability = (
            reduce(
                self._merge,
                (maps[0].inverse_heatmap(maps[i], self.flip_pairs) for maps in self._maps.values()),
            )
            for i in (1, 2)
        )
        if self.kind != "max_logit":
            views = self._views[:, None, None, None].astype(np.float32)
            logit, probability = logit / views, probability / views
        return (probability if self.kind == "probability" else softmax2d(logit)), logit


def counts(view: View, plain: int, areas: np.ndarray, large: float) -> np.ndarray:
    """(N,) bool: the instances that a view counts for where the use of scales depends on size (Detectron's
    SCALE_SIZE_DEP): those of an area (N,; pixels of the image) below `large` not under views that are
    smaller than the plain one, whose shorter side is `plain`; the others not under larger ones."""
    areas = np.asarray(areas)
    return np.where(areas < large, view.scale >= plain, view.scale <= plain)


def check(kind: str) -> None:
    """UserError for an unknown kind of average."""
    if kind not in AVERAGES:
        raise UserError(f"merge: average {kind!r} is none of {', '.join(AVERAGES)}")


def decode(
    probability: np.ndarray, logit: np.ndarray, boxes: np.ndarray, upsample: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints of heatmaps (N, K, S, S) in the RoIs `boxes` (N, 4; x1, y1, x2, y2).

    Returns points (N, K, 2) in the frame of the boxes, at the centre of the cell of the highest probability
    (the first of equals, by rows), that probability (N, K), and the logit there (N, K). With `upsample`
    points and logits are Detectron's (`heatmaps_to_keypoints`), of maps resized to the RoI; the probability
    remains that of a cell: a pixel's would be lower in larger boxes, and one threshold is to serve all.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    cells = probability.shape[-1]
    flat = probability.reshape(*probability.shape[:-2], -1)
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
    """Points (N, K, 2) and logits (N, K) of `decode`, after resizing (bicubic) to the RoI's whole pixels,
    rounded up. Logarithms of probabilities are resized, which differ from averaged logits by a constant."""
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
