"""What to look at first: labels most likely wrong or badly placed, and objects most likely missed.

The score of a merged box is that of the best view, or of a vote, and much alike among labels. Better tells
right from wrong the mean score over all views (`predictions.agreement`), against what is usual for the labels
of the category, the median; how far keypoints are spread over the heatmap; and how unusual the box is.

    certainty = log(mean score / usual) − ½ (entropy − usual) − 0.06 (oddness of size + oddness of shape)

Oddness is how far log √(width · height), and log(width / height), are from the median of the category's
labels, in median absolute deviations. A label is right with probability σ(5 certainty + 2.25), and what is no
label is an object with σ(2 certainty + 1.2). The weights were found on hidden labels, and measured on others:
docs/results.md. Where views were not compared, the merged score stands for their mean.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distill.datasets.coco import Coco, Record
from distill.labels import thresholds as thresholds_file
from distill.labels.candidates import Candidates, candidate_blocks, whole_images
from distill.predictions.boxes import iou, xywh_to_xyxy

OF_ENTROPY, OF_ODDNESS = 0.5, 0.06
OF_LABEL, OF_MISSED = (5.0, 2.25), (2.0, 1.2)  # slope and constant
LEAST_DEVIATION, MOST_ODDNESS = 0.1, 6.0
COMPARED = 5  # labels of a category, at least, that say which boxes are usual
FAR = 0.5  # candidates below this share of the threshold are not taken for missed objects
COVERED = 0.5  # IoU with a label from which a candidate is no other object
LISTED = 10_000  # rows of review.csv, at most
LEAST = 1e-3  # a score, where a threshold or a mean is 0


def doubts(
    merged: str | Path, dataset: Coco, categories: list[dict[str, Any]], thresholds: dict[str, Any]
) -> pd.DataFrame:
    """The labels, and the candidates that may be missed objects: a row for each, in the order of the file.

    merged: predictions on the dataset, COCO results.
    dataset: the unlabelled COCO dict.
    categories: those of the labelled dataset.
    thresholds: the content of thresholds.json, of `calibrate`.

    Columns: doubt, from 0 to 1; kind, "label" or "missed"; label, the id of the annotation, 0 where there is
    none; image_id, category_id, score; x, y, width, height; views, overlap (`agreement.of_boxes`); keypoint,
    the place of the one with the highest entropy, −1 where there is none, and spread, of its peaks; mean,
    entropy and oddness, of which doubt is made. NaN: not known.
    Raises UserError as `candidate_blocks`.
    """
    limits, lowest = thresholds_file.limits(thresholds)
    visible = (thresholds["keypoints"] or {}).get("threshold")
    how = thresholds_file.suppression(thresholds)
    blocks = candidate_blocks(merged, dataset, categories, **how, agreement=True)
    visible = np.inf if visible is None else visible
    parts = [_considered(block, visible) for block in whole_images(_numbered(blocks, limits, lowest))]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(_COLUMNS))
    table["oddness"] = _oddness(table)
    is_label = table["kind"] == "label"
    slope, constant = (np.where(is_label, *pair) for pair in zip(OF_LABEL, OF_MISSED, strict=True))
    real = slope * _certainty(table, limits) + constant
    table.insert(0, "doubt", 1 / (1 + np.exp(np.where(is_label, real, -real))))
    return table


_COLUMNS = (
    "kind", "image_id", "category_id", "score", "x", "y", "width", "height",
    "views", "overlap", "mean", "entropy", "keypoint", "spread", "label",
)  # fmt: skip


def _numbered(
    blocks: Iterator[Candidates], limits: dict[int, float], lowest: dict[int, float]
) -> Iterator[Candidates]:
    """Labels and what may be missed, with the number that `generate` gives to a label, else 0, as the last
    column of `agreement`. What is written to be ignored has a number too, and is no label."""
    count = 0
    for block in blocks:
        limit, least = block.limits(limits), block.limits(lowest)
        is_label, is_written = block.score >= limit, block.score >= least
        number = np.where(is_label, count + np.cumsum(is_written), 0)
        count += int(is_written.sum())
        numbered = replace(block, agreement=np.column_stack([block.agreement, number]))
        yield numbered.where(is_label | (block.score >= FAR * limit) & (block.score > 0))


def _considered(block: Candidates, visible: float) -> pd.DataFrame:
    """Of whole images. visible: the least score of a keypoint that is one."""
    is_label = block.agreement[:, -1] > 0
    near = ~is_label
    near[near] = ~_covered(block, is_label, near)
    keep = is_label | near
    kept = block.where(keep)
    views, overlap, mean, *points, number = kept.agreement.T
    entropy, keypoint, spread = _pose(kept, np.array(points).T, visible)
    columns = (
        np.where(is_label[keep], "label", "missed"), kept.image_id, kept.category_id, kept.score,
        *kept.bbox.T, views, overlap, mean, entropy, keypoint, spread, number.astype(int),
    )  # fmt: skip
    return pd.DataFrame(dict(zip(_COLUMNS, columns, strict=True)))


def _covered(block: Candidates, is_label: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Which of the `near` overlap a label, of whatever category."""
    boxes = xywh_to_xyxy(block.bbox)
    rows, result = np.flatnonzero(near), np.zeros(near.sum(), bool)
    for image in np.unique(block.image_id[near]):
        here = block.image_id == image
        mine = block.image_id[rows] == image
        result[mine] = (iou(boxes[near & here], boxes[is_label & here]) >= COVERED).any(axis=1)
    return result


