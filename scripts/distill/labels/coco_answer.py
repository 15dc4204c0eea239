"""Corrected labels as COCO files: of CVAT and FiftyOne.

What their files cannot say stays as it was: the boxes of CVAT's skeletons, the keypoints of FiftyOne's
detections.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from distill.datasets.checks import are_numbers, make_whole, show
from distill.datasets.coco import Coco
from distill.datasets.coco_annotation import around, is_drawn, rotation
from distill.labels.answers import Answer, ImagesByName, Record, category_named, keypoint_fields
from distill.predictions.boxes import iou, xywh_to_xyxy, xyxy_to_xywh
from distill.program import UserError


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: Any = None
    height: Any = None


class _Category(msgspec.Struct):
    id: int
    name: str
    keypoints: list[str] | None = None


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: Any = None
    keypoints: Any = None
    iscrowd: Literal[0, 1] = 0
    attributes: dict[str, Any] | None = None
    segmentation: Any = None


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(
    content: Any, labels: Coco, images: ImagesByName, before: Mapping[Any, Sequence[Record]]
) -> Answer:
    """All images that the file lists count as seen. images: those of the labels; before: the labels
    of each. Raises UserError, without the file's name."""
    file = _converted(content)
    theirs = {category.id: category for category in file.categories}
    names = [image.file_name for image in file.images]
    flat = not any("/" in name for name in names)
    mine = {image.id: _same(image, images.only(image.file_name, flat)) for image in file.images}
    if len(theirs) < len(file.categories) or len(mine) < len(file.images):
        raise UserError("two of its images, or of its categories, have one id")
    spoken_of: set[int] = set()
    answer = Answer(categories=spoken_of)
    for image in mine.values():
        answer.begin(image)
    boxed: set[int] = set()  # categories whose keypoints the file does not say
    for number, a in enumerate(file.annotations, 1):
        if a.image_id not in mine:
            raise UserError(f"annotation {number} is of the image {a.image_id}, which the file does not list")
        if a.category_id not in theirs:
            raise UserError(f"annotation {number} is of the category {a.category_id}, which the file lacks")
        image, their = mine[a.image_id], theirs[a.category_id]
        category = category_named(their.name, labels)
        spoken_of.add(category["id"])
        if category.get("keypoints") and not their.keypoints:
            boxed.add(category["id"])
        try:
            record = _record(a, their, category, before.get(image["id"], ()))
        except UserError as error:
            raise UserError(f"annotation {number} on {image['file_name']!r}: {error}") from None
        if is_drawn(a.segmentation, a.bbox):
            answer.leave("outlines, of which only the boxes are taken", image)
        if not answer.unfit(record["bbox"], image):
            answer.records[image["id"]].append(record)
    for image_id, records in answer.records.items():
        for key in boxed:
            _keep_keypoints(
                [record for record in records if record["category_id"] == key],
                [old for old in before.get(image_id, ()) if old["category_id"] == key],
            )
    return answer


def _converted(content: Any) -> _File:
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise UserError("neither COCO nor a list of Label Studio tasks")
    for key in ("images", "annotations", "categories"):
        if isinstance(content[key], list):
            make_whole(content[key], ("id", "image_id", "category_id", "iscrowd"))
    try:
        return msgspec.convert(content, _File)
    except msgspec.ValidationError as error:
        raise UserError(f"not a COCO file ({error})") from None


def _same(image: _Image, mine: Record) -> Record:
    """The labels' record of an image. Raises UserError where the tool says that it had it in another size."""
    theirs, size = [image.width, image.height], [mine["width"], mine["height"]]
    if are_numbers(theirs, 2) and all(theirs) and theirs != size:
        ours = f"{size[0]}x{size[1]} in the labels; give the tool images of that size"
        raise UserError(f"{image.file_name!r} is of {theirs[0]}x{theirs[1]} pixels there, {ours}")
    return mine


