"""Reads keypoints off the heatmaps of pose estimators as mmpose's codecs do.

These are `decode` of mmpose's MSRAHeatmap, UDPHeatmap, MegviiHeatmap and SimCCLabel (mmpose/codecs), for many
instances at once and without torch, which merging does not load; the tests hold them against the originals.

N instances, K keypoints, W × H cells. Places are columns and rows, from the centre of the first cell.
"""

from typing import Annotated, Literal

import cv2
import msgspec
import numpy as np

cv2.setNumThreads(0)  # of merging too: see `datasets.images`
Odd = Annotated[int, msgspec.Meta(ge=1, le=99)]


class Codec(msgspec.Struct, frozen=True, omit_defaults=True):
    """How keypoints are read off heatmaps.

    refine: what moves a peak off its cell's centre: quarter of a cell towards the higher neighbour, Newton's
        method on the logarithm (dark, arXiv 1910.06278; udp, arXiv 1911.07524), or megvii's, a quarter of a
        blurred one; or none.
    blur: side of the Gaussian kernel before refinement, cells; odd.
    sure: of distributions of x and y, the peaks of those that training aims at: they score 1.
    """

    refine: Literal["none", "quarter", "dark", "udp", "megvii"] = "none"
    blur: Odd = 11
    sure: tuple[Annotated[float, msgspec.Meta(gt=0)], Annotated[float, msgspec.Meta(gt=0)]] = (1.0, 1.0)


def decode(codec: Codec, maps: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, K, 2) and scores (N, K), from 0, of keypoints.

    maps: (heatmap (N, K, H, W),): a score is the value at the peak; or distributions (x (N, K, 1, W),
        y (N, K, H, 1)): a score is the lower one of both peaks, each relative to that of a sure keypoint.
    """
    if len(maps) == 2:
        x, y = maps[0][..., 0, :], maps[1][..., 0]
        scores = [v.max(-1) / sure for v, sure in zip((x, y), codec.sure, strict=True)]
        return np.stack([x.argmax(-1), y.argmax(-1)], -1).astype(float), np.minimum(*scores).clip(0, 1)
    heatmap = _blurred(maps[0], codec.blur) if codec.refine == "megvii" else maps[0]
    n, k, height, width = heatmap.shape
    flat = heatmap.reshape(n, k, -1)
    y, x = np.divmod(flat.argmax(-1), width)
    scores = np.maximum(flat.max(-1, initial=-np.inf), 0)
    places = np.stack([x, y], axis=-1).astype(float)
    if codec.refine in ("dark", "udp"):
        heatmap = _blurred(heatmap, codec.blur)
        lowest, highest = (1e-10, np.inf) if codec.refine == "dark" else (1e-3, 50)
        heatmap = np.log(heatmap.clip(lowest, highest))
    if codec.refine == "dark":
        inner = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
        return places + _newton(heatmap, x, y, reach=2) * inner[..., None], scores
    if codec.refine == "udp":
        return places + _newton(heatmap, x, y, reach=1), scores
    if codec.refine == "none":
        return places, scores
    at = _around(heatmap, x, y, 1)
    slope = np.sign([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)])
    inner = np.array([(x > 1) & (x < width - 1), (y > 1) & (y < height - 1)])
    if codec.refine == "quarter":
        return places + np.moveaxis(0.25 * slope * (inner & [y > 0, x > 0]), 0, -1), scores
    return places + np.moveaxis(0.25 * slope * inner.all(axis=0), 0, -1), scores


def _blurred(heatmap: np.ndarray, kernel: int) -> np.ndarray:
    """Smoothed by a Gaussian kernel such that each map keeps its maximum."""
    result = np.empty_like(heatmap, dtype=np.float32)
    for n, maps in enumerate(heatmap.astype(np.float32)):
        for k, one in enumerate(maps):
            smooth = cv2.GaussianBlur(one, (kernel, kernel), 0, borderType=cv2.BORDER_CONSTANT)
            highest = smooth.max()
            result[n, k] = smooth * (one.max() / highest if highest else 0)
    return result


def _around(heatmap: np.ndarray, x: np.ndarray, y: np.ndarray, reach: int):
    """A function of (right, down) that gives the values (N, K) so many cells off (x, y), up to `reach`;
    beyond the edge those of the edge."""
    n, k, *_ = heatmap.shape
    padded = np.pad(heatmap, [(0, 0), (0, 0), (reach, reach), (reach, reach)], mode="edge")
    rows = np.arange(n)[:, None], np.arange(k)[None]
    return lambda right, down: padded[*rows, y + reach + down, x + reach + right].astype(np.float64)


def _newton(logarithm: np.ndarray, x: np.ndarray, y: np.ndarray, reach: int) -> np.ndarray:
    """One step of Newton's method (N, K, 2) from (x, y) to the maximum; second differences over `reach`."""
    at = _around(logarithm, x, y, reach)
    middle, r = at(0, 0), reach
    slope = np.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], -1) / 2
    dxx = (at(r, 0) - 2 * middle + at(-r, 0)) / r**2
    dyy = (at(0, r) - 2 * middle + at(0, -r)) / r**2
    if reach == 1:
        sides = at(1, 0) + at(0, 1) + at(-1, 0) + at(0, -1)
        dxy = (at(1, 1) - sides + 2 * middle + at(-1, -1)) / 2
    else:
        dxy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    if reach == 1:  # as in mmpose, where it keeps flat maps invertible
        dxx, dyy = dxx + np.finfo(np.float32).eps, dyy + np.finfo(np.float32).eps
    determinant = dxx * dyy - dxy**2
    safe = np.where(determinant == 0, np.inf, determinant)
    step = np.stack(
        [dyy * slope[..., 0] - dxy * slope[..., 1], dxx * slope[..., 1] - dxy * slope[..., 0]], -1
    )
    return -step / safe[..., None]
