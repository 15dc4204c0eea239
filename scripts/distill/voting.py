"""Merging the boxes of several views of an image: NMS picks survivors, then all boxes vote on them.

Bounding-box voting: Gidaris & Komodakis 2015; method.md §4; the score rules are those of Detectron's
`box_voting` (utils/boxes.py). Everything is a sum over pairs of a survivor and a voter, so all boxes of all
categories are done at once.

N boxes of the union of all views, R survivors, P pairs; boxes (·, 4) x1, y1, x2, y2 in pixels of the original
image.
"""

from collections.abc import Callable

import numpy as np

from distill import boxes as box_math
from distill.program import UserError

RULES = ("id", "avg", "temp_avg", "iou_avg", "generalized_avg", "quasi_sum")


def vote(
    boxes: np.ndarray,
    scores: np.ndarray,
    categories: np.ndarray,
    *,
    nms: float = 0.5,
    vote: float = 0.8,
    rule: str = "id",
    beta: float = 1.0,
    max_per_image: int = 100,
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

    merged_boxes = boxes[keep]
    count, weight = total(np.ones(len(voter))), total(scores[voter])
    moved = (count > 1) & (weight > 0)  # one that votes alone keeps its coordinates to the last bit
    for side in range(4):
        merged_boxes[moved, side] = total(scores[voter] * boxes[voter, side])[moved] / weight[moved]
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

    Greedy, but all categories take a step at once: each keeps its best box, which is compared with all boxes
    of its category; those that it covers are out, but vote.
    """
    row = np.lexsort((-scores, categories))  # categories stand together, their best boxes first
    columns, category, alive = boxes[row].T.copy(), categories[row], np.ones(len(row), dtype=bool)
    keep, pairs = [row[:0]], [(row[:0], row[:0], np.zeros(0))]
    while alive.any() and (most is None or len(keep) <= most):
        first = np.flatnonzero(np.concatenate([[True], category[1:] != category[:-1]]))
        unfinished = np.logical_or.reduceat(alive, first)
        members = np.diff(first, append=len(row))
        if not unfinished.all():
            left = np.repeat(unfinished, members)
            row, columns, category, alive = row[left], columns[:, left], category[left], alive[left]
            continue
        candidates = np.flatnonzero(alive)
        best = candidates[np.searchsorted(candidates, first)]
        overlap = box_math.iou_of_pairs(np.repeat(columns[:, best], members, axis=1), columns)
        alive &= overlap <= nms
        alive[best] = False
        overlap[best] = 1  # also of boxes without area
        votes = np.flatnonzero(overlap >= vote)
        keep.append(row[best])
        pairs.append((np.repeat(row[best], members)[votes], row[votes], overlap[votes]))
    kept = np.sort(np.concatenate(keep))
    kept = kept[np.argsort(-scores[kept], kind="stable")][:most]
    position = np.full(len(boxes), -1)
    position[kept] = np.arange(len(kept))
    survivor, voter, overlap = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    mine = position[survivor] >= 0
    return kept, position[survivor[mine]], voter[mine], overlap[mine]


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
