"""Labels: the merged predictions at or above calibrated thresholds, as an ordinary COCO annotation file.

`candidates` is the one definition of what can become a label. Calibration ranks exactly these, so the counts
that it says it meets are the counts that `generate` writes.
"""

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.files import read_json, write_json
from distill.program import UserError

log = logging.getLogger("distill")

MIN_SIDE = 1.0  # pixels; a sliver left by clipping is no target for box regression


def read_records(path: str | Path) -> Iterator[dict[str, Any]]:
    """The records of a COCO results list; one record a line (as we write them) is streamed.

    Raises UserError where the file is missing, cut off, or not a JSON list.
    """
    try:
        file = open(path, encoding="utf-8")  # noqa: SIM115 (closed by the `with` below)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    with file:
        opening, first = file.readline().strip(), file.readline().strip()
        if opening == "[" and first.startswith("{") and first.rstrip(",").endswith("}"):
            line, number = first, 2
            while line != "]":
                try:
                    yield json.loads(line.removesuffix(","))
                except json.JSONDecodeError:
                    raise UserError(f"{path}: line {number} is no record; is the file cut off?") from None
                line, number = file.readline().strip(), number + 1
            return
    records = read_json(path)
    if not isinstance(records, list):
        raise UserError(f"{path}: expected a list of predictions (COCO results)")
    yield from records


def candidates(
    path: str | Path, dataset: dict[str, Any], categories: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Merged predictions that can become labels, in the file's order.

    Each has image_id, category_id, score, bbox (x, y, w, h, clipped to the image; a box with less than one
    pixel of width or height left is skipped) and, where the category has keypoints and they were predicted,
    keypoints as (x, y, score) triplets, flat. A keypoint outside the image has score 0, which no threshold
    accepts. Raises UserError for an unknown image or category, a wrong number of keypoints, a score or box
    that is not finite.
    """
    sizes = {image["id"]: (image["width"], image["height"]) for image in dataset["images"]}
    keypoints_of = {category["id"]: len(category.get("keypoints", ())) for category in categories}
    for record in read_records(path):
        image, category, score = record["image_id"], record["category_id"], record["score"]
        where = f"{path}: prediction on image {image}"
        if image not in sizes:
            raise UserError(f"{where}, which the unlabelled dataset lacks; predict it again")
        if category not in keypoints_of:
            raise UserError(f"{where} of category {category}, which the labelled dataset lacks")
        x, y, w, h = record["bbox"]
        if not math.isfinite(score + x + y + w + h):
            raise UserError(f"{where} has a score or box that is not finite; did the model diverge?")
        width, height = sizes[image]
        box = _clip(x, y, w, h, width, height)
        if box is None:
            continue
        candidate = {"image_id": image, "category_id": category, "bbox": box, "score": score}
        if keypoints_of[category] and "keypoints" in record:
            points = record["keypoints"]
            if len(points) != 3 * keypoints_of[category]:
                raise UserError(f"{where} has {len(points) / 3:g} keypoints, not {keypoints_of[category]}")
            candidate["keypoints"] = [
                value
                for px, py, s in zip(points[0::3], points[1::3], points[2::3], strict=True)
                for value in ((px, py, s) if 0 <= px <= width and 0 <= py <= height and s > 0 else (0, 0, 0))
            ]
        yield candidate


def _clip(x: float, y: float, w: float, h: float, width: int, height: int) -> list[float] | None:
    """The part of a box (x, y, w, h) inside the image; an untouched side keeps its very number."""
    left, top = max(x, 0), max(y, 0)
    if left != x or x + w > width:
        w = min(x + w, width) - left
    if top != y or y + h > height:
        h = min(y + h, height) - top
    return [left, top, w, h] if w >= MIN_SIDE and h >= MIN_SIDE else None


def annotations(kept: Iterator[dict[str, Any]], keypoint_threshold: float | None) -> Iterator[dict[str, Any]]:
    """COCO annotations, ids from 1; keypoints at or above the threshold are (x, y, 2), others (0, 0, 0)."""
    for number, candidate in enumerate(kept, 1):
        x, y, w, h = candidate["bbox"]
        annotation = {
            "id": number,
            "image_id": candidate["image_id"],
            "category_id": candidate["category_id"],
            "bbox": [x, y, w, h],
            "area": round(w * h, 2),
            "iscrowd": 0,
            "score": candidate["score"],
        }
        if "keypoints" in candidate:
            points = candidate["keypoints"]
            scores = points[2::3]
            visible = [keypoint_threshold is not None and s > 0 and s >= keypoint_threshold for s in scores]
            annotation["keypoints"] = [
                value
                for px, py, v in zip(points[0::3], points[1::3], visible, strict=True)
                for value in ((px, py, 2) if v else (0, 0, 0))
            ]
            annotation["num_keypoints"] = sum(visible)
            annotation["keypoint_scores"] = scores
        yield annotation


def generate(
    merged: str | Path,
    dataset: dict[str, Any],
    labelled: dict[str, Any],
    thresholds: dict[str, Any],
    output: str | Path,
) -> None:
    """Writes the labels of the unlabelled `dataset` as a COCO file with the categories of `labelled`.

    Every image of the dataset is listed, also where nothing was found. `thresholds` is the content of
    thresholds.json (see `distill.calibrate`). Raises UserError, and writes nothing, where the predictions
    are not those that were calibrated.
    """
    instances = thresholds["instances"]
    if {int(key) for key in instances} != {category["id"] for category in labelled["categories"]}:
        raise UserError(f"{output}: the thresholds are of other categories than the labelled dataset's")
    accepted = {int(key): entry["threshold"] for key, entry in instances.items()}
    keypoint_threshold = (thresholds["keypoints"] or {}).get("threshold")
    met = sum(entry["met"] for entry in instances.values())
    seen: set[Any] = set()

    def kept() -> Iterator[dict[str, Any]]:
        written = 0
        for candidate in candidates(merged, dataset, labelled["categories"]):
            threshold = accepted[candidate["category_id"]]
            if threshold is not None and candidate["score"] >= threshold:
                written += 1
                seen.add(candidate["image_id"])
                yield candidate
        if written != met:
            raise UserError(f"{merged}: {written} labels instead of the calibrated {met}; calibrate it again")

    info = {
        **dataset["info"],
        "description": f"Labels generated for: {dataset['info'].get('description') or 'unlabelled images'}",
        "kind": "labels",
    }
    write_json(
        output,
        {
            "info": info,
            "images": dataset["images"],
            "annotations": annotations(kept(), keypoint_threshold),
            "categories": labelled["categories"],
        },
    )
    log.info("%d labels on %d of %d images", met, len(seen), len(dataset["images"]))
