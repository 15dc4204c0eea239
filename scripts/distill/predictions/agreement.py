"""How far the views of an image agree on what merging has made of them: what averages and NMS throw away.

V views (of several models, each view of each), R merged boxes, N instances with K keypoints, H × W cells.
Boxes (·, 4) are x1, y1, x2, y2 in pixels of the original image.
"""

from collections.abc import Sequence

import numba
import numpy as np

from distill.predictions.views import View

FOUND = 0.5  # IoU from which a view has found a merged box
BINS = 1024


@numba.njit(cache=True, error_model="numpy")
def of_boxes(
    merged: np.ndarray,
    merged_categories: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    categories: np.ndarray,
    views: np.ndarray,
    count: int,
) -> np.ndarray:
    """What each view says of the merged boxes of an image: the one of its boxes that overlaps most, of the
    same category, from IoU `FOUND` on.

    merged, merged_categories: (R, 4), (R,).
    boxes, scores, categories: (N, 4), (N,), (N,), of all views together.
    views: (N,) from 0 to V − 1.
    count: V.

    Returns (R, 3): the share of the views that have such a box, the mean IoU of these boxes with the merged
    one, and the mean over all views of their scores, 0 where a view has none.
    """
    result = np.zeros((len(merged), 3))
    best, score = np.zeros(count), np.zeros(count)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    # Boxes that may be of one category are chained: each of the merged ones looks at few.
    first, following = np.full(BINS, -1), np.empty(len(boxes), np.int64)
    for n in range(len(boxes) - 1, -1, -1):
        following[n] = first[categories[n] % BINS]
        first[categories[n] % BINS] = n
    for r in range(len(merged)):
        x1, y1, x2, y2 = merged[r]
        own = (x2 - x1) * (y2 - y1)
        best[:] = 0
        n = first[merged_categories[r] % BINS]
        while n >= 0:
            width = max(min(x2, boxes[n, 2]) - max(x1, boxes[n, 0]), 0.0)
            height = max(min(y2, boxes[n, 3]) - max(y1, boxes[n, 1]), 0.0)
            both = width * height
            overlap = both / (own + area[n] - both) if both > 0 else 0.0
            same = categories[n] == merged_categories[r]
            if same and overlap >= FOUND and overlap > best[views[n]]:
                best[views[n]], score[views[n]] = overlap, scores[n]
            n = following[n]
        found = 0
        for v in range(count):
            if best[v] > 0:
                found += 1
                result[r, 1] += best[v]
                result[r, 2] += score[v]
        result[r, 0] = found / count
        result[r, 1] /= max(found, 1)
        result[r, 2] /= count
    return result


class Peaks:
    """The peaks of the heatmaps of the same RoIs, view by view: two bytes for each keypoint and view.

    flip_pairs: keypoints (0-based) that are each other's mirror image.
    """

    def __init__(self, flip_pairs: Sequence[tuple[int, int]]) -> None:
        self.flip_pairs = flip_pairs
        self._peaks: list[np.ndarray] = []
        self._counting: list[np.ndarray] = []

    def add(
        self, peak: np.ndarray, shape: tuple[int, int], view: View, rows: np.ndarray | None = None
    ) -> None:
        """Notes the peaks of one view.

        peak: (N, K) places among the cells of each map, by rows, in the view's frame.
        shape: H and W of these maps.
        view, rows: as of `heatmaps.Average.add`.
        """
        # What inverting does to a map of places and to one of channels says where each goes.
        places = np.arange(shape[0] * shape[1]).reshape(1, *shape)
        image_place = np.argsort(view.inverse_heatmap(places, ()).ravel())
        channels = np.arange(peak.shape[1]).reshape(-1, 1, 1)
        order = view.inverse_heatmap(channels, self.flip_pairs).ravel()
        self._peaks.append(image_place[peak[:, order]].astype(np.uint16))
        self._counting.append(np.ones(len(peak), bool) if rows is None else rows)

    def spread(self, points: np.ndarray, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """How far the views' peaks are from the merged keypoints: the mean distance over the views that
        count.

        points: (N, K, 2) merged keypoints.
        boxes: (N, 4) of the RoIs.
        shape: H and W of the merged maps.

        Returns (N, K), pixels of the original image.
        """
        total, views = np.zeros(points.shape[:2]), np.zeros((len(points), 1))
        corner, sides = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
        for peak, counting in zip(self._peaks, self._counting, strict=True):
            cell = np.stack([peak % shape[1], peak // shape[1]], axis=-1)
            apart = np.linalg.norm(corner + (cell + 0.5) / shape[::-1] * sides - points, axis=-1)
            total += np.where(counting[:, None], apart, 0)
            views += counting[:, None]
        return total / views


def entropy(probability: np.ndarray) -> np.ndarray:
    """(…, H, W) probabilities of cells → (…) entropies in nats: 0 where all is in one cell, log HW where
    nothing is known."""
    likely = np.maximum(probability, np.finfo(np.float32).tiny)
    return -np.einsum("...ij,...ij->...", probability, np.log(likely))
