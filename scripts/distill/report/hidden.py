"""Generated labels against the labels that were hidden from the study, where there are any.

An unlabelled dataset made from an annotated one (`strip_annotations`) has true labels that no training sees.
They are looked up here, by the images' bytes, and only to be shown.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from pycocotools import mask

from distill.datasets.coco import Coco, Record, by_image, instances
from distill.datasets.keypoint_meta import keypoint_meta
from distill.labels.answers import keypoint_fields
from distill.report.comparison import keypoint_similarity
from distill.strict import as_list
from distill.study.types import Dataset

MATCH = 0.5  # IoU from which a label has found an instance; OKS from which a keypoint is right


def hidden_truth(
    name: str, specs: Mapping[str, Dataset], dataset: Callable[[str], Coco | None], categories: list[Record]
) -> Coco | None:
    """The hidden labels of an unlabelled dataset: those of its images that the datasets it is made from have
    annotated, with these annotations, as a COCO dict. None if there are none.

    name: the unlabelled dataset.
    specs: the study's datasets.
    dataset: name of a dataset → its JSON.
    categories: those of the generated labels; annotations of categories of other names are left out, and so
        are keypoints of other names.
    """
    unlabelled = dataset(name)
    ours = {category["name"]: category for category in categories}
    by_hash: dict[str | None, list[dict[str, Any]]] = {}
    for source in _annotated(name, specs, dataset):
        known = {c["id"]: c for c in source["categories"] if c["name"] in ours}
        found = by_image(a for a in source["annotations"] if a["category_id"] in known)
        for image in source["images"]:
            theirs = ((a, known[a["category_id"]]) for a in found.get(image["id"], ()))
            mine = [_renamed(a, category, ours[category["name"]]) for a, category in theirs]
            by_hash.setdefault(image.get("hash"), mine)
    by_hash.pop(None, None)
    images = [image for image in (unlabelled or {"images": ()})["images"] if image.get("hash") in by_hash]
    if not images:
        return None
    annotations = [a | {"image_id": image["id"]} for image in images for a in by_hash[image["hash"]]]
    return {"images": images, "annotations": annotations, "categories": categories}


def _renamed(theirs: Record, category: Record, ours: Record) -> dict[str, Any]:
    """An annotation of a category of theirs as one of ours, whose keypoints it has by name."""
    annotation = {**theirs, "category_id": ours["id"]}
    names, known = category.get("keypoints") or [], ours.get("keypoints") or []
    if names == known or not (flat := annotation.get("keypoints")):
        return annotation
    points = {name: flat[3 * i : 3 * i + 3] for i, name in enumerate(names) if name in known}
    return annotation | keypoint_fields(points, ours)


def _annotated(
    name: str, specs: Mapping[str, Dataset], dataset: Callable[[str], Coco | None]
) -> Iterable[Coco]:
    """The nearest datasets with annotations among those that a dataset is made from."""
    of = specs[name].get("of", []) if name in specs else []
    for source in as_list(of):
        content = dataset(source)
        if content and content["annotations"]:
            yield content
        else:
            yield from _annotated(source, specs, dataset)


def audit(candidates: Iterable[Record], thresholds: Mapping[str, Any], truth: Coco) -> dict[str, Any]:
    """How right generated labels are, and how right they would be with other thresholds.

    Within a category, candidates are matched greedily by score, from IoU `MATCH` on; what lies in a crowd
    region does not count.

    candidates: of `candidates.candidates`, those of an image one after the other.
    thresholds: the content of thresholds.json.
    truth: of `hidden_truth`.

    Returns {images, rows: [{name, generated, true, found, precision, recall}], curve: (recall, precision) by
    falling score of all candidates}. Rows are of all categories together, of each, and of the keypoints of
    instances that were found.
    """
    meta = keypoint_meta(truth)
    category, score, hit = array("q"), array("d"), array("b")
    accepted = {int(key): entry["threshold"] for key, entry in thresholds["instances"].items()}
    visible = (thresholds["keypoints"] or {}).get("threshold")
    points = np.zeros(3, int)  # generated, true, right
    for candidate, instance in _matched(candidates, truth):
        category.append(candidate["category_id"])
        score.append(candidate["score"])
        hit.append(instance is not None)
        least = accepted[candidate["category_id"]]
        if instance is None or least is None or candidate["score"] < least:
            continue
        if meta and visible is not None and "keypoints" in candidate and instance.get("keypoints"):
            points += _keypoints(candidate, instance, meta.sigmas, visible)
    categories, scores, hits = np.array(category), np.array(score), np.array(hit, bool)
    real = instances(truth)
    rows = []
    for c in truth["categories"]:
        threshold = accepted[c["id"]]
        kept = (categories == c["id"]) & (scores >= (np.inf if threshold is None else threshold))
        true = sum(a["category_id"] == c["id"] for a in real)
        rows.append(_row(c["name"], int(kept.sum()), true, int(hits[kept].sum())))
    if len(rows) > 1:
        rows.insert(
            0, _row("all categories", *(sum(r[k] for r in rows) for k in ("generated", "true", "found")))
        )
    if points.any():
        rows.append(_row("keypoints of found instances", *points.tolist()))
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    curve = right / max(len(real), 1), right / np.arange(1, len(order) + 1)
    return {"images": len(truth["images"]), "rows": rows, "curve": curve}


def _matched(candidates: Iterable[Record], truth: Coco) -> Iterator[tuple[Record, Record | None]]:
    """The candidates on the images of `truth`, each with the instance that it has found; without those that
    lie in a crowd region."""
    wanted, shown = by_image(truth["annotations"]), {image["id"] for image in truth["images"]}
    for image, run in groupby(candidates, key=lambda c: c["image_id"]):
        if image not in shown:
            continue
        found = sorted(run, key=lambda c: -c["score"])
        for key in {c["category_id"] for c in found}:
            mine = [c for c in found if c["category_id"] == key]
            real = [a for a in wanted.get(image, ()) if a["category_id"] == key]
            for candidate, match in zip(mine, match_boxes(mine, real), strict=True):
                instance = None if match is None else real[match]
                if not (instance and instance.get("iscrowd")):
                    yield candidate, instance


def _row(name: str, generated: int, true: int, found: int) -> dict[str, Any]:
    precision, recall = (found / of if of else None for of in (generated, true))
    counts = {"name": name, "generated": generated, "true": true, "found": found}
    return {**counts, "precision": precision, "recall": recall}


def match_boxes(found: Sequence[Record], real: Sequence[Record]) -> list[int | None]:
    """For each of `found`, by falling score, the index of the instance of `real`, not matched yet, that it
    overlaps most (IoU ≥ MATCH); otherwise that of a crowd region that holds it; otherwise None."""
    if not found or not real:
        return [None] * len(found)
    crowd = [int(a.get("iscrowd") or 0) for a in real]
    overlap = mask.iou([c["bbox"] for c in found], [a["bbox"] for a in real], crowd)
    free, result = ~np.array(crowd, bool), []
    for row in overlap:
        best = int(np.where(free, row, -1).argmax())
        if not free[best] or row[best] < MATCH:
            best = int(np.where(crowd, row, -1).argmax())
            result.append(best if crowd[best] and row[best] >= MATCH else None)
        else:
            free[best] = False
            result.append(best)
    return result


def _keypoints(candidate: Record, real: Record, sigmas: tuple[float, ...], visible: float) -> np.ndarray:
    """(3,) counts of keypoints: generated, labelled in truth, generated in the right place."""
    scores, marked = (np.asarray(one["keypoints"], float)[2::3] for one in (candidate, real))
    generated, true = (scores > 0) & (scores >= visible), marked > 0
    near = keypoint_similarity(candidate, real, sigmas) >= MATCH
    return np.array([generated.sum(), true.sum(), (generated & true & near).sum()])
