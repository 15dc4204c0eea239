"""Labels: the candidates at or above calibrated thresholds, as an ordinary COCO annotation file.

Below them may be candidates that are to count neither as objects nor as background: crowd regions in COCO.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distill.datasets.coco import Coco
from distill.files import write_json
from distill.labels import thresholds as thresholds_file
from distill.labels.candidates import candidate_blocks
from distill.program import UserError, log


def annotations(
    kept: Iterator[dict[str, Any]], keypoint_threshold: float | None, limits: Mapping[int, float]
) -> Iterator[dict[str, Any]]:
    """COCO annotations, ids from 1; keypoints at or above the threshold are (x, y, 2), others (0, 0, 0).

    limits: category id → score; what does not reach it is a crowd region, without keypoints.
    """
    for number, candidate in enumerate(kept, 1):
        x, y, w, h = candidate["bbox"]
        label = candidate["score"] >= limits[candidate["category_id"]]
        annotation = {
            "id": number,
            "image_id": candidate["image_id"],
            "category_id": candidate["category_id"],
            "bbox": [x, y, w, h],
            "area": round(w * h, 2),
            "iscrowd": int(not label),
            "score": candidate["score"],
        }
        if "keypoints" in candidate:
            points = candidate["keypoints"]
            scores = points[2::3]
            least = keypoint_threshold if label else None
            visible = [least is not None and s > 0 and s >= least for s in scores]
            annotation["keypoints"] = [
                value
                for px, py, v in zip(points[0::3], points[1::3], visible, strict=True)
                for value in ((px, py, 2) if v else (0, 0, 0))
            ]
            annotation["num_keypoints"] = sum(visible)
            annotation["keypoint_scores"] = scores
        yield annotation


def generate(
    merged: str | Path,
    dataset: Coco,
    labelled: Coco,
    thresholds: dict[str, Any],
    output: str | Path,
) -> None:
    """Writes the labels of a dataset as a COCO file; every image is listed, also where nothing was found.

    merged: predictions on the dataset, COCO results.
    dataset: the unlabelled COCO dict.
    labelled: the COCO dict whose categories the labels have.
    thresholds: the content of thresholds.json, of `calibrate`.
    output: annotations.json.

    Raises UserError, and writes nothing, where the predictions are not those that were calibrated.
    """
    instances = thresholds["instances"]
    if {int(key) for key in instances} != {category["id"] for category in labelled["categories"]}:
        raise UserError(f"{output}: thresholds.json is of other categories than the labelled dataset")
    limits, lowest = thresholds_file.limits(thresholds)
    keypoint_threshold = (thresholds["keypoints"] or {}).get("threshold")
    met = sum(entry["met"] for entry in instances.values())
    seen: set[Any] = set()

    def kept() -> Iterator[dict[str, Any]]:
        written = 0
        how = thresholds_file.suppression(thresholds)
        for block in candidate_blocks(merged, dataset, labelled["categories"], **how, limits=lowest):
            least = block.limits(limits)
            written += int((block.score >= least).sum())
            seen.update(block.image_id[block.score >= least].tolist())
            yield from block.records()
        if written != met:
            found = f"{written} labels instead of the calibrated {met} of thresholds.json"
            raise UserError(f"{merged}: {found}; remove that to have it calibrated again")

    info = {
        **dataset["info"],
        "description": f"Labels generated for: {dataset['info'].get('description') or 'unlabelled images'}",
        "kind": "labels",
    }
    write_json(
        output,
        {
            "info": info,
            "images": dataset["images"],
            "annotations": annotations(kept(), keypoint_threshold, limits),
            "categories": labelled["categories"],
        },
    )
    log.info("%d labels on %d of %d images", met, len(seen), len(dataset["images"]))
