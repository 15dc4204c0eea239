"""Fixed boxes: those of a shard, detected under the plain view, that are the RoIs of every view."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.files import read_json
from distill.predictions.boxes import xywh_to_xyxy
from distill.predictions.coco_results import Prediction
from distill.predictions.views import Size, View
from distill.predictions.voting import suppress
from distill.program import UserError

Image = dict[str, Any]  # a record of the dataset JSON
NMS = 0.5  # IoU, as in the R-CNNs


def fixed(
    found: dict[str, np.ndarray], view: View, size: Size, limits: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of one image that stay the same under all views, the best first.

    found: "boxes" (N, 4) x1, y1, x2, y2 in the view, "scores" (N,), "category_ids" (N,). Of those of a
        category that overlap, the best stays: not every detector sees to that itself.
    size: width, height of the image.
    limits: min_score, and per_image, how many at most.

    Returns boxes (n, 4) in the image, and which of the N they are.
    """
    best = suppress(found["boxes"], found["scores"], found["category_ids"], NMS, 1.0)[0]
    boxes = view.inverse_boxes(found["boxes"], size).clip(0, np.array([*size, *size]))
    sides = boxes[:, 2:] - boxes[:, :2]
    keep = (found["scores"] >= limits["min_score"]) & (sides >= 1).all(1)
    keep &= np.isin(np.arange(len(keep)), best)
    order = np.argsort(-found["scores"][keep], kind="stable")[: limits["per_image"]]
    rows = np.flatnonzero(keep)[order]
    return boxes[rows], rows


@dataclass(frozen=True)
class FixedBoxes:
    """The fixed boxes of a shard, in the file's order.

    ids, image_ids, scores, category_ids: (N,).
    xywh: (N, 4) x, y, w, h in the original image.
    images: records of the images that have any, in the shard's order.
    regions: image id → (n, 4) x1, y1, x2, y2 in the original image.
    """

    ids: np.ndarray
    image_ids: np.ndarray
    xywh: np.ndarray
    scores: np.ndarray
    category_ids: np.ndarray
    images: list[Image]
    regions: dict[int, np.ndarray]

    @classmethod
    def read(cls, path: Path, images: list[Image], dataset: Path) -> "FixedBoxes":
        """Reads the file of a shard.

        path: JSON, written by detect_boxes.py.
        images: records of the shard's images, in its order.
        dataset: path of its JSON, for messages.

        Raises UserError where the boxes are not of these images in their order.
        """
        records = read_json(path, like=list[Prediction])
        if any("id" not in record for record in records):
            raise UserError(f"{path}: its boxes have no ids; remove it to have it made again")
        keys = {"id": np.int64, "image_id": np.int64, "bbox": float, "score": float, "category_id": np.int64}
        ids, image_ids, xywh, scores, category_ids = (
            np.array([record[key] for record in records], kind) for key, kind in keys.items()
        )
        xywh = xywh.reshape(-1, 4)
        starts = np.flatnonzero(np.diff(image_ids, prepend=image_ids[:1] - 1))
        order = image_ids[starts].tolist()
        known = set(order)
        images = [image for image in images if image["id"] in known]
        if [image["id"] for image in images] != order:
            raise UserError(f"{path}: is not of this shard of {dataset}; remove it and run again")
        regions = dict(zip(order, np.split(xywh_to_xyxy(xywh), starts[1:]), strict=False))
        return cls(ids, image_ids, xywh, scores, category_ids, images, regions)
