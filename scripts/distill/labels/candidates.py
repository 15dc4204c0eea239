"""Candidates: the merged predictions that can become labels.

`candidate_blocks` is the one definition of it. Calibration ranks exactly these, so that as many labels are
written as it says.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.datasets.coco import Coco
from distill.predictions import boxes as box_math
from distill.predictions import coco_results
from distill.program import UserError

MIN_SIDE = 1.0  # pixels; a sliver left by clipping is no target for box regression


@dataclass(frozen=True)
class Candidates:
    """Columns of n candidates.

    image_id, category_id, score: (n,).
    bbox: (n, 4) x, y, w, h, clipped to the image.
    posed: (n,) bool, those with keypoints.
    keypoints: (m, K, 3) x, y, score of the m that are posed. Outside the image the score is 0, which no
        threshold accepts.
    agreement: (n, 3 + 2K) of the views, where it is asked for: views, overlap and score, K spreads and K
        entropies (see `predictions.agreement`), NaN where the predictions lack them. Else (n, 0).
    """

    image_id: np.ndarray
    category_id: np.ndarray
    score: np.ndarray
    bbox: np.ndarray
    posed: np.ndarray
    keypoints: np.ndarray
    agreement: np.ndarray

    def where(self, keep: np.ndarray) -> "Candidates":
        """Those that a mask (n,) keeps."""
        return Candidates(
            self.image_id[keep],
            self.category_id[keep],
            self.score[keep],
            self.bbox[keep],
            self.posed[keep],
            self.keypoints[keep[self.posed]],
            self.agreement[keep],
        )

    def limits(self, of_category: dict[int, float]) -> np.ndarray:
        """(n,) that of each one's category."""
        return np.array([of_category[category] for category in self.category_id.tolist()], np.float64)

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
    dataset: Coco,
    categories: list[dict[str, Any]],
    agnostic_nms: float | None,
    limits: dict[int, float] | None = None,
    agreement: bool = False,
    possible: Collection[int] | None = None,
) -> Iterator[Candidates]:
    """Yields the candidates of a file in its order, some thousands at a time.

    A box of which less than one pixel of width or height is left in the image is none.

    path: merged predictions, COCO results.
    dataset: the COCO dict that holds the images.
    categories: those that are known, of the labelled dataset.
    agnostic_nms: a box is no candidate if its IoU with a better one, of whatever category, is above this;
        None: overlap does not matter.
    limits: category id → score; candidates that do not reach it are left out, hardly parsed. None: none is.
    agreement: whether that of the views is wanted.
    possible: with agnostic_nms, the categories that labels can have: the others, of which nothing is
        labelled, suppress nothing and are left out. None: all.

    Raises UserError for an unknown image or category, a wrong number of keypoints, an infinite number or NaN.
    """
    lines = coco_results.read_lines(path)[1]
    if limits is not None:
        # A box above the lowest limit may suppress a label of another category without becoming one itself.
        least = limits if agnostic_nms is None else dict.fromkeys(limits, min(limits.values(), default=0))
        lines = coco_results.scoring(path, lines, least)
    blocks = _all_blocks(path, lines, dataset, categories, agreement)
    if agnostic_nms is None:
        return blocks
    if possible is not None:
        known = sorted(possible)
        blocks = (block.where(np.isin(block.category_id, known)) for block in blocks)
    blocks = (_suppress(block, agnostic_nms) for block in whole_images(blocks))
    if limits is None:
        return blocks
    return (block.where(block.score >= block.limits(limits)) for block in blocks)


def whole_images(blocks: Iterator[Candidates]) -> Iterator[Candidates]:
    """The same candidates, in blocks that do not end within an image."""
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


def _all_blocks(
    path: str | Path,
    lines: Iterator[bytes],
    dataset: Coco,
    categories: list[dict[str, Any]],
    agreement: bool,
) -> Iterator[Candidates]:
    sizes = {image["id"]: (image["width"], image["height"]) for image in dataset["images"]}
    counts = {category["id"]: len(category.get("keypoints") or ()) for category in categories}
    cells = max(counts.values(), default=0)
    for block in lines:
        kind = coco_results.Agreed if agreement else coco_results.Prediction
        found: list[Any] = coco_results.decode(path, block, kind)
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
        flat = [found[row].keypoints or () for row in np.flatnonzero(posed)]
        if wrong := [len(values) for values in flat if len(values) != 3 * cells]:
            raise UserError(f"{path}: a prediction has {wrong[0] / 3:g} keypoints, not {cells}")
        points = np.array(flat, np.float64).reshape(len(flat), cells, 3)
        limit = size[posed, None]
        inside = (points[..., :2] >= 0).all(-1) & (points[..., :2] <= limit).all(-1) & (points[..., 2] > 0)
        points[~inside] = 0
        boxes, keep = _clip(boxes, size)
        agreed = _agreement(found, cells) if agreement else np.zeros((len(found), 0))
        yield Candidates(image_id, category_id, score, boxes, posed, points, agreed).where(keep)


def _agreement(found: Sequence[coco_results.Agreed], cells: int) -> np.ndarray:
    """(n, 3 + 2K), see `Candidates`; cells: K."""
    rows = np.full((len(found), 3 + 2 * cells), np.nan)
    for row, p in enumerate(found):
        if (a := p.agreement) is None:
            continue
        rows[row, :3] = [np.nan if value is None else value for value in (a.views, a.overlap, a.score)]
        if len(a.spread) == len(a.entropy) == cells:
            rows[row, 3:] = *a.spread, *a.entropy
    return rows


def candidates(
    path: str | Path,
    dataset: Coco,
    categories: list[dict[str, Any]],
    agnostic_nms: float | None,
    possible: Collection[int] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields each of `candidate_blocks` as a record of COCO results; the arguments are the same."""
    for block in candidate_blocks(path, dataset, categories, agnostic_nms, possible=possible):
        yield from block.records()


def _clip(boxes: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts (n, 4) of boxes (n, 4; x, y, w, h) inside images of `size` (n, 2; width, height), and whether
    enough of each is left (n,). Numbers of a side that is not cut stay the same to the last bit."""
    corner, sides = boxes[:, :2], boxes[:, 2:]
    inner = np.maximum(corner, 0)
    cut = (inner != corner) | (corner + sides > size)
    sides = np.where(cut, np.minimum(corner + sides, size) - inner, sides)
    return np.concatenate([inner, sides], axis=1), np.all(sides >= MIN_SIDE, axis=1)
