"""Merging the boxes of several views of an image: NMS picks survivors, then all boxes vote on them.

Bounding-box voting: Gidaris & Komodakis 2015 (arXiv 1505.01749), as in Data Distillation (arXiv
1712.04440), section 6; the score rules are those of Detectron's `box_voting` (utils/boxes.py). Everything is
a sum over pairs of a survivor and a voter, found in compiled loops.

N boxes of the union of all views, R survivors, P pairs; boxes (·, 4) x1, y1, x2, y2 in pixels of the original
image.
"""

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

from distill.program import UserError

RULES = ("id", "avg", "temp_avg", "iou_avg", "generalized_avg", "quasi_sum")


class Elected(NamedTuple):
    """The merged boxes (R, 4), scores (R,) and categories (R,), the best score first; and who they are of.

    rows: (R,) the survivors' rows among the N boxes.
    elected, voter: (P,) of each vote: for whom it is, a position in `rows`, and from whom, a row.
    """

    boxes: np.ndarray
    scores: np.ndarray
    categories: np.ndarray
    rows: np.ndarray
    elected: np.ndarray
    voter: np.ndarray


def vote(
    boxes: np.ndarray,
    scores: np.ndarray,
    categories: np.ndarray,
    *,
    nms: float,
    vote: float,
    rule: str,
    beta: float,
    max_per_image: int,
) -> Elected:
    """Merges the boxes of one image by NMS and voting, each category by itself.

    A survivor votes on its own coordinates, too; where all votes weigh nothing, it stays as it is. Of equal
    scores, the one that comes first in the union is the better.

    boxes: (N, 4), of all views together.
    scores: (N,) from 0 to 1.
    categories: (N,) ids.
    nms: a box goes if its IoU with a better one is above this.
    vote: a box votes, weighted by its score, if its IoU with the survivor is at least this (above 0).
    rule: what becomes of the survivor's score: `id` keeps it; for the others and `beta` see `_merge_scores`.
    max_per_image: so many of the best stay.

    Returns the merged boxes, and the votes.
    Raises UserError as `check`.
    """
    check(rule, beta)
    boxes, scores = np.asarray(boxes, dtype=np.float64).reshape(-1, 4), np.asarray(scores, dtype=np.float64)
    categories = np.asarray(categories)
    # By the rule `id` scores stay as they are: beyond the best max_per_image nothing need be voted on.
    most = max_per_image if rule == "id" else None
    keep, survivor, voter, overlap = suppress(boxes, scores, categories, nms, vote, most)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(survivor, values, minlength=len(keep))

    merged_boxes = _mean_boxes(boxes, scores, keep, survivor, voter)
    merged_scores = scores[keep] if rule == "id" else _merge_scores(total, scores[voter], overlap, rule, beta)
    # Rounded, since otherwise the last bits of sums would decide between equal scores.
    best = np.argsort(-np.round(merged_scores, 9), kind="stable")[:max_per_image]
    position = np.full(len(keep), -1)
    position[best] = np.arange(len(best))
    counts = position[survivor] >= 0
    merged = merged_boxes[best], merged_scores[best], categories[keep[best]]
    return Elected(*merged, keep[best], position[survivor[counts]], voter[counts])


def check(rule: str, beta: float) -> None:
    """UserError for an unknown rule or a beta that is not above 0, or so large that all powers are 0."""
    if rule not in RULES:
        raise UserError(f"merge: score rule {rule!r} is none of {', '.join(RULES)}")
    if not 0 < beta <= 100:
        raise UserError(f"merge: beta must be a number above 0, at most 100, not {beta!r}")