def _pose(kept: Candidates, points: np.ndarray, visible: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of n candidates the mean entropy of their visible keypoints, the place of the one with the highest, and
    its spread, (n,). points: (n, 2K) spreads and entropies."""
    n = len(kept.score)
    entropy, keypoint, spread = np.full(n, np.nan), np.full(n, -1), np.full(n, np.nan)
    rows = np.flatnonzero(kept.posed)
    if not len(rows):
        return entropy, keypoint, spread
    spreads, entropies = np.split(points[rows], 2, axis=1)
    seen = (kept.keypoints[..., 2] >= visible) & (kept.keypoints[..., 2] > 0) & ~np.isnan(entropies)
    posed = seen.any(axis=1)
    rows, seen, spreads, entropies = rows[posed], seen[posed], spreads[posed], entropies[posed]
    worst = np.where(seen, entropies, -np.inf).argmax(axis=1)
    entropy[rows] = np.where(seen, entropies, 0).sum(axis=1) / seen.sum(axis=1)
    keypoint[rows], spread[rows] = worst, spreads[np.arange(len(rows)), worst]
    return entropy, keypoint, spread


def _certainty(table: pd.DataFrame, limits: dict[int, float]) -> np.ndarray:
    """(n,), see the module's docstring; 0 for a label like the others of its category, or at the threshold of
    one that has no labels."""
    seen = table["mean"].fillna(table["score"]).astype(float)
    limit = table["category_id"].map(limits)
    certainty = unusual(table, np.log(seen.clip(lower=LEAST)))
    certainty = certainty.fillna(np.log(table["score"].clip(lower=LEAST) / limit.clip(lower=LEAST)))
    certainty -= OF_ENTROPY * unusual(table, table["entropy"].astype(float)).fillna(0)
    return (certainty - OF_ODDNESS * table["oddness"]).to_numpy(float)


def _oddness(table: pd.DataFrame) -> pd.Series:
    """(n,) of size and shape together; 0 where few labels say what is usual."""
    sides = np.log(table[["width", "height"]].astype(float).clip(lower=1))
    labels = table["kind"] == "label"
    oddness = pd.Series(0.0, table.index)
    for shape in (sides.mean(axis=1), sides["width"] - sides["height"]):
        apart = unusual(table, shape).abs()
        known = apart[labels].groupby(table["category_id"])
        deviation = known.median().clip(lower=LEAST_DEVIATION).where(known.size() >= COMPARED)
        oddness += (apart / table["category_id"].map(deviation)).clip(upper=MOST_ODDNESS).fillna(0)
    return oddness


def unusual(table: pd.DataFrame, values: pd.Series) -> pd.Series:
    """Values of all rows, less the median of the labels of their category, or of all labels where it has too
    few to say what is usual; NaN where the category has no label."""
    labels = values[table["kind"] == "label"]
    known = labels.groupby(table["category_id"])
    usual = known.median().where(known.size() >= COMPARED, labels.median())
    return values - table["category_id"].map(usual)


def worst_first(table: pd.DataFrame, dataset: Coco, categories: list[Record]) -> pd.DataFrame:
    """The rows of review.csv: those of `doubts`, the most doubtful first, with names instead of numbers."""
    table = table.sort_values("doubt", ascending=False, kind="stable")[:LISTED]
    names = {category["id"]: category["name"] for category in categories}
    points = {(c["id"], k): name for c in categories for k, name in enumerate(c.get("keypoints") or ())}
    files = {image["id"]: image["file_name"] for image in dataset["images"]}
    keypoint = [points.get(key, "") for key in zip(table["category_id"], table["keypoint"], strict=True)]
    table = table.assign(
        file_name=table["image_id"].map(files), category=table["category_id"].map(names), keypoint=keypoint
    )
    first = ["doubt", "kind", "label", "image_id", "file_name", "category", "score"]
    return table[[*first, "x", "y", "width", "height", "views", "overlap", "keypoint", "spread"]].round(
        {"doubt": 4, "score": 6, "x": 2, "y": 2, "width": 2, "height": 2}
    )
