"""Which boxes of keypoint models get heatmaps, where images are only to be labelled.

The score of an instance is that of its box, so calibration (Data Distillation, section 4) knows from the
boxes alone which instances can become labels: of all that are detected they are few. Some more are kept, so
that the options of calibration can change without new predictions.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, product
from pathlib import Path
from typing import Any

from distill.datasets.coco import Coco
from distill.files import read_json
from distill.labels.calibrate import Options, collect, thresholds
from distill.predictions.coco_results import Prediction
from distill.program import log


def least_scores(
    detected: Sequence[Path],
    dataset: Coco,
    labelled: Sequence[Coco],
    per_label: float,
    agnostic_nms: Sequence[float] = (),
) -> dict[int, float]:
    """The scores from which boxes get heatmaps: enough boxes for whatever calibration the labels have.

    detected: the boxes of `dataset`, one file for each shard.
    dataset: the unlabelled COCO dict.
    labelled: COCO dicts of the same categories, whose instances per image labels aim at.
    per_label: boxes that are kept for each label aimed at, whether by one threshold a category or one for
        all.
    agnostic_nms: values of this calibrate option that labels have; they may also be without.

    Returns category id → score, infinite where no label has the category.
    Raises UserError as `calibrate`.
    """
    found = []
    for aim, nms in product(labelled, (None, *agnostic_nms)):
        scores = collect(detected, dataset, aim, nms)
        for per in ("category", "all"):
            options = Options(
                per_label,
                "labelled",
                per,
                keypoints=None,
                score_floor=0,
                agnostic_nms=nms,
                ignore=None,
                rare=0,
            )
            found.append(thresholds(scores, dataset, aim, options)["instances"])
    least: dict[int, float] = {}
    for category, entry in chain.from_iterable(instances.items() for instances in found):
        threshold = float("inf") if entry["threshold"] is None else entry["threshold"]
        least[int(category)] = min(threshold, least.get(int(category), threshold))
    if agnostic_nms:  # a box that suppresses another is needed even where it cannot become a label itself
        least = dict.fromkeys(least, min(least.values()))
    log.info("boxes get heatmaps from these scores: %s", least)
    return least


def choose(detected: Path, least: dict[int, float]) -> Iterator[dict[str, Any]]:
    """The records of one shard whose score suffices, in the file's order."""
    records = read_json(detected, like=list[Prediction])
    return (record for record in records if record["score"] >= least[record["category_id"]])
