"""The crops of instances that top-down pose estimators see, and the frames of their heatmaps.

The conventions are mmpose's (GetBBoxCenterScale and TopdownAffine): a box is padded about its centre, made as
wide or as high as the network's input is in proportion, and warped into the input. Of n input pixels, cell i
of a heatmap is the one at i · n / cells, or with Unbiased Data Processing (UDP, arXiv 1911.07524) at
i · (n − 1) / (cells − 1). mmpose counts from the centre of the image's first pixel, hence the halves here.

A region (x, y, w, h in the image) is a heatmap's frame: as everywhere in this project, cell (row, column) has
its centre at (column + 0.5) / W of the width. A view turns the image about the region's centre, and mirrors
the crop about it, so that a mirrored heatmap is the same cells in opposite order.
"""

from dataclasses import dataclass

import numpy as np

from distill.predictions.views import View


@dataclass(frozen=True)
class Crop:
    """The geometry of an estimator.

    size: width and height of the network's input, pixels.
    cells: W and H of its heatmaps, or the lengths of its distributions of x and y.
    udp: whether the input ends at the centres of its outer pixels (`use_udp` of TopdownAffine).
    udp_cells: whether the heatmap does (the codec UDPHeatmap).
    floored: whether cell i begins at i cells, not half a cell before (the codec MegviiHeatmap).
    """

    size: tuple[int, int]
    cells: tuple[int, int]
    udp: bool = False
    udp_cells: bool = False
    floored: bool = False

    def regions(self, boxes: np.ndarray, padding: float) -> np.ndarray:
        """(N, 4) x1, y1, x2, y2 → the frames of their heatmaps (N, 4; x, y, w, h), both in the image."""
        centre, scale = self._padded(boxes, padding)
        step = scale / (np.array(self.cells) - self.udp_cells)
        first = centre - scale / 2 + 0.5 - (0 if self.floored else step / 2)
        return np.concatenate([first, step * self.cells], axis=-1)

    def matrices(self, boxes: np.ndarray, view: View) -> np.ndarray:
        """(N, 4) x1, y1, x2, y2 in the image → (N, 2, 3), the maps of the image's pixels to the input's under
        the view, both counted from the centre of the first one, as cv2.warpAffine does."""
        centre, scale = self._padded(boxes, view.padding)
        per_pixel = (np.array(self.size) - self.udp) / scale
        region = self.regions(boxes, view.padding)
        middle = region[:, :2] + region[:, 2:] / 2 - 0.5
        linear = per_pixel[:, :, None] * turn(view.turn)
        fixed = (middle - centre + scale / 2) * per_pixel  # of the input, where the middle of the region is
        if view.flip:
            linear[:, 0] *= -1
        return np.concatenate([linear, (fixed - np.einsum("nij,nj->ni", linear, middle))[..., None]], axis=-1)

    def _padded(self, boxes: np.ndarray, padding: float) -> tuple[np.ndarray, np.ndarray]:
        """Centres and sizes, (N, 2), of padded boxes of the input's aspect."""
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        width, height = (np.maximum(boxes[:, 2:] - boxes[:, :2], 1) * padding).T
        aspect = self.size[0] / self.size[1]
        width, height = np.maximum(width, height * aspect), np.maximum(height, width / aspect)
        return (boxes[:, :2] + boxes[:, 2:]) / 2, np.stack([width, height], axis=-1)


def turn(degrees: float) -> np.ndarray:
    """(2, 2) of a counterclockwise turn of x and y; y points down."""
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])


def between(frame: np.ndarray, region: np.ndarray, cells: tuple[int, int], view: View) -> np.ndarray:
    """The maps of cells of one frame to those of another under a view, mirrored back.

    frame, region: (N, 4) x, y, w, h of the same instances, without turn, and under the view before its turn.
    cells: W and H of both.

    Returns (N, 2, 3): column and row in `frame` → in `region`, from the centre of the first cell.
    """
    grid = np.array(cells)
    per_cell, into_cell = frame[:, 2:] / grid, grid / region[:, 2:]
    middle = region[:, :2] + region[:, 2:] / 2
    linear = into_cell[:, :, None] * turn(view.turn) * per_cell[:, None, :]
    origin = frame[:, :2] + per_cell / 2 - middle  # of the first cell, from the middle
    shift = into_cell * (origin @ turn(view.turn).T) + grid / 2 - 0.5
    return np.concatenate([linear, shift[..., None]], axis=-1)


def resample(maps: np.ndarray, matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bilinear values of heatmaps (N, K, H, W) at the cells that `matrices` (N, 2, 3) map to.

    Returns values (N, K, H, W), 0 outside, and which cells the heatmaps see (N, 1, H, W; 0 or 1).
    """
    n, _, height, width = maps.shape
    row, column = np.mgrid[:height, :width].astype(np.float64)
    places = np.einsum("nij,jhw->nihw", matrices, np.stack([column, row, np.ones_like(row)]))
    most = np.array([width, height])[:, None, None] - 1.0
    inside = ((places >= -0.5 - 1e-6) & (places <= most + 0.5 + 1e-6)).all(axis=1)
    places = places.clip(0, most)
    low = np.minimum(np.floor(places), np.maximum(most - 1, 0)).astype(int)
    part = (places - low).astype(np.float32)
    values = np.zeros(maps.shape, np.float32)
    each = np.arange(n)[:, None, None]
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - right - part[:, 0]) * np.abs(1 - down - part[:, 1]) * inside
            y, x = np.minimum(low[:, 1] + down, height - 1), np.minimum(low[:, 0] + right, width - 1)
            values += weight[:, None] * np.moveaxis(maps[each, :, y, x], -1, 1)
    return values, inside[:, None].astype(np.float32)


def project(x: np.ndarray, y: np.ndarray, row: np.ndarray, cells: int) -> np.ndarray:
    """The distribution of a · u + b · v + c, of independent u and v.

    x, y: (K, W) and (K, H), the distributions of u and v, cells counted from 0.
    row: (3,) a, b, c; a is positive, and |b| below 1.
    cells: of the result, (K, cells), which loses what lies outside.
    """
    a, b, c = row
    height = y.shape[-1]
    middle = (height - 1) / 2
    reach = int(np.ceil(abs(b) * middle)) + 1 if b else 0  # what lies so far outside may come in by b · v
    at = (np.arange(-reach, cells + reach) - c - b * middle) / a
    low = np.floor(at).astype(int)
    padded = np.pad(x, [(0, 0), (1, 1)])
    left, right = (padded[:, (low + k + 1).clip(0, x.shape[-1] + 1)] for k in (0, 1))
    density = (left + (at - low) * (right - left)) / a
    if not b:
        return density
    spread = b * (np.arange(height) - middle) + reach
    low = np.floor(spread).astype(int)
    kernel = np.zeros((len(y), 2 * reach + 1))
    for k, weight in ((0, low + 1 - spread), (1, spread - low)):
        np.add.at(kernel.T, low + k, (y * weight).T)
    n = cells + 4 * reach
    whole = np.fft.irfft(np.fft.rfft(density, n) * np.fft.rfft(kernel, n), n)  # a convolution
    return np.maximum(whole[:, 2 * reach : 2 * reach + cells], 0)


def inverted(matrices: np.ndarray) -> np.ndarray:
    """(N, 2, 3) → (N, 2, 3), the inverse maps."""
    linear = np.linalg.inv(matrices[..., :2])
    return np.concatenate([linear, -linear @ matrices[..., 2:]], axis=-1)
