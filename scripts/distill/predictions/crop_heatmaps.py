"""Merging the heatmaps that a pose estimator gives for crops of the same instances under several views.

Heat (MSE heatmaps) is averaged as it is, over the views that see a cell; of SimCC, the distributions of x and
y are. Views differ in their frames, so all is brought into one: that of the view whose padding is the usual
one.
"""

from collections.abc import Sequence

import numpy as np

from distill.predictions import crops
from distill.predictions.agreement import entropy
from distill.predictions.codecs import Codec, decode
from distill.predictions.heatmap_file import Layout
from distill.predictions.heatmaps import softmax2d
from distill.predictions.views import View

LEAST = 1e-3  # score, below which nothing is known of a keypoint


def first_frame(views: Sequence[View]) -> int:
    """Which of the views has the common frame: that of the padding nearest to the usual one."""
    return min(range(len(views)), key=lambda i: abs(np.log(views[i].padding / View.padding)))


class CropAverage:
    """Running merger; its size does not depend on the number of views.

    layout: of the heatmaps.
    flip_pairs: keypoints (0-based) that are each other's mirror image.
    frame: (N, 4) x, y, w, h in the image, where the merged heatmaps lie.
    """

    def __init__(self, layout: Layout, flip_pairs: Sequence[tuple[int, int]], frame: np.ndarray) -> None:
        self.layout, self.flip_pairs, self.frame = layout, flip_pairs, frame
        self._sums: list[np.ndarray] = []
        self._points: list[np.ndarray] = []  # of each view alone
        self._counting: list[np.ndarray] = []
        self._seen = np.zeros((len(frame), 1, 1, 1), np.float32)  # by how many views, of each cell of heat

    def add(
        self, maps: tuple[np.ndarray, ...], view: View, region: np.ndarray, rows: np.ndarray | None = None
    ) -> None:
        """Merges in the heatmaps of one view.

        maps: (N, K, H, W) each, as of `heatmap_file.Block`, in the view's frame.
        region: (N, 4), that frame before the view's turn.
        rows: (N,) bool, the instances that the view counts for; None: all.
        """
        if self.layout.kind == "simcc":
            maps = tuple(map(softmax2d, maps))
        maps = tuple(view.as_crop.inverse_heatmap(one, self.flip_pairs) for one in maps)
        seen = np.ones_like(self._seen, shape=(len(region), 1, 1, 1))
        if view.turn or not np.array_equal(region, self.frame):
            matrices = crops.between(self.frame, region, self.layout.cells, view)
            if self.layout.kind == "simcc":
                maps = _projected(maps, crops.inverted(matrices))
            else:
                heat, seen = crops.resample(maps[0], matrices)
                maps = (heat,)
        self._points.append(self._in_image(decode(Codec(), maps)[0]))
        self._counting.append(np.ones(len(region), bool) if rows is None else rows)
        if rows is not None:
            counts = rows[:, None, None, None]
            maps, seen = tuple(one * counts for one in maps), seen * counts
        self._sums = [a + b for a, b in zip(self._sums, maps, strict=True)] if self._sums else list(maps)
        self._seen = self._seen + seen

    def result(self) -> tuple[np.ndarray, ...]:
        """The mean heatmaps, or distributions of x and y, in the common frame."""
        return tuple(one / np.maximum(self._seen, 1) for one in self._sums)

    def drawn(self) -> np.ndarray:
        """(N, K, H, W) in the common frame, of x and y their product."""
        return np.prod(np.broadcast_arrays(*self.result()), axis=0)

    def keypoints(self) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, K, 2) in the image, and their scores (N, K)."""
        places, scores = decode(self.layout.codec, self.result())
        return self._in_image(places), scores

    def spread(self, points: np.ndarray) -> np.ndarray:
        """How far the views' own keypoints are from the merged ones (N, K, 2): the mean distance (N, K) over
        the views that count, pixels of the image."""
        apart = np.array([np.linalg.norm(one - points, axis=-1) for one in self._points])
        counting = np.array(self._counting)[..., None]
        return (apart * counting).sum(axis=0) / np.maximum(counting.sum(axis=0), 1)

    def entropy(self, scores: np.ndarray) -> np.ndarray:
        """How little is known of each keypoint (N, K), in nats: the entropies of x and y together; of heat,
        which is no distribution, the negative logarithm of the score."""
        if self.layout.kind == "simcc":
            x, y = map(entropy, self.result())
            return x + y
        return -np.log(np.maximum(scores, LEAST))

    def _in_image(self, places: np.ndarray) -> np.ndarray:
        """Places (N, K, 2) among the cells of the common frame → points of the image."""
        frame = self.frame[:, None]
        return frame[..., :2] + (places + 0.5) / self.layout.cells * frame[..., 2:]


def _projected(maps: tuple[np.ndarray, ...], matrices: np.ndarray) -> tuple[np.ndarray, ...]:
    """Distributions of x (N, K, 1, W) and y (N, K, H, 1) in other cells: matrices (N, 2, 3), old to new."""
    x, y = maps[0][..., 0, :], maps[1][..., 0]
    new_x, new_y = np.empty_like(x), np.empty_like(y)
    for n, (row_x, row_y) in enumerate(matrices):
        new_x[n] = crops.project(x[n], y[n], row_x, x.shape[-1])
        new_y[n] = crops.project(y[n], x[n], row_y[[1, 0, 2]], y.shape[-1])
    return new_x[..., None, :], new_y[..., None]
