"""Evaluation: COCO's average precision.

Computed by faster-coco-eval, which is pycocotools in C++; the tests hold it to pycocotools' own numbers.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools.cocoeval import COCOeval

from distill.datasets.coco import Coco, Record
from distill.datasets.keypoint_meta import KeypointMeta, keypoint_meta
from distill.evaluation import resampling
from distill.evaluation.metrics import METRICS
from distill.program import UserError, log

PRECISION = {"0.5": 0, "0.75": 5}  # IoU or OKS: its index among COCOeval's 0.5, 0.55, …


def evaluate(
    dataset: Coco, predictions: list[dict[str, Any]], task: str | None = None, resampled: bool = True
) -> dict[str, Any]:
    """COCO's metrics of predictions on an annotated dataset. Keypoint predictions are evaluated as boxes too.

    As with `COCO.loadRes` on the same file, a prediction's area (for APM, APL) is that of its box.

    dataset: COCO dict.
    predictions: COCO results.
    task: "boxes" or "keypoints"; None: keypoints if the predictions (without any: the dataset) have them.
    resampled: whether AP of each resample of the images is wanted, which takes far longer than AP itself.

    Returns metrics as fractions of 1, None where pycocotools says −1: those of the task, and those of each
    task under its name; of the task `resampled`, AP of each resample of the images (`resampling`), None of
    one without an object; `per_category`, AP by category name; `precision`, the mean over the categories at
    recall 0, 0.01, …, 1, by IoU (or OKS).
    Raises UserError for predictions of an unknown image or category, or for keypoints that the dataset does
    not have.
    """
    if not dataset["categories"]:
        raise UserError("evaluate: the dataset has no categories; were its annotations stripped?")
    meta = keypoint_meta(dataset)
    if task is None:
        posed = any("keypoints" in p for p in predictions) if predictions else meta is not None
        task = "keypoints" if posed else "boxes"
    if task == "keypoints" and meta is None:
        raise UserError("evaluate: keypoint predictions, but no category of the dataset has keypoints")
    _check(dataset, predictions, task)
    truth, found = _indexed(dataset, dataset["annotations"]), _indexed(dataset, _detections(predictions))
    categories = truth.dataset["categories"]
    of_boxes = resampled and task == "boxes"
    blocks = {"boxes": _metrics(truth, found, "bbox", categories, None, of_boxes)}
    if task == "keypoints":
        posed_categories = [c for c in categories if c.get("keypoints")]
        blocks["keypoints"] = _metrics(truth, found, "keypoints", posed_categories, meta, resampled)
    counts = {"images": len(dataset["images"]), "predictions": len(predictions)}
    return {**counts, "task": task, **blocks[task], **blocks}


def _check(dataset: Coco, predictions: list[dict[str, Any]], task: str) -> None:
    images = {image["id"] for image in dataset["images"]}
    keypoints_of = {c["id"]: len(c.get("keypoints") or ()) for c in dataset["categories"]}
    for p in predictions:
        where = f"evaluate: prediction on image {p['image_id']}"
        if p["image_id"] not in images:
            raise UserError(f"{where}, which the dataset lacks")
        if p["category_id"] not in keypoints_of:
            raise UserError(f"{where} of category {p['category_id']}, which the dataset lacks")
        aimed, given = keypoints_of[p["category_id"]], len(p.get("keypoints") or ()) / 3
        if task == "keypoints" and aimed and given != aimed:
            raise UserError(f"{where} has {given:g} keypoints, the dataset {aimed}")


def _detections(predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `COCO.loadRes` makes of results with boxes; unlike it, an empty list is fine."""
    return [{**p, "area": p["bbox"][2] * p["bbox"][3], "iscrowd": 0} for p in predictions]


def _indexed(dataset: Coco, annotations: Sequence[Record]) -> COCO:
    """A COCO index over copies of the annotations, since COCOeval writes into them. Images, categories and
    annotations are numbered from 1 in the order of their ids: COCOeval has those as doubles, which are not
    exact from 2^53 on, and takes an annotation with the id 0 for none."""
    images, categories = (
        {record["id"]: number for number, record in enumerate(sorted(dataset[key], key=itemgetter("id")), 1)}
        for key in ("images", "categories")
    )
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in images.values()],
        "categories": [{**c, "id": categories[c["id"]]} for c in dataset["categories"]],
        "annotations": [
            {**a, "id": n, "image_id": images[a["image_id"]], "category_id": categories[a["category_id"]]}
            for n, a in enumerate(annotations, 1)
        ],
    }
    with _logged():
        coco.createIndex()
    return coco


def _metrics(
    truth: COCO,
    found: COCO,
    kind: str,
    categories: list[dict[str, Any]],
    meta: KeypointMeta | None,
    resampled: bool,
) -> dict[str, Any]:
    """One COCOeval, `kind` bbox or keypoints (with their `meta`), over the given categories."""
    categories = sorted(categories, key=lambda c: c["id"])  # the order of COCOeval's arrays
    evaluation = COCOeval_faster(truth, found, kind)
    evaluation.params.catIds = [c["id"] for c in categories]
    if meta is not None:
        evaluation.params.kpt_oks_sigmas = np.asarray(meta.sigmas)
    with _logged():
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = METRICS["boxes" if kind == "bbox" else "keypoints"]
    metrics: dict[str, Any] = {name: _value(stat) for name, stat in zip(names, evaluation.stats, strict=True)}
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU, recall, category
    defined = np.where(precision > -1, precision, np.nan)
    metrics["precision"] = {
        name: [round(float(value), 4) for value in np.nanmean(defined[at], axis=-1)]
        for name, at in PRECISION.items()
        if not np.isnan(defined[at]).all()
    }
    by_category = np.moveaxis(precision, -1, 0).reshape(len(categories), -1)
    if resampled:
        metrics["resampled"] = _resampled(truth, found, evaluation)
    metrics["per_category"] = {
        c["name"]: _value(row[row > -1].mean() if (row > -1).any() else -1)
        for c, row in zip(categories, by_category, strict=True)
    }
    return metrics


def _resampled(truth: COCO, found: COCO, whole: COCOeval_faster) -> list[float | None]:
    """AP of each resample of the images, of the matches that pycocotools finds."""
    images = sorted(truth.getImgIds())
    evaluation = COCOeval(truth, found, whole.params.iouType)
    evaluation.params.catIds, evaluation.params.imgIds = whole.params.catIds, images
    evaluation.params.areaRng, evaluation.params.areaRngLbl = whole.params.areaRng[:1], ["all"]
    evaluation.params.maxDets = whole.params.maxDets[-1:]
    if whole.params.iouType == "keypoints":
        evaluation.params.kpt_oks_sigmas = whole.params.kpt_oks_sigmas
    with _logged():
        evaluation.evaluate()
    aps = resampling.resampled_ap(evaluation.evalImgs, images, resampling.image_weights(len(images)))
    return [None if np.isnan(ap) else round(float(ap), 5) for ap in aps]


def _value(stat: float) -> float | None:
    return None if stat == -1 else float(stat)


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Sends what is printed to the log."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        yield
    for line in printed.getvalue().splitlines():
        log.info("%s", line.strip())
