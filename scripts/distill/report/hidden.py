"""Generated labels against the labels that were hidden from the study, where there are any.

An unlabelled dataset made from an annotated one (`strip_annotations`) has a truth that no training sees. It
is looked up here, by the images' bytes, and only to be shown.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

import numpy as np
from pycocotools import mask

from distill.datasets.keypoint_meta import keypoint_meta
from distill.report.comparison import group_by_image, keypoint_similarity
from distill.study.types import Dataset

MATCH = 0.5  # IoU from which a label has found an instance; OKS from which a keypoint is right

Coco = dict[str, Any]


def hidden_truth(
    name: str, specs: Mapping[str, Dataset], dataset: Callable[[str], Coco | None], categories: list[Coco]
) -> Coco | None:
    """The annotated part of the unlabelled dataset `name`: its image records, and the annotations that the
    datasets it is made from have for the same files. None if there are none.

    specs: the study's datasets. dataset: a name → its JSON. categories: those of the labels; annotations of
    categories of other names are left out.
    """
    unlabelled = dataset(name)
    ids = {category["name"]: category["id"] for category in categories}
    by_hash: dict[str, list[Coco]] = {}
    for source in _annotated(name, specs, dataset):
        known = {c["id"]: ids[c["name"]] for c in source["categories"] if c["name"] in ids}
        found = group_by_image(a for a in source["annotations"] if a["category_id"] in known)
        for image in source["images"]:
            mine = [a | {"category_id": known[a["category_id"]]} for a in found.get(image["id"], ())]
            by_hash.setdefault(image.get("hash"), mine)
    by_hash.pop(None, None)
    images = [image for image in (unlabelled or {"images": ()})["images"] if image.get("hash") in by_hash]
    if not images:
        return None
    annotations = [a | {"image_id": image["id"]} for image in images for a in by_hash[image["hash"]]]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotated(
    name: str, specs: Mapping[str, Dataset], dataset: Callable[[str], Coco | None]
) -> Iterable[Coco]:
    """The nearest datasets with annotations among those that a dataset is made from."""
    of = specs[name].get("of", []) if name in specs else []
    for source in [of] if isinstance(of, str) else of:
        content = dataset(source)
        if content and content["categories"]:
            yield content
        else:
            yield from _annotated(source, specs, dataset)


def audit(candidates: Iterable[Coco], thresholds: Mapping[str, Any], truth: Coco) -> dict[str, Any]:
    """How right the labels are on the images of `truth`, and what other thresholds would have given.

    candidates: as `labels.candidates` gives them, those of an image in one run. Matching is greedy by
    score within a category, from IoU `MATCH` on; what lies in a crowd region does not count. Returns
    {images, rows: [{name, generated, true, found, precision, recall}], curve: (recall, precision) by falling
    score of all candidates}; the rows are of all categories, each category, keypoints on found instances.
    """
    wanted = group_by_image(truth["annotations"])
    shown, meta = {image["id"] for image in truth["images"]}, keypoint_meta(truth)
    category, score, hit = array("q"), array("d"), array("b")
    accepted = {int(key): entry["threshold"] for key, entry in thresholds["instances"].items()}
    visible = (thresholds["keypoints"] or {}).get("threshold")
    points = np.zeros(3, int)  # generated, true, right
    for image, run in groupby(candidates, key=lambda c: c["image_id"]):
        if image not in shown:
            continue
        found = sorted(run, key=lambda c: -c["score"])
        for key in {c["category_id"] for c in found}:
            mine = [c for c in found if c["category_id"] == key]
            real = [a for a in wanted.get(image, ()) if a["category_id"] == key]
            for candidate, match in zip(mine, match_boxes(mine, real), strict=True):
                if match is not None and real[match].get("iscrowd"):
                    continue
                category.append(key)
                score.append(candidate["score"])
                hit.append(match is not None)
                kept = accepted[key] is not None and candidate["score"] >= accepted[key]
                posed = "keypoints" in candidate and match is not None and real[match].get("keypoints")
                if kept and posed and meta and visible is not None:
                    points += _keypoints(candidate, real[match], meta.sigmas, visible)
    categories, scores, hits = np.array(category), np.array(score), np.array(hit, bool)
    instances = [a for a in truth["annotations"] if not a.get("iscrowd")]
    rows = []
    for c in truth["categories"]:
        threshold = accepted[c["id"]]
        kept = (categories == c["id"]) & (scores >= (np.inf if threshold is None else threshold))
        true = sum(a["category_id"] == c["id"] for a in instances)
        rows.append(_row(c["name"], int(kept.sum()), true, int(hits[kept].sum())))
    if len(rows) > 1:
        rows.insert(
            0, _row("all categories", *(sum(r[k] for r in rows) for k in ("generated", "true", "found")))
        )
    if points.any():
        rows.append(_row("keypoints of found instances", *points.tolist()))
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    curve = right / max(len(instances), 1), right / np.arange(1, len(order) + 1)
    return {"images": len(shown), "rows": rows, "curve": curve}


def _row(name: str, generated: int, true: int, found: int) -> dict[str, Any]:
    precision, recall = (found / of if of else None for of in (generated, true))
    counts = {"name": name, "generated": generated, "true": true, "found": found}
    return {**counts, "precision": precision, "recall": recall}


def match_boxes(found: list[Coco], real: list[Coco]) -> list[int | None]:
    """For each of `found`, by falling score, the index of the free instance of `real` that overlaps it most,
    by IoU ≥ MATCH; else that of a crowd region that holds it; else None."""
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


def _keypoints(candidate: Coco, real: Coco, sigmas: tuple[float, ...], visible: float) -> np.ndarray:
    """(3,) counts of keypoints: generated, marked in truth, generated in the right place."""
    scores, marked = (np.asarray(one["keypoints"], float)[2::3] for one in (candidate, real))
    generated, true = (scores > 0) & (scores >= visible), marked > 0
    near = keypoint_similarity(candidate, real, sigmas) >= MATCH
    return np.array([generated.sum(), true.sum(), (generated & true & near).sum()])
