"""Several training images made one: mosaic (YOLOv4, arXiv 2004.10934) and mixup (arXiv 1710.09412).

Both as in YOLOX (arXiv 2107.08430), before it turns and scales the whole. The other images are any of the
same part of the MixedDataset, of labelled or of generated ones, and each is read, resized and mirrored by
itself first. So what comes out has the first one's size, and objects at their usual scale. mmdet's Mosaic and
MixUp resize the images once more, to fit into the first, and know boxes alone; where nothing has to fit, the
result is theirs (tests/test_mixing.py). All is drawn from numpy's generator, which the draw's key seeds, and
nothing is kept.
"""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.dataset import BaseDataset

from distill.models.augment import FILL, carried, strengths_of


def pipeline(strengths: str | dict[str, float]) -> list[dict]:
    """The transforms that make one image of several, of strengths as of `augment.pipeline`: {mosaic | mixup:
    probability} count. All that stands before them each image goes through by itself."""
    kinds = {"mosaic": "MosaicInstances", "mixup": "MixUpInstances"}
    given = strengths_of(strengths)
    return [dict(type=kind, prob=given[key]) for key, kind in kinds.items() if given.get(key)]


class Mix(BaseTransform):
    """Mixes an image with others of its dataset, `results["dataset"]`, as mmpose's MixImageTransform.

    others: how many.
    prob: the share of the draws that are mixed.
    """

    others: int

    def __init__(self, prob: float) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.random() >= self.prob:  # noqa: NPY002, seeded by the draw's key
            return results
        dataset = results["dataset"]
        chosen = np.random.randint(len(dataset), size=self.others)  # noqa: NPY002
        images = [results, *(alone(dataset, int(index)) for index in chosen)]
        mixed = self.mixed(images)
        if mixed["gt_ignore_flags"].all():  # nothing to learn is in sight: the image stays as it is
            return results
        return {**results, **mixed}

    @abstractmethod
    def mixed(self, images: Sequence[dict]) -> dict[str, Any]:
        """`img`, of the first one's size, the instances of images, and whether it is `unsure`."""


def alone(dataset: BaseDataset, index: int) -> dict:
    """An image after the transforms of its dataset that stand before all mixing."""
    results = dataset.get_data_info(index)
    for step in takewhile(lambda step: not isinstance(step, Mix), dataset.pipeline.transforms):
        results = step(results)
    return results


@TRANSFORMS.register_module()
class MosaicInstances(Mix):
    """Four images meet at a random point, each with a corner; what none reaches is grey.

    YOLOX's mosaic, of twice the width and height, cut to its middle.
    """

    others = 3

    def mixed(self, images: Sequence[dict]) -> dict[str, Any]:
        height, width = images[0]["img_shape"]
        x, y = (int(np.random.randint(side + 1)) for side in (width, height))  # noqa: NPY002
        canvas = np.full_like(images[0]["img"], FILL)
        found = []
        for place, image in enumerate(images):
            below, right = divmod(place, 2)
            h, w = image["img_shape"]
            found.append(paste(image, canvas, x if right else x - w, y if below else y - h))
        return {"img": canvas, **joined(found)}


@TRANSFORMS.register_module()
class MixUpInstances(Mix):
    """The mean of two images, with the instances of both, which count as much as any (YOLOX). A larger second
    image is cut at random, a smaller one lies anywhere on grey."""

    others = 1

    def mixed(self, images: Sequence[dict]) -> dict[str, Any]:
        first, second = images
        room = np.subtract(first["img_shape"], second["img_shape"])
        y, x = (int(np.random.randint(min(0, r), max(0, r) + 1)) for r in room)  # noqa: NPY002
        canvas = np.full_like(first["img"], FILL)
        own = {key: first[key] for key in first if key.startswith("gt_") or key == "unsure"}
        found = [own, paste(second, canvas, x, y)]
        return {"img": cv2.addWeighted(first["img"], 0.5, canvas, 0.5, 0), **joined(found)}


def paste(image: dict, canvas: np.ndarray, x: int, y: int) -> dict[str, Any]:
    """Puts an image onto a canvas (H, W, 3), its first pixel at column x and row y, which may be outside.

    Returns its instances there.
    """
    height, width = image["img_shape"]
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, canvas.shape[1]), min(y + height, canvas.shape[0])
    canvas[top:bottom, left:right] = image["img"][top - y : bottom - y, left - x : right - x]
    shift = np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])
    return carried(image, shift, (left, top, right, bottom))


def joined(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The instances of several images as those of one, which is `unsure` if one of them is."""
    both = {key: [instances[key] for instances in found] for key in found[0]}
    boxes, unsure = HorizontalBoxes.cat(both.pop("gt_bboxes")), any(both.pop("unsure"))
    arrays = {key: np.concatenate(values) for key, values in both.items()}
    return {"gt_bboxes": boxes, "unsure": unsure, **arrays}
