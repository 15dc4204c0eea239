"""On which images do two models differ most? Agreement of predictions with the ground truth, image by image.

This picks pictures to look at; AP is evaluated elsewhere. Boxes are x, y, w, h in the original image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask

from distill.datasets.coco import Coco, Record, by_image, instances, visible_keypoints
from distill.datasets.keypoint_meta import keypoint_meta
from distill.labels.calibrate import at_rank
from distill.labels.candidates import candidates

MATCH = 0.5  # IoU or OKS from which two instances are the same


@dataclass(frozen=True)
class Shown:
    """The predictions of one model that are drawn: as many instances and keypoints as the ground truth has.

    by_image: results by image id. visible: keypoints with a score above it are drawn.
    """

    by_image: dict[Any, list[dict[str, Any]]]
    visible: float

    @classmethod
    def of(cls, path: Path, truth: Coco) -> "Shown":
        """Merged predictions on the annotated dataset `truth`, cut at the scores that leave its counts."""
        predictions = list(candidates(path, truth, truth["categories"], agnostic_nms=None))
        lowest = _least([p["score"] for p in predictions], len(instances(truth)))
        kept = [p for p in predictions if p["score"] >= lowest]
        points = sum(map(visible_keypoints, truth["annotations"]))
        visible = _least([s for p in kept for s in p.get("keypoints", ())[2::3]], points)
        return cls(by_image(kept), max(0.0, float(np.nextafter(visible, -np.inf))))

    def drawn(self, image: Any) -> list[dict[str, Any]]:
        """The results on an image; keypoints that are not drawn are invisible (0), as in an annotation."""
        records = []
        for record in self.by_image.get(image, ()):
            points = list(record.get("keypoints", ()))
            points[2::3] = [score if score > self.visible else 0 for score in points[2::3]]
            records.append(record | ({"keypoints": points} if points else {}))
        return records


def _least(scores: Sequence[float], count: int) -> float:
    """The lowest score that is drawn, so that of the scores `count` are, as in the calibration of labels."""
    threshold = at_rank(np.asarray(scores, float), count).threshold
    if threshold is None and count > 0 and len(scores):
        return max(scores)  # very many that tie: rather all than none
    return np.inf if threshold is None else threshold


def boxes_alone(truth: Coco) -> dict[str, Any]:
    """A dataset without its keypoints: to compare models of which one predicts none."""
    plain = {
        key: [{k: v for k, v in record.items() if k != "keypoints"} for record in truth[key]]
        for key in ("annotations", "categories")
    }
    return {**truth, **plain}


def differences(truth: Coco, teacher: Shown, student: Shown) -> list[tuple[dict[str, Any], float]]:
    """(image, agreement of the student − agreement of the teacher), the student's greatest gain first."""
    wanted, meta = by_image(truth["annotations"]), keypoint_meta(truth)
    sigmas = meta.sigmas if meta else ()

    def score(shown: Shown, image: Record) -> float:
        return agreement(shown.by_image.get(image["id"], ()), wanted.get(image["id"], ()), sigmas)

    changes = [(image, score(student, image) - score(teacher, image)) for image in truth["images"]]
    return sorted(changes, key=lambda pair: (-pair[1], pair[0]["id"]))


def keypoint_similarity(prediction: Record, truth: Record, sigmas: Sequence[float]) -> np.ndarray:
    """(K,) terms of COCO's OKS, exp(−d² / 2s²k²) with k = 2σ; meaningless where the truth has no keypoint."""
    found, real = (np.reshape(np.asarray(one["keypoints"], float), (-1, 3)) for one in (prediction, truth))
    squared = ((found[:, :2] - real[:, :2]) ** 2).sum(1)
    area = truth.get("area") or truth["bbox"][2] * truth["bbox"][3]
    return np.exp(-squared / (8 * area * np.asarray(sigmas, float) ** 2 + np.spacing(1)))


def similarity(prediction: Record, truth: Record, sigmas: Sequence[float]) -> float:
    """OKS (COCO's, sigmas (K,)) where the truth has visible keypoints, else IoU; 0 … 1.

    IoU with a crowd region is the share of the prediction that lies inside it, as COCO has it.
    """
    visible = np.asarray(truth.get("keypoints") or [])[2::3] > 0
    if visible.any() and prediction.get("keypoints") and not truth.get("iscrowd"):
        return float(keypoint_similarity(prediction, truth, sigmas)[visible].mean())
    crowd = int(truth.get("iscrowd") or 0)
    return float(mask.iou([prediction["bbox"]], [truth["bbox"]], [crowd])[0, 0])


def agreement(predictions: Sequence[Record], truths: Sequence[Record], sigmas: Sequence[float] = ()) -> float:
    """2 Σ similarity of matches / (predictions + truths) of one image: an F-score that weighs matches.

    Greedy matching by descending score within a category, from MATCH on; predictions inside crowd regions are
    not counted. 1 for an empty image without predictions.
    """
    wanted = [t for t in truths if not t.get("iscrowd")]
    crowds = [t for t in truths if t.get("iscrowd")]
    free, total, counted = set(range(len(wanted))), 0.0, 0
    for prediction in sorted(predictions, key=lambda p: -p["score"]):
        category = prediction["category_id"]
        same = [i for i in sorted(free) if wanted[i]["category_id"] == category]
        values = [similarity(prediction, wanted[i], sigmas) for i in same]
        if values and max(values) >= MATCH:
            best = int(np.argmax(values))
            total += values[best]
            free.remove(same[best])
        elif any(c["category_id"] == category and similarity(prediction, c, sigmas) >= MATCH for c in crowds):
            continue
        counted += 1
    size = counted + len(wanted)
    return 2 * total / size if size else 1.0