def _record(a: _Annotation, their: _Category, category: Record, before: Sequence[Record]) -> Record:
    """their: its category in the file; category: in the labels; before: the labels of its image."""
    if a.bbox is None:
        raise UserError(f"{category['name']} without a box; of FiftyOne, export the detections")
    if not are_numbers(a.bbox, 4):
        raise UserError(f"bbox {show(a.bbox)} is not four finite numbers")
    box, fields = around(a.bbox, rotation(a.attributes, a.segmentation, a.bbox)), {}
    if their.keypoints:
        fields = keypoint_fields(_named(a.keypoints or [], their.keypoints, category), category)
        number = str((a.attributes or {}).get("instance"))
        for old in before:
            if str(old["id"]) == number and old.get("keypoints") and _is_it(old, box, category):
                box = _moved(old["bbox"], old["keypoints"], fields["keypoints"])
    record = {"category_id": category["id"], "bbox": box, "area": box[2] * box[3]}
    masked = isinstance(a.segmentation, dict)  # CVAT calls every brushed mask a crowd
    return {**record, "iscrowd": 0 if masked else a.iscrowd, **fields}


def _named(flat: Any, names: Sequence[str], category: Record) -> dict[str, tuple[float, float, int]]:
    """x, y, v of the labelled ones of flat keypoints, by name."""
    if not isinstance(flat, list) or len(flat) != 3 * len(names):
        given = f"{len(flat) / 3:g}" if isinstance(flat, list) else show(flat)
        raise UserError(f"{category['name']} with {given} keypoints, of {len(names)}")
    named = {}
    for name, x, y, v in zip(names, flat[0::3], flat[1::3], flat[2::3], strict=True):
        if v not in (0, 1, 2) or (v and not are_numbers([x, y], 2)):
            raise UserError(f"keypoint {show(name)} is {show([x, y, v])}, not x, y and 0, 1 or 2")
        if v:
            named[name] = (x, y, int(v))
    return named


def _is_it(old: Record, box: Sequence[float], category: Record) -> bool:
    """Whether a label may be the instance of an answer, and its number is not another one's since labels were
    made anew. box: around the answer's keypoints; without area where a person took all away."""
    apart = box[2] * box[3] and not iou(xywh_to_xyxy([box]), xywh_to_xyxy([old["bbox"]]))[0, 0]
    return old["category_id"] == category["id"] and not apart


def _moved(box: Sequence[float], old: Sequence[float], new: Sequence[float]) -> list[float]:
    """The box (x, y, w, h) of an instance after its keypoints (flat x, y, v) were moved: it moves as most of
    them do, and grows to hold those that moved otherwise or are new. A tenth of a pixel is no move."""
    before, after = np.reshape(old, (-1, 3)), np.reshape(new, (-1, 3))
    seen = after[:, 2] > 0
    both = seen & (before[:, 2] > 0)
    moves = (after - before)[:, :2].round(1)
    common = np.median(moves[both], axis=0) if both.any() else np.zeros(2)
    held = after[seen & ~(both & (moves == common).all(1)), :2]
    corners = np.concatenate([xywh_to_xyxy(box).reshape(2, 2) + common, held])
    return xyxy_to_xywh(np.concatenate([corners.min(0), corners.max(0)])).tolist()


def _keep_keypoints(records: Sequence[Record], before: Sequence[Record]) -> None:
    """Each label of one category gives its keypoints to the box that overlaps it most, by half at least, and
    overlaps no other label more."""
    if not records or not before:
        return
    overlap = iou(xywh_to_xyxy([r["bbox"] for r in records]), xywh_to_xyxy([a["bbox"] for a in before]))
    nearest = np.where(overlap == overlap.max(axis=1, keepdims=True), overlap, 0)
    for old, row, share in zip(before, nearest.argmax(axis=0), nearest.max(axis=0), strict=True):
        if share >= 0.5:
            records[row].update({key: old[key] for key in ("keypoints", "num_keypoints") if key in old})
