"""How training images are changed beside resizing and mirroring, labelled and generated ones apart.

A student that sees its generated images as the teacher saw them learns little more than the teacher said.
STAC (arXiv 2005.04757) and Noisy Student (arXiv 1911.04252) add strong augmentation to self-training.

Keypoints follow exactly, and so do the boxes of ellipses (`ellipse_bounds`); a pixel's centre is at +0.5. An
instance of which too little is left counts neither as object nor as background: it is ignored, and the image
`unsure` (see `heads`). All is drawn from numpy's generator, which the draw's key seeds.
"""

from collections.abc import Sequence
from math import radians, tan
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import PhotoMetricDistortion, RandomErasing
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes

STRENGTHS = {
    "none": {},
    "weak": {"colour": 0.5, "zoom": 0.5},
    "strong": {"colour": 1.0, "zoom": 1.0, "affine": 1.0, "cutout": 1.0},
}
LEAST_SEEN = 0.25  # share of an instance's box; below, it is ignored
FILL = 114  # grey, of what lies outside the image


def strengths_of(given: str | dict[str, float]) -> dict[str, float]:
    """What a name in STRENGTHS stands for; strengths stay."""
    return STRENGTHS[given] if isinstance(given, str) else given


def pipeline(strengths: str | dict[str, float]) -> list[dict]:
    """The transforms of a name in STRENGTHS, or of {colour | zoom | affine | cutout: strength from 0 to 2}.
    Those that make one image of several are `mixing.pipeline`.

    They stand behind resizing: what they do is in proportion to the network's input.
    """
    given = strengths_of(strengths)
    steps = []
    if {"zoom", "affine"} & given.keys():
        zoom, affine = given.get("zoom", 0), given.get("affine", 0)
        steps.append(dict(type="WarpInstances", zoom=0.5 * zoom, rotate=10 * affine, shear=5 * affine))
    if strength := given.get("colour"):
        steps.append(dict(type="DistortColour", strength=strength))
    if strength := given.get("cutout"):
        ratio = (0.05, 0.05 + 0.15 * strength)
        steps.append(dict(type="EraseInstances", n_patches=(1, 5), ratio=ratio, squared=False))
    return steps


def warp(
    height: int, width: int, zoom: float, rotate: float, shear: Sequence[float], place: np.ndarray
) -> np.ndarray:
    """The map (3, 3) of image points that enlarges by `zoom` and turns and shears by so many degrees.

    All about the image's centre; `place` (2,), −1 to 1, says which part of a larger image stays in sight, and
    where a smaller one lies.
    """
    to_centre, back = np.eye(3), np.eye(3)
    to_centre[:2, 2] = -width / 2, -height / 2
    room = abs(zoom - 1) / 2 * np.array([width, height])
    back[:2, 2] = np.array([width, height]) / 2 + room * place
    cos, sin = np.cos(radians(rotate)), np.sin(radians(rotate))
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    sheared = np.array([[1, tan(radians(shear[0])), 0], [tan(radians(shear[1])), 1, 0], [0, 0, 1]])
    return back @ sheared @ turn @ np.diag([zoom, zoom, 1]) @ to_centre


