"""Candidates: the merged predictions that can become labels.

`candidate_blocks` is the one definition of it. Calibration ranks exactly these, so the
counts that it says it meets are the counts that `generate` writes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from distill.predictions import boxes as box_math
from distill.predictions import coco_results
from distill.program import UserError

MIN_SIDE = 1.0  # pixels; a sliver left by clipping is no target for box regression


@dataclass(frozen=True)
class Candidates:
    """Merged predictions that can become labels: image_id, category_id, score (n,); bbox (n, 4; x, y, w, h)
    clipped to the image; posed (n,) bool, whose category has keypoints that were predicted, and keypoints
    (number of these, K, 3; x, y, score). A keypoint outside the image has score 0, which no threshold
    accepts."""

    image_id: np.ndarray
    category_id: np.ndarray
    score: np.ndarray
    bbox: np.ndarray
    posed: np.ndarray
    keypoints: np.ndarray

    def where(self, keep: np.ndarray) -> "Candidates":
        """Those of a mask (n,)."""
        rows = (self.image_id, self.category_id, self.score, self.bbox, self.posed)
        return Candidates(*(values[keep] for values in rows), self.keypoints[keep[self.posed]])

    def __add__(self, more: "Candidates") -> "Candidates":
        """Both, one after the other."""
        columns = zip(vars(self).values(), vars(more).values(), strict=True)
        return Candidates(*map(np.concatenate, columns))

    def records(self) -> Iterator[dict[str, Any]]:
        """Each as a record of COCO results, keypoints flat."""
        columns = (self.image_id, self.category_id, self.bbox, self.score, self.posed)
        points = map(np.ndarray.tolist, map(np.ravel, self.keypoints))
        for image, category, box, score, posed in zip(*(c.tolist() for c in columns), strict=True):
            record = {"image_id": image, "category_id": category, "bbox": box, "score": score}
            yield record | {"keypoints": next(points)} if posed else record


def candidate_blocks(
    path: str | Path,
    dataset: dict[str, Any],
    categories: list[dict[str, Any]],
    agnostic_nms: float | None,
    limits: dict[int, float] | None = None,
) -> Iterator[Candidates]:
    """Merged predictions that can become labels, in the file's order, some thousands at a time.

    A box with less than one pixel of width or height left in the image is skipped; then, unless it is None,
    one that overlaps a better one of whatever category by an IoU above `agnostic_nms`. With `limits`
    (category id → score) only those that score as much, and others are hardly parsed. Raises UserError for
    an unknown image or category, a wrong number of keypoints, a number that is not finite.
    """
    lines = coco_results.read_lines(path)[1]
    if limits is not None:
        # Whichever scores above the lowest limit may suppress a label, even where it cannot become one.
        least = limits if agnostic_nms is None else dict.fromkeys(limits, min(limits.values(), default=0))
        lines = coco_results.scoring(path, lines, least)
    blocks = _all_blocks(path, lines, dataset, categories)
    if agnostic_nms is None:
        return blocks
    blocks = map(partial(_suppress, nms=agnostic_nms), _whole_images(blocks))
    return blocks if limits is None else map(partial(_reaching, limits=limits), blocks)


def _whole_images(blocks: Iterator[Candidates]) -> Iterator[Candidates]:
    """The same rows, in blocks that do not end within an image."""
    rest = None
    for block in blocks:
        block = block if rest is None else rest + block
        last = np.isin(block.image_id, block.image_id[-1:])
        yield block.where(~last)
        rest = block.where(last)
    if rest is not None:
        yield rest


def _suppress(block: Candidates, nms: float) -> Candidates:
    from distill.predictions.voting import suppress  # numba takes a while to import

    boxes = box_math.xywh_to_xyxy(block.bbox)
    keep = suppress(boxes, block.score, categories=block.image_id, nms=nms, vote=np.inf)[0]
    return block.where(np.isin(np.arange(len(boxes)), keep))


def _reaching(block: Candidates, limits: dict[int, float]) -> Candidates:
    return block.where(block.score >= np.array([limits[c] for c in block.category_id.tolist()], np.float64))


def _all_blocks(
    path: str | Path, lines: Iterator[bytes], dataset: dict[str, Any], categories: list[dict[str, Any]]
) -> Iterator[Candidates]:
    sizes = {image["id"]: (image["width"], image["height"]) for image in dataset["images"]}
    counts = {category["id"]: len(category.get("keypoints", ())) for category in categories}
    cells = max(counts.values(), default=0)
    for block in lines:
        found = coco_results.decode(path, block, coco_results.Prediction)
        posed = np.zeros(len(found), bool)
        for row, p in enumerate(found) if cells else ():
            posed[row] = p.keypoints is not None and counts.get(p.category_id, 0) > 0
        image_id, category_id, score, boxes = coco_results.columns(found)
        try:
            size = np.array([sizes[image] for image in image_id.tolist()], np.float64).reshape(-1, 2)
        except KeyError as error:
            where = f"{path}: prediction on image {error.args[0]}"
            raise UserError(f"{where}, which the unlabelled dataset lacks; predict it again") from None
        if unknown := set(category_id.tolist()) - set(counts):
            where = f"{path}: prediction of category {min(unknown)}"
            raise UserError(f"{where}, which the labelled dataset lacks")
        points = [found[row].keypoints for row in np.flatnonzero(posed)]
        if wrong := [len(values) for values in points if len(values) != 3 * cells]:
            raise UserError(f"{path}: a prediction has {wrong[0] / 3:g} keypoints, not {cells}")
        points = np.array(points, np.float64).reshape(len(points), cells, 3)
        limit = size[posed, None]
        inside = (points[..., :2] >= 0).all(-1) & (points[..., :2] <= limit).all(-1) & (points[..., 2] > 0)
        points[~inside] = 0
        boxes, keep = _clip(boxes, size)
        yield Candidates(image_id, category_id, score, boxes, posed, points).where(keep)


def candidates(
    path: str | Path,
    dataset: dict[str, Any],
    categories: list[dict[str, Any]],
    agnostic_nms: float | None,
) -> Iterator[dict[str, Any]]:
    """`candidate_blocks` as records of COCO results, one at a time."""
    for block in candidate_blocks(path, dataset, categories, agnostic_nms):
        yield from block.records()


def _clip(boxes: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts (n, 4) of boxes (n, 4; x, y, w, h) inside images of `size` (n, 2; width, height), where an
    untouched side keeps its very number; and which of them are left (n,)."""
    corner, sides = boxes[:, :2], boxes[:, 2:]
    inner = np.maximum(corner, 0)
    cut = (inner != corner) | (corner + sides > size)
    sides = np.where(cut, np.minimum(corner + sides, size) - inner, sides)
    return np.concatenate([inner, sides], axis=1), (sides >= MIN_SIDE).all(1)
