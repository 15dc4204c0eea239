"""How sure an AP is: the bootstrap over the images of a test, and what few seeds or folds of a training say.

B resamples of the images of a dataset are drawn once and for all, so those of two models on one dataset are
of the same images: differences are paired. w (B, N) says how often each of the N images is in each resample;
D is a number of detections. Efron & Tibshirani, An Introduction to the Bootstrap, chapters 6, 13 and 14.
"""

from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

NORMAL = NormalDist()
RESAMPLES = 1000
CONFIDENCE = 95  # percent of an interval
AT_ONCE = 20_000_000  # numbers in memory
RECALLS = np.linspace(0, 1, 101)  # at which COCO reads the precision


def image_weights(images: int) -> np.ndarray:
    """w (RESAMPLES, N): as many images as there are, drawn with replacement. Always the same for one N."""
    shares = np.full(images, 1 / images)
    return np.random.default_rng(0).multinomial(images, shares, size=RESAMPLES)


def resampled_ap(
    evaluated: Sequence[dict[str, Any] | None], images: Sequence[int], w: np.ndarray
) -> np.ndarray:
    """COCO's AP of each resample: the mean over thresholds of IoU (or OKS) and over categories with objects.

    evaluated: COCOeval's `evalImgs`, of one range of areas.
    images: ids in the order of w.

    Returns (B,) fractions of 1, NaN where a resample has no object.
    """
    place = {image: at for at, image in enumerate(images)}
    by_category: dict[int, list[dict[str, Any]]] = {}
    for entry in evaluated:
        if entry is not None:
            by_category.setdefault(entry["category_id"], []).append(entry)
    aps = [_of_category(entries, place, w) for entries in by_category.values()]
    if not aps:
        return np.full(len(w), np.nan)
    return pd.DataFrame(aps).mean().to_numpy()  # without NaN where there is something else


def _of_category(entries: list[dict[str, Any]], place: dict[int, int], w: np.ndarray) -> np.ndarray:
    """(B,) AP of a category, NaN where a resample has no object of it."""
    objects = np.zeros(w.shape[1], dtype=np.int64)
    for entry in entries:
        objects[place[entry["image_id"]]] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
    scores = np.concatenate([np.asarray(entry["dtScores"], float) for entry in entries])
    image = np.concatenate([np.full(len(e["dtScores"]), place[e["image_id"]]) for e in entries])
    order = np.argsort(-scores, kind="mergesort")
    matched, ignored = (
        np.concatenate([np.asarray(entry[key], float) for entry in entries], axis=1)[:, order] > 0
        for key in ("dtMatches", "dtIgnore")
    )
    image = image[order]
    total = w @ objects
    parts = [
        _average(matched & ~ignored, ignored, part[:, image])
        for part in _parts(w / np.maximum(total, 1)[:, None], len(image))
    ]
    return np.where(total > 0, np.concatenate(parts), np.nan)


def _parts(w: np.ndarray, detections: int) -> Iterator[np.ndarray]:
    """Some rows at a time, such that what is computed of them fits into memory."""
    rows = max(1, AT_ONCE // max(1, detections))
    for start in range(0, len(w), rows):
        yield w[start : start + rows]


def _average(true: np.ndarray, ignored: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(b,) mean precision at RECALLS and over T thresholds.

    true, ignored: (T, D) bool, by falling score: matched with an object; neither right nor wrong.
    weight: (b, D) how often a detection's image is there, by the number of objects in the resample.
    """
    aps = np.zeros(len(weight))
    taken, skipped = np.cumsum(weight, axis=1), np.zeros(true.shape[1], dtype=bool)
    for hits, skip in zip(true, ignored, strict=True):
        if not np.array_equal(skip, skipped):
            taken, skipped = np.cumsum(weight * ~skip, axis=1), skip
        at = np.flatnonzero(hits)  # precision is highest where an object is found
        found = np.cumsum(weight[:, at], axis=1)  # recall
        precision = found / np.maximum(taken[:, at], np.finfo(float).tiny)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        precision = np.concatenate([precision, np.zeros((len(weight), 1))], axis=1)  # of higher recall
        # Sums of shares fall short of a round recall by rounding.
        first = np.array([np.searchsorted(row, RECALLS - 1e-9) for row in found])
        aps += np.take_along_axis(precision, first, axis=1).mean(axis=1)
    return aps / len(true)


def seeds_too(aps: np.ndarray) -> np.ndarray:
    """(S, B) AP of S seeds → (B,) what its mean over all seeds may be: Student's t of S − 1 degrees of
    freedom about their mean, as sums of the seeds' AP with weights that are the same for equal S. Seeds drawn
    with replacement would vary too little, where they are few.

    NaN for two seeds, of which nearly nothing follows; of one, the images alone vary.
    """
    seeds, resamples = aps.shape
    if seeds < 3:
        return aps[0] if seeds == 1 else np.full(resamples, np.nan)
    rng = np.random.default_rng(1)
    normal = rng.normal(size=(seeds, resamples))
    spread = (normal - normal.mean(axis=0)) / np.sqrt(seeds * rng.chisquare(seeds - 1, resamples))
    return ((1 / seeds + spread) * aps).sum(axis=0)


def folds_too(aps: np.ndarray) -> np.ndarray:
    """As `seeds_too`, of F folds (F, B), each tested on images of its own: how far their AP are apart says
    all of the luck of images, too. To draw folds, and images of each, covers too little of few."""
    if len(aps) < 2:
        return seeds_too(aps)
    means = pd.DataFrame(aps).mean(axis=1).to_numpy()  # without resamples of no value
    return seeds_too(np.broadcast_to(means[:, None], aps.shape))


def interval(values: np.ndarray, estimate: float) -> tuple[float, float]:
    """The bias-corrected percentile interval at CONFIDENCE (Efron & Tibshirani, chapter 14, without
    acceleration): AP of resamples, in which images are there twice, is a little above that of the images.

    values: of the resamples. estimate: of the images themselves.

    NaN where there are no resamples, or more than a tail of them has no value.
    """
    tail = (100 - CONFIDENCE) / 200
    known = values[~np.isnan(values)]
    if not len(known) or len(known) < len(values) * (1 - tail) or np.isnan(estimate):
        return np.nan, np.nan
    below = (np.mean(known < estimate) + np.mean(known <= estimate)) / 2
    shift = 2 * NORMAL.inv_cdf(float(np.clip(below, 1 / len(known), 1 - 1 / len(known))))
    ends = [NORMAL.cdf(shift + NORMAL.inv_cdf(share)) for share in (tail, 1 - tail)]
    low, high = np.quantile(known, ends)
    return float(low), float(high)