def ellipse_bounds(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The boxes of what `matrix` (3, 3) makes of the ellipses that fill boxes (N, 4) x1, y1, x2, y2.

    The box around a turned box is too large for nearly every object that it may hold, by a third of its area
    at 10°; that of the turned ellipse is nearer (Kalra et al., Towards Rotation Invariance in Object
    Detection, ICCV 2021).
    """
    linear, shift = matrix[:2, :2], matrix[:2, 2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 @ linear.T + shift
    half = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (linear**2).T)
    return np.concatenate([centre - half, centre + half], axis=1)


def carried(results: dict, matrix: np.ndarray, window: tuple[int, int, int, int]) -> dict[str, Any]:
    """The instances of an image, its gt_…, after `matrix` (3, 3) of its points, without those out of sight;
    and whether it is `unsure`.

    window: x1, y1, x2, y2 of what is seen.
    """
    low, high = np.array(window, np.float32).reshape(2, 2)
    whole = HorizontalBoxes(ellipse_bounds(results["gt_bboxes"].numpy(), matrix).astype(np.float32))
    boxes = HorizontalBoxes(whole.numpy().clip(np.tile(low, 2), np.tile(high, 2)))
    sides = np.minimum(boxes.widths.numpy(), boxes.heights.numpy())
    seen = np.where(sides >= 1, boxes.areas.numpy() / np.maximum(whole.areas.numpy(), 1e-6), 0)
    kept = seen > 0
    cut = kept & (seen < LEAST_SEEN)
    ignored = results["gt_ignore_flags"] | cut
    instances = {
        "gt_bboxes": boxes[kept],
        "gt_ignore_flags": ignored[kept],
        "unsure": results["unsure"] or bool(cut.any()),
    }
    for key in ("gt_bboxes_labels", "gt_weights"):
        if key in results:
            instances[key] = results[key][kept]
    if "gt_keypoints" in results:
        points = results["gt_keypoints"][kept]
        points[..., :2] = points[..., :2] @ matrix[:2, :2].T + matrix[:2, 2]
        outside = (points[..., :2] < low).any(-1) | (points[..., :2] > high).any(-1)
        points[outside] = 0
        instances["gt_keypoints"] = points.astype(np.float32)
    return instances


@TRANSFORMS.register_module()
class WarpInstances(BaseTransform):
    """Enlarges (which crops) or shrinks by up to 1 + `zoom`, turns and shears by up to so many degrees.

    The image keeps its size. Where no instance would stay in sight, it stays as it is.
    """

    def __init__(self, zoom: float, rotate: float, shear: float) -> None:
        self.zoom, self.rotate, self.shear = zoom, rotate, shear

    def transform(self, results: dict) -> dict:
        height, width = results["img_shape"]
        zoom = (1 + self.zoom) ** np.random.uniform(-1, 1)  # noqa: NPY002, seeded by the draw's key
        rotate, *shear = np.random.uniform(-1, 1, 3) * (self.rotate, self.shear, self.shear)  # noqa: NPY002
        place = np.random.uniform(-1, 1, 2)  # noqa: NPY002
        matrix = warp(height, width, zoom, rotate, shear, place)
        instances = carried(results, matrix, (0, 0, width, height))
        if instances["gt_ignore_flags"].all():
            return results
        pixels = np.eye(3)  # OpenCV counts from the centre of the first pixel
        pixels[:2, 2] = 0.5
        matrix_of_pixels = np.linalg.inv(pixels) @ matrix @ pixels
        results["img"] = cv2.warpAffine(
            results["img"], matrix_of_pixels[:2], (width, height), borderValue=(FILL,) * 3
        )
        return {**results, **instances}


@TRANSFORMS.register_module()
class DistortColour(PhotoMetricDistortion):
    """mmdet's brightness, contrast, saturation and hue; at strength 1 with its own ranges. Channels stay."""

    def __init__(self, strength: float) -> None:
        spread = (1 - min(0.5 * strength, 0.9), 1 + 0.5 * strength)
        super().__init__(32 * strength, spread, spread, 18 * strength, swap_channels=False)

    def transform(self, results: dict) -> dict:
        results = super().transform(results)
        results["img"] = results["img"].round().clip(0, 255).astype(np.uint8)
        return results


@TRANSFORMS.register_module()
class EraseInstances(RandomErasing):
    """mmdet's RandomErasing (cutout). A keypoint under a patch is there but not to be seen (v = 1 instead
    of 2); an instance under patches almost whole is ignored."""

    def _transform_bboxes(self, results: dict, patches: np.ndarray) -> None:
        boxes = results["gt_bboxes"].numpy()
        corner = np.maximum(boxes[:, None, :2], patches[:, :2])
        sides = np.maximum(np.minimum(boxes[:, None, 2:], patches[:, 2:]) - corner, 0)
        area = HorizontalBoxes(boxes).areas.numpy()
        erased = sides.prod(-1).sum(-1) / np.maximum(area, 1e-6)
        hidden = erased >= self.bbox_erased_thr
        results["gt_ignore_flags"] = results["gt_ignore_flags"] | hidden
        results["unsure"] = results["unsure"] or bool(hidden.any())
        if "gt_keypoints" in results:
            points = results["gt_keypoints"]
            place = points[:, :, None, :2]
            under = ((place >= patches[:, :2]) & (place < patches[:, 2:])).all(-1).any(-1)
            points[..., 2] = np.where(under, np.minimum(points[..., 2], 1), points[..., 2])
