"""Boxes, names and skeletons drawn into the pixels of an image."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from distill.datasets.coco import Record
from distill.report.drawing import COLOURS, SIDES, colour_of, sides

# Keypoints that are drawn have a higher score: of pose estimators; of Keypoint R-CNNs, whose score is the
# share of one cell among 56 × 56, which is small for joints that nobody can place within a cell.
SURE, SURE_OF_CELL = 0.3, 0.02


def mark(pixels: np.ndarray, records: Sequence[Record], categories: Sequence[Record]) -> np.ndarray:
    """An image (H, W, 3; BGR) with boxes, names, scores and skeletons; the best ones on top.

    records: COCO results, or annotations, on it.
    categories: of the model.
    """
    picture = Image.fromarray(pixels[..., ::-1])
    draw = ImageDraw.Draw(picture)
    unit = max(1, round(min(picture.size) / 300))
    known, colours = {c["id"]: c for c in categories}, colour_of(categories)
    for record in sorted(records, key=lambda record: record.get("score", 1)):
        category = known.get(record["category_id"], {"name": str(record["category_id"])})
        colour = colours.get(record["category_id"], COLOURS[0])
        x, y, w, h = record["bbox"]
        draw.rectangle((x, y, x + max(w, 1), y + max(h, 1)), outline=colour, width=unit)
        score = f" {record['score']:.2f}" if "score" in record else ""
        label, font = f"{category['name']:.40}{score}", _font(8 + 4 * unit)
        right, bottom = draw.textbbox((0, 0), label, font)[2:]
        place = (max(0, min(x, picture.width - right)), max(0, y - bottom - unit))
        draw.rectangle((*place, place[0] + right, place[1] + bottom + unit), fill=colour)
        draw.text(place, label, "black", font)
        if record.get("keypoints") and category.get("keypoints"):
            least = SURE_OF_CELL if "keypoint_logits" in record else SURE
            _skeleton(draw, record["keypoints"], category, colour, unit, least)
    return np.ascontiguousarray(np.asarray(picture)[..., ::-1])


@cache
def _font(size: int) -> Any:
    import matplotlib  # has DejaVu with it, which knows most alphabets

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def _skeleton(
    draw: Any, keypoints: Sequence[float], category: Record, colour: str, unit: int, least: float
) -> None:
    points = np.reshape(keypoints, (-1, 3))
    sure = points[:, 2] > least
    for a, b in category.get("skeleton") or ():
        if sure[a - 1] and sure[b - 1]:
            draw.line([*points[a - 1, :2], *points[b - 1, :2]], fill=colour, width=unit)
    for (x, y, _), side, shown in zip(points, sides(category), sure, strict=True):
        if shown:
            r = 1.5 * unit
            draw.ellipse((x - r, y - r, x + r, y + r), fill=SIDES[side], outline="black")
