"""What several programs predict becomes one: boxes vote as those of views do, keypoints are averaged."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from distill.datasets.coco import Record
from distill.datasets.image_names import Images
from distill.predictions import boxes as box_math
from distill.predictions import voting
from distill.predictions.given import Given
from distill.predictions.merge import Options
from distill.program import UserError


def merge(
    files: Sequence[Given], images: Images, categories: Sequence[Record], options: Options
) -> Iterator[dict[str, Any]]:
    """The predictions of one file as they are, or those of several as one: NMS and voting as of views; a
    keypoint's place is the mean of the voters' weighted by their scores for it, its score the mean of these.

    Yields COCO results, image by image in the dataset's order, the best score first.
    Raises UserError where some of the files have keypoints and others have not.
    """
    files = [given for given in files if len(given.place)]
    if len({given.points is None for given in files}) > 1:
        raise UserError("predictions with keypoints and without cannot be merged; leave one kind out")
    if not files:
        return
    posed = files[0].points is not None
    named = {category["id"] for category in categories if posed and category.get("keypoints")}
    columns = ["place", "category", "score", "boxes", *(["points"] if posed else [])]
    place, category, score, boxes, *rest = (
        np.concatenate([getattr(given, column) for given in files]) for column in columns
    )
    order = np.lexsort([-score, place])
    ends = np.flatnonzero(np.diff(place[order], append=-1)) + 1
    for rows in np.split(order, ends[:-1]):
        mine = (boxes[rows], score[rows], category[rows], rest[0][rows] if posed else None)
        if len(files) > 1:
            mine = _voted(*mine, options)
        yield from _results(images.records[place[rows[0]]]["id"], *mine, named)


def _voted(
    boxes: np.ndarray, score: np.ndarray, category: np.ndarray, points: np.ndarray | None, options: Options
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """The merged boxes, scores, categories and keypoints of one image."""
    result = voting.vote(boxes, score, category, **options.voting)
    if points is not None:
        points = mean_points(points, result.rows, result.elected, result.voter)
    return result.boxes, result.scores, result.categories, points


def mean_points(points: np.ndarray, rows: np.ndarray, elected: np.ndarray, voter: np.ndarray) -> np.ndarray:
    """(R, K, 3) keypoints of R survivors: means of x, y weighted by score, and the mean score.

    points: (N, K, 3) x, y, score of all predictions.
    rows, elected, voter: of `voting.Elected`.
    """
    weight = points[voter, :, 2]
    total, place = np.zeros((len(rows), points.shape[1])), np.zeros((len(rows), points.shape[1], 2))
    np.add.at(total, elected, weight)
    np.add.at(place, elected, weight[..., None] * points[voter, :, :2])
    votes = np.bincount(elected, minlength=len(rows))[:, None]
    weighed = total[..., None] > 0
    place = np.where(weighed, place / np.where(weighed, total[..., None], 1), points[rows, :, :2])
    return np.concatenate([place, (total / votes)[..., None]], axis=2)


def _results(
    image: int,
    boxes: np.ndarray,
    scores: np.ndarray,
    categories: np.ndarray,
    points: np.ndarray | None,
    posed: set[int],
) -> Iterator[dict[str, Any]]:
    """posed: the categories whose records have keypoints."""
    xywh = box_math.in_file(np.round(boxes, 3)).tolist()
    columns = zip(categories.tolist(), xywh, np.round(scores, 6).tolist(), strict=True)
    for i, (category, box, score) in enumerate(columns):
        record = {"image_id": image, "category_id": category, "bbox": box, "score": score}
        if points is not None and category in posed:
            places, found = np.round(points[i, :, :2], 2), np.round(points[i, :, 2:], 6)
            record["keypoints"] = np.concatenate([places, found], axis=1).ravel().tolist()
        yield record
