"""How good the order of a review is, where the true labels are known: `hidden.hidden_truth`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pycocotools import mask
from scipy.stats import mannwhitneyu

from distill.datasets.coco import Coco, Record, by_image
from distill.datasets.keypoint_meta import keypoint_meta
from distill.labels.review import doubts
from distill.report.artifacts import Results
from distill.report.comparison import keypoint_similarity
from distill.report.hidden import MATCH
from distill.report.learned_review import features, held_out

WORST = 0.1  # the share of labels that a person looks through


def review_rows(results: Results, labels: str, learn: bool = False) -> list[dict[str, Any]]:
    """`audit_review` of a label set; nothing where there are no hidden labels, or not all of its files."""
    entry, thresholds, generated = (
        results.labels[labels],
        results.thresholds(labels),
        results.generated(labels),
    )
    unlabelled, merged = results.dataset(entry["dataset"]), results.merged(labels)
    if not (thresholds and generated and unlabelled and merged.exists()):
        return []
    categories = generated["categories"]
    truth = results.hidden(labels, categories)
    if truth is None:
        return []
    return audit_review(doubts(merged, unlabelled, categories, thresholds), generated, truth, learn)


def audit_review(table: pd.DataFrame, labels: Coco, truth: Coco, learn: bool = False) -> list[dict[str, Any]]:
    """Whether doubt finds what is wrong, and finds it better than the score alone.

    A label is wrong if no true object of its category overlaps it by IoU `MATCH` and, where both have
    keypoints, has an OKS of as much over those that both have. An object is missed if no label is of it.

    table: of `review.doubts`.
    labels: the COCO dict of the labels.
    truth: of `hidden_truth`.
    learn: whether a doubt that is learned from the hidden labels is to stand beside them (`learned_review`):
        its area as `learned`, and its worst tenth as `learned_worst`; None where it cannot be.

    Returns rows {what, count, found, doubt, score, worst, lowest}: of labels and of what may be missed, how
    many there are, and how many of them are wrong, or missed; the area under the ROC curve by doubt and by
    score; and the share of these among the worst tenth, by doubt and by score.
    """
    shown = {image["id"] for image in truth["images"]}
    table = table[table["image_id"].isin(shown)]
    real = by_image(truth["annotations"])
    known = {annotation["id"]: annotation for annotation in labels["annotations"]}
    meta = keypoint_meta(truth)
    sigmas = meta.sigmas if meta else ()
    right: dict[Any, bool | None] = {}
    for image, rows in table.groupby("image_id"):
        found = _in_image(rows, known, real.get(image, []), sigmas)
        right |= dict(zip(rows.index, found, strict=True))
    table = table.assign(right=table.index.map(right))
    table = table[table["right"].notna()]
    is_label, right_now = table["kind"] == "label", table["right"].astype(bool)
    values = features(table) if learn else None
    return [
        _row("labels, wrong", table[is_label], ~right_now[is_label], -1, values),
        _row("candidates, missed objects", table[~is_label], right_now[~is_label], 1, values),
    ]


def _in_image(
    rows: pd.DataFrame, known: Mapping[Any, Record], real: Sequence[Record], sigmas: Sequence[float]
) -> list[bool | None]:
    """Whether each row is of a true object; None in a crowd region. A candidate is of none that a label has
    found."""
    crowd = np.array([bool(a.get("iscrowd")) for a in real], bool)
    mine = rows[["x", "y", "width", "height"]].to_numpy(float).tolist()
    overlap = np.reshape(mask.iou(mine, [a["bbox"] for a in real], crowd), (len(mine), len(real)))
    same = rows["category_id"].to_numpy()[:, None] == [a["category_id"] for a in real]
    near = same & (overlap >= MATCH) & ~crowd
    is_label = (rows["kind"] == "label").to_numpy()
    near[~is_label] &= ~near[is_label].any(axis=0)
    for row, label in enumerate(rows["label"]):
        points = known[label].get("keypoints") if label in known else None
        if points and sigmas:
            near[row] &= np.array([_posed(known[label], a, sigmas) for a in real], bool)
    in_crowd = (same & (overlap >= MATCH) & crowd).any(axis=1) & ~near.any(axis=1)
    return [None if skip else bool(one) for skip, one in zip(in_crowd, near.any(axis=1), strict=True)]


def _posed(label: Record, real: Record, sigmas: Sequence[float]) -> bool:
    """Whether the keypoints that both have are in the right place; true where one has none."""
    none = np.zeros(3 * len(sigmas))
    mine, theirs = (np.asarray(one.get("keypoints") or none)[2::3] > 0 for one in (label, real))
    both = mine & theirs
    return not both.any() or bool(keypoint_similarity(label, real, sigmas)[both].mean() >= MATCH)


def _row(
    what: str, table: pd.DataFrame, found: pd.Series, sign: int, values: pd.DataFrame | None
) -> dict[str, Any]:
    """sign: 1 where a high score speaks for being found, −1 where a low one does. values: features of
    these rows and others, where a doubt is to be learned."""
    by = {"doubt": table["doubt"].to_numpy(), "score": sign * table["score"].to_numpy()}
    hit = found.to_numpy(bool)
    row: dict[str, Any] = {"what": what, "count": len(table), "found": int(hit.sum())}
    worst = {"doubt": "worst", "score": "lowest"}
    if values is not None:
        learned = held_out(values.loc[table.index].to_numpy(), hit, table["image_id"].to_numpy())
        if learned is not None:
            by["learned"], worst["learned"] = learned, "learned_worst"
    row |= {name: area_under_roc(order, hit) for name, order in by.items()}
    first = max(1, round(WORST * len(table)))
    for name, order in by.items():
        highest = hit[np.argsort(-order, kind="stable")[:first]]
        row[worst[name]] = float(highest.mean()) if len(table) else None
    return row if values is None else row | {key: row.get(key) for key in ("learned", "learned_worst")}


def area_under_roc(values: np.ndarray, hit: np.ndarray) -> float | None:
    """How often a hit has a higher value than another one, ties count half; None without either."""
    n, hits = len(hit), int(hit.sum())
    if not 0 < hits < n:
        return None
    wins = mannwhitneyu(values[hit], values[~hit], method="asymptotic").statistic
    return float(wins / (hits * (n - hits)))
