"""Merging the keypoint heatmaps of several views of one RoI, and reading keypoints off the result.

method.md §4. N instances, K keypoints, S × S cells of a RoI: cell (row, col) covers the part of the box from
col/S to (col + 1)/S of its width, and its centre, at (col + 0.5)/S, is where a peak is put in the image.
"""

from collections.abc import Sequence

import numpy as np

from distill.program import UserError
from distill.views import View

AVERAGES = ("probability", "logit")


def softmax2d(logits: np.ndarray) -> np.ndarray:
    """(…, S, S) logits → float32 probabilities over the S² positions of each map."""
    probability = np.array(logits, dtype=np.float32)
    probability -= probability.max(axis=(-2, -1), keepdims=True)
    np.exp(probability, out=probability)
    probability /= probability.sum(axis=(-2, -1), keepdims=True)
    return probability


class Average:
    """Running mean of the heatmaps of the same RoIs over views; its size does not depend on their number.

    kind: "probability" averages softmaxed maps (the paper), "logit" softmaxes averaged logits (Detectron).
    flip_pairs: keypoints (0-based) that are each other's mirror image.
    """

    def __init__(self, kind: str, flip_pairs: Sequence[tuple[int, int]]):
        check(kind)
        self.kind, self.flip_pairs, self.views = kind, flip_pairs, 0
        # Sums by orientation: inverting is linear, so it is done once for all views that are turned alike.
        self._sums: dict[tuple[bool, int], tuple[View, np.ndarray, np.ndarray]] = {}

    def add(self, logits: np.ndarray, view: View) -> None:
        """logits: (N, K, S, S) in the view's frame."""
        self.views += 1
        logits = np.asarray(logits, dtype=np.float32)
        orientation = (view.flip, view.rotate)
        if orientation not in self._sums:
            self._sums[orientation] = (view, np.zeros_like(logits), np.zeros_like(logits))
        _, logit, probability = self._sums[orientation]
        logit += logits
        if self.kind == "probability":
            probability += softmax2d(logits)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean probabilities and mean logits, both (N, K, S, S), in the image's frame."""
        logit, probability = (
            sum(sums[0].inverse_heatmap(sums[i], self.flip_pairs) for sums in self._sums.values())
            / self.views
            for i in (1, 2)
        )
        return (softmax2d(logit) if self.kind == "logit" else probability), logit


def check(kind: str) -> None:
    """UserError for an unknown kind of average."""
    if kind not in AVERAGES:
        raise UserError(f"merge: average {kind!r} is none of {', '.join(AVERAGES)}")


def decode(
    probability: np.ndarray, logit: np.ndarray, boxes: np.ndarray, upsample: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints of heatmaps (N, K, S, S) in the RoIs `boxes` (N, 4; x1, y1, x2, y2).

    Returns points (N, K, 2) in the frame of the boxes, at the centre of the cell of the highest probability
    (the first of equals, by rows), that probability (N, K), and the logit there (N, K). With `upsample` the
    points are found as in Detectron (`heatmaps_to_keypoints`): at the peak of the heatmap resized to the RoI.
    """
    cells = probability.shape[-1]
    flat = probability.reshape(*probability.shape[:-2], -1)
    peak = flat.argmax(axis=-1)[..., None]
    score = np.take_along_axis(flat, peak, axis=-1)[..., 0]
    height = np.take_along_axis(logit.reshape(flat.shape), peak, axis=-1)[..., 0]
    cell = np.concatenate([peak % cells, peak // cells], axis=-1)
    boxes = np.asarray(boxes, dtype=np.float64)[:, None]
    place = _upsampled_peaks(probability, boxes[:, 0]) if upsample else (cell + 0.5) / cells
    points = boxes[..., :2] + place * (boxes[..., 2:] - boxes[..., :2])
    return points, score, height


def _upsampled_peaks(probability: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N, K, 2) x, y of the peaks of (N, K, S, S) among the pixels of each box, as fractions of its sides.

    Logarithms are resized: those of a single view are its logits, but for a constant that moves no peak.
    """
    import cv2

    peaks = np.empty((*probability.shape[:2], 2))
    sides = np.ceil((boxes[:, 2:] - boxes[:, :2]).clip(min=1)).astype(int).tolist()
    logarithm = np.log(probability.clip(min=np.finfo(np.float32).tiny), dtype=np.float32)
    for n, (width, height) in enumerate(sides):
        for k, heatmap in enumerate(logarithm[n]):
            resized = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_CUBIC)
            row, column = divmod(int(resized.argmax()), width)
            peaks[n, k] = (column + 0.5) / width, (row + 0.5) / height
    return peaks
