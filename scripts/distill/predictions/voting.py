"""Merging the boxes of several views of an image: NMS picks survivors, then all boxes vote on them.

Bounding-box voting: Gidaris & Komodakis 2015; method.md §4; the score rules are those of Detectron's
`box_voting` (utils/boxes.py). Everything is a sum over pairs of a survivor and a voter, found in compiled
loops.

N boxes of the union of all views, R survivors, P pairs; boxes (·, 4) x1, y1, x2, y2 in pixels of the original
image.
"""

from collections.abc import Callable

import numba
import numpy as np

from distill.program import UserError

RULES = ("id", "avg", "temp_avg", "iou_avg", "generalized_avg", "quasi_sum")


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The merged boxes (R, 4), scores (R,) and categories (R,) of one image, best score first.

    boxes: (N, 4), scores: (N,) from 0 to 1, categories: (N,), of all views together. nms: IoU above which a
    box goes because of a better one of its category. vote: IoU (above 0) from which a box of the category
    votes on a survivor's coordinates, with its score as its weight. The survivor always votes; where all
    votes weigh nothing, it stays as it is. Equal scores: the box that comes first in the union is better.
    rule: id keeps the survivor's score; for the others and beta see _merge_scores.
    """
    check(rule, beta)
    boxes, scores = np.asarray(boxes, dtype=np.float64).reshape(-1, 4), np.asarray(scores, dtype=np.float64)
    categories = np.asarray(categories)
    # By the id rule voting leaves the scores alone: what will be cut need not vote.
    most = max_per_image if rule == "id" else None
    keep, survivor, voter, overlap = suppress(boxes, scores, categories, nms, vote, most)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(survivor, values, minlength=len(keep))

    merged_boxes = _mean_boxes(boxes, scores, keep, survivor, voter)
    merged_scores = scores[keep] if rule == "id" else _merge_scores(total, scores[voter], overlap, rule, beta)
    # Rounded, or the last bits of sums would decide between equal scores.
    best = np.argsort(-np.round(merged_scores, 9), kind="stable")[:max_per_image]
    return merged_boxes[best], merged_scores[best], categories[keep[best]]


def check(rule: str, beta: float) -> None:
    """UserError for an unknown rule or a beta that is not above 0."""
    if rule not in RULES:
        raise UserError(f"merge: score rule {rule!r} is none of {', '.join(RULES)}")
    if not 0 < beta < np.inf:
        raise UserError(f"merge: beta must be a number above 0, not {beta!r}")


def suppress(
    boxes: np.ndarray,
    scores: np.ndarray,
    categories: np.ndarray,
    nms: float,
    vote: float,
    most: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Non-maximum suppression within categories, and who votes on whom; arguments as in `vote`.

    Returns keep (R,), the rows that survive, best score first, at most `most`; and by pair survivor (P,), a
    position in keep, voter (P,), a row, and their IoU (P,), 1 of each survivor with itself.
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
    """by_score: all rows, the best first; rows: these by category, which `category` names."""
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
    survivor, voter, overlap = [np.int64(0)], [np.int64(0)], [0.0]  # of a type; this row goes in the end
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
        for side in range(4):  # one that votes alone keeps its coordinates to the last bit
            alone = count[r] == 1 or weight[r] <= 0
            total[r, side] = boxes[row, side] if alone else total[r, side] / weight[r]
    return total


def _merge_scores(
    total: Callable[[np.ndarray], np.ndarray], scores: np.ndarray, overlap: np.ndarray, rule: str, beta: float
) -> np.ndarray:
    """(R,) scores by the rule. total: sums (P,) values by survivor; scores: w, of the voters, (P,).

    n is the number of voters. avg: mean w. temp_avg: mean of w^(1/β) / (w^(1/β) + (1−w)^(1/β)), the
    probability against its complement at temperature β. iou_avg: mean of w weighted by IoU with the survivor.
    generalized_avg: (mean w^β)^(1/β). quasi_sum: Σw / n^β.
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
