"""Merging the boxes of several views of one image: NMS picks survivors, then all boxes vote on them.

Bounding-box voting: Gidaris & Komodakis 2015; method.md §4; the score rules are those of Detectron's
`box_voting` (utils/boxes.py). Everything is a masked mean over the union of the views' boxes, so one IoU
matrix of survivors × union and a few matrix products do all boxes of all categories at once.

N boxes of the union, R survivors; boxes (·, 4) x1, y1, x2, y2 in pixels of the original image.
"""

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
    box goes because of a better one of its category. vote: IoU from which a box of the same category votes
    on a survivor's coordinates, with its score as its weight. The survivor always votes; where all votes
    weigh nothing, it stays as it is. Equal scores: the box that comes first in the union is better.
    rule, beta: see _merge_scores and check.
    """
    boxes, scores = np.asarray(boxes, dtype=np.float64).reshape(-1, 4), np.asarray(scores, dtype=np.float64)
    categories = np.asarray(categories)
    check(rule, beta)
    keep = box_math.nms(boxes, scores, categories, nms)
    if rule == "id":  # voting leaves the scores alone: what will be cut need not vote
        keep = keep[:max_per_image]
    overlap = box_math.iou(boxes[keep], boxes)
    overlap[np.arange(len(keep)), keep] = 1  # also of boxes without area
    votes = (overlap >= vote) & (categories[keep, None] == categories[None])
    merged_boxes = _mean_boxes(votes, boxes, scores, keep)
    merged_scores = _merge_scores(votes, overlap, scores, keep, rule, beta)
    # Rounded, or the last bits of sums would decide between equal scores.
    best = np.argsort(-np.round(merged_scores, 9), kind="stable")[:max_per_image]
    return merged_boxes[best], merged_scores[best], categories[keep][best]


def check(rule: str, beta: float) -> None:
    """UserError for an unknown rule or a beta that is not above 0."""
    if rule not in RULES:
        raise UserError(f"merge: score rule {rule!r} is none of {', '.join(RULES)}")
    if not 0 < beta < np.inf:
        raise UserError(f"merge: beta must be a number above 0, not {beta!r}")


def _mean_boxes(votes: np.ndarray, boxes: np.ndarray, scores: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """(R, 4) score-weighted means; a survivor that votes alone keeps its coordinates to the last bit."""
    weights = votes @ scores
    means = boxes[keep]
    moved = (votes.sum(axis=1) > 1) & (weights > 0)
    means[moved] = (votes[moved] @ (boxes * scores[:, None])) / weights[moved, None]
    return means


def _merge_scores(
    votes: np.ndarray, overlap: np.ndarray, scores: np.ndarray, keep: np.ndarray, rule: str, beta: float
) -> np.ndarray:
    """(R,) scores by the rule; w are the voters' scores, n their number.

    id: the survivor's own. avg: mean w. temp_avg: mean of w^(1/β) / (w^(1/β) + (1−w)^(1/β)), the probability
    against its complement at temperature β. iou_avg: mean of w weighted by IoU with the survivor.
    generalized_avg: (mean w^β)^(1/β). quasi_sum: Σw / n^β.
    """
    if rule == "id":
        return scores[keep]
    if rule == "iou_avg":
        weights = votes * overlap
        return (weights @ scores) / weights.sum(axis=1)
    count = votes.sum(axis=1)
    if rule == "quasi_sum":
        return (votes @ scores) / count**beta
    if rule == "generalized_avg":
        return ((votes @ scores**beta) / count) ** (1 / beta)
    if rule == "temp_avg":
        with np.errstate(divide="ignore"):  # log 0 is meant: its probability stays 0
            logs = np.log([scores, 1 - scores]) / beta
        own, other = np.exp(logs - logs.max(axis=0))
        scores = own / (own + other)
    return (votes @ scores) / count