def suppress(
    boxes: np.ndarray,
    scores: np.ndarray,
    categories: np.ndarray,
    nms: float,
    vote: float,
    most: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Non-maximum suppression within categories, and who votes on whom.

    boxes, scores, categories, nms, vote: as in `vote`.
    most: how many survivors are looked for; None: all.

    Returns keep (R,), the rows of the survivors, the best score first; and for each pair of survivor and
    voter: survivor (P,), a position in keep; voter (P,), a row; their IoU (P,), 1 of a survivor with itself.
    """
    by_score = np.argsort(-scores, kind="stable")
    rows = by_score[np.argsort(categories[by_score], kind="stable")]  # categories stand together
    most = len(rows) if most is None else min(most, len(rows))
    return _suppress(boxes, by_score, rows, categories[rows], nms, vote, most)


@numba.njit(cache=True, error_model="numpy")
def _suppress(
    boxes: np.ndarray,
    by_score: np.ndarray,
    rows: np.ndarray,
    category: np.ndarray,
    nms: float,
    vote: float,
    most: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """by_score: (N,) all rows, the best first. rows: (N,) the same, sorted by category and then by score.
    category: (N,) that of each of `rows`."""
    n = len(rows)
    place, first, last = np.empty(n, np.int64), np.zeros(n, np.int64), np.full(n, n)
    for p in range(n):
        place[rows[p]] = p
        if p:
            first[p] = first[p - 1] if category[p] == category[p - 1] else p
    for p in range(n - 2, -1, -1):
        last[p] = last[p + 1] if category[p] == category[p + 1] else p + 1
    x1, y1, x2, y2 = boxes[rows].T.copy()
    area = (x2 - x1) * (y2 - y1)
    alive, iou = np.ones(n, np.bool_), np.empty(n)
    keep, kept = np.empty(most, np.int64), 0
    # numba infers a list's type from its first entry, which is cut off in the end.
    survivor, voter, overlap = [0], [0], [0.0]
    for row in by_score:
        i = place[row]
        if kept == most:
            break
        if not alive[i]:
            continue
        for j in range(first[i], last[i]):
            width = max(min(x2[i], x2[j]) - max(x1[i], x1[j]), 0.0)
            height = max(min(y2[i], y2[j]) - max(y1[i], y1[j]), 0.0)
            both = width * height
            iou[j] = both / (area[i] + area[j] - both) if both > 0 else 0.0
        iou[i] = 1  # also of a box without area
        for j in range(first[i], last[i]):
            alive[j] &= iou[j] <= nms
            if iou[j] >= vote:
                survivor.append(kept)
                voter.append(rows[j])
                overlap.append(iou[j])
        keep[kept] = row
        kept += 1
    return keep[:kept], np.array(survivor)[1:], np.array(voter)[1:], np.array(overlap)[1:]


@numba.njit(cache=True)
def _mean_boxes(
    boxes: np.ndarray, scores: np.ndarray, keep: np.ndarray, survivor: np.ndarray, voter: np.ndarray
) -> np.ndarray:
    """(R, 4) means of the voters' boxes, weighted by their scores; arguments as `suppress` returns them."""
    total, weight, count = np.zeros((len(keep), 4)), np.zeros(len(keep)), np.zeros(len(keep))
    for s, v in zip(survivor, voter):  # noqa: B905 (numba has no strict)
        weight[s] += scores[v]
        count[s] += 1
        for side in range(4):
            total[s, side] += scores[v] * boxes[v, side]
    for r, row in enumerate(keep):
        for side in range(4):  # a survivor without other votes keeps its coordinates to the last bit
            alone = count[r] == 1 or weight[r] <= 0
            total[r, side] = boxes[row, side] if alone else total[r, side] / weight[r]
    return total


def _merge_scores(
    total: Callable[[np.ndarray], np.ndarray], scores: np.ndarray, overlap: np.ndarray, rule: str, beta: float
) -> np.ndarray:
    """(R,) scores of the survivors by a rule, from the scores w of their n voters:

    - avg: mean w
    - temp_avg: mean of w^(1/β) / (w^(1/β) + (1−w)^(1/β)), the probability at temperature β
    - iou_avg: mean of w weighted by IoU with the survivor
    - generalized_avg: (mean w^β)^(1/β)
    - quasi_sum: Σw / n^β

    total: sums values (P,) by survivor (R,).
    scores: (P,) w.
    overlap: (P,) IoU of voter and survivor.
    """
    if rule == "iou_avg":
        return total(scores * overlap) / total(overlap)
    count = total(np.ones(len(scores)))
    if rule == "quasi_sum":
        return total(scores) / count**beta
    if rule == "generalized_avg":
        return (total(scores**beta) / count) ** (1 / beta)
    if rule == "temp_avg":
        with np.errstate(divide="ignore"):  # log 0 is meant: its probability stays 0
            logs = np.log([scores, 1 - scores]) / beta
        own, other = np.exp(logs - logs.max(axis=0))
        scores = own / (own + other)
    return total(scores) / count
