"""Labels that people corrected in other tools, brought home; `exchange` is the way there.

What comes back, COCO from CVAT and FiftyOne or Label Studio's tasks, has other ids: it is matched by file,
category and keypoint names. What a tool's file cannot say stays as it was: the boxes of CVAT's skeletons, the
keypoints of FiftyOne's detections.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from distill.datasets.coco import Coco
from distill.predictions.boxes import iou, xywh_to_xyxy, xyxy_to_xywh
from distill.program import UserError, log

Record = dict[str, Any]
_Point = tuple[float, float, int]  # x, y, v
_Drawn = tuple[Coco, list[float], dict[str, _Point]]  # category, box (x, y, w, h), keypoints by name


def corrected(labels: Coco, answers: Sequence[Any]) -> dict[str, Any]:
    """The label file, in which the annotations of images that a person has seen are replaced by the person's.

    Corrected annotations have no score.

    answers: contents of exported files: COCO, where all images listed count as seen, or Label Studio tasks,
        where those with an annotation do.

    Raises UserError for an image, category or keypoint that the labels do not have, and for an image that a
    file has twice.
    """
    images = {image["file_name"]: image for image in labels["images"]}
    before: dict[Any, list[Coco]] = {image["id"]: [] for image in labels["images"]}
    for annotation in labels["annotations"]:
        before[annotation["image_id"]].append(annotation)
    seen: set[Any] = set()
    new: list[Record] = []
    for answer in answers:
        here: set[Any] = set()
        read = _from_tasks if isinstance(answer, list) else _from_coco
        for image, records in read(answer, labels, images, before):
            if image["id"] in here:
                raise UserError(
                    f"corrected file: {image['file_name']!r} is there twice; export it with folders"
                )
            here.add(image["id"])
            new += ({"image_id": image["id"], **record} for record in records)
        seen |= here
    old = [a for a in labels["annotations"] if a["image_id"] not in seen]
    annotations = [{**a, "id": number} for number, a in enumerate([*old, *new], 1)]
    log.info("%d of %d images corrected", len(seen), len(labels["images"]))
    was, now = (Counter(a["category_id"] for a in file) for file in (labels["annotations"], annotations))
    for category in labels["categories"]:
        say = log.warning if was[category["id"]] and not now[category["id"]] else log.info
        say("%s: %d instances, before %d", category["name"], now[category["id"]], was[category["id"]])
    info = {**labels.get("info", {}), "description": "corrected labels", "kind": "coco"}
    return {**labels, "info": info, "annotations": annotations}


def _category(name: str, labels: Coco) -> Coco:
    for category in labels["categories"]:
        if category["name"] == name:
            return category
    known = ", ".join(category["name"] for category in labels["categories"])
    raise UserError(f"corrected file: there is no category {name!r} in the labels, only {known}")


def _image(name: str, images: Mapping[str, Coco]) -> Coco:
    """The image of a name in a tool's file. Tools put folders before file names, or take them off: it is the
    image of this very name, or of the longest name that `name` ends with, or the only one whose name ends
    with `name`."""
    if name in images:
        return images[name]
    if ends := [known for known in images if name.endswith(f"/{known}")]:
        return images[max(ends, key=len)]
    fits = [image for known, image in images.items() if known.endswith(f"/{name}")]
    if len(fits) != 1:
        what = f"image {name!r} is {'several' if fits else 'none'} of the labels' images"
        raise UserError(f"corrected file: {what}")
    return fits[0]


def _keypoint_fields(points: Mapping[str, _Point], category: Coco) -> Record:
    """points: x, y, v by keypoint name."""
    if unknown := points.keys() - set(category["keypoints"]):
        raise UserError(f"corrected file: {category['name']} has no keypoint {min(unknown)!r}")
    flat = [value for name in category["keypoints"] for value in points.get(name, (0, 0, 0))]
    return {"keypoints": flat, "num_keypoints": sum(v > 0 for v in flat[2::3])}


def _from_coco(
    answer: Coco, labels: Coco, images: Mapping[str, Coco], before: Mapping[Any, list[Coco]]
) -> Iterator[tuple[Coco, list[Record]]]:
    if not {"images", "annotations", "categories"} <= answer.keys():
        raise UserError("corrected file: neither COCO nor a list of Label Studio tasks")
    theirs = {category["id"]: category for category in answer["categories"]}
    found: dict[Any, list[Coco]] = {}
    for annotation in answer["annotations"]:
        found.setdefault(annotation["image_id"], []).append(annotation)
    for image in answer["images"]:
        mine = _image(image["file_name"], images)
        given = found.get(image["id"], [])
        yield mine, [_from_annotation(a, theirs[a["category_id"]], labels, before[mine["id"]]) for a in given]


def _from_annotation(annotation: Coco, theirs: Coco, labels: Coco, before: Sequence[Coco]) -> Record:
    """One annotation of a tool's file as one of ours.

    theirs: its category in the tool's file.
    before: the labels of its image before the correction.
    """
    category = _category(theirs["name"], labels)
    if "bbox" not in annotation:
        raise UserError(
            f"corrected file: {category['name']} without a box; of FiftyOne, export the detections"
        )
    box = annotation["bbox"]
    fields: Record = {}
    if theirs.get("keypoints"):
        flat = annotation.get("keypoints") or []
        if len(flat) != 3 * len(theirs["keypoints"]):
            raise UserError(f"corrected file: {category['name']} with {len(flat) / 3:g} keypoints")
        named = zip(theirs["keypoints"], np.reshape(flat, (-1, 3)).tolist(), strict=True)
        fields = _keypoint_fields({n: (x, y, int(v)) for n, (x, y, v) in named if v > 0}, category)
        number = str(annotation.get("attributes", {}).get("instance"))
        for old in before:
            if str(old["id"]) == number and old.get("keypoints"):
                box = _moved(old["bbox"], old["keypoints"], fields["keypoints"])
    elif category.get("keypoints"):
        fields = _nearest_keypoints(box, [a for a in before if a["category_id"] == category["id"]])
    record = {"category_id": category["id"], "bbox": box, "area": box[2] * box[3]}
    return {**record, "iscrowd": annotation.get("iscrowd", 0), **fields}


def _moved(box: Sequence[float], old: Sequence[float], new: Sequence[float]) -> list[float]:
    """The box (x, y, w, h) of an instance after its keypoints (flat x, y, v) were moved, from `old` to `new`:
    it moves as most of them do, and grows to hold those that moved otherwise or are new. A tenth of a pixel
    is no move."""
    before, after = np.reshape(old, (-1, 3)), np.reshape(new, (-1, 3))
    seen = after[:, 2] > 0
    both = seen & (before[:, 2] > 0)
    moves = (after - before)[:, :2].round(1)
    common = np.median(moves[both], axis=0) if both.any() else np.zeros(2)
    held = after[seen & ~(both & (moves == common).all(1)), :2]
    corners = np.concatenate([xywh_to_xyxy(box).reshape(2, 2) + common, held])
    return xyxy_to_xywh(np.concatenate([corners.min(0), corners.max(0)])).tolist()


def _nearest_keypoints(box: Sequence[float], before: Sequence[Coco]) -> Record:
    """The keypoints of the label whose box (x, y, w, h) this was; none where no box overlaps it by half."""
    overlap = iou(xywh_to_xyxy([box]), xywh_to_xyxy([a["bbox"] for a in before] or np.empty((0, 4))))[0]
    if overlap.max(initial=0) < 0.5:
        return {}
    nearest = before[int(overlap.argmax())]
    return {key: nearest[key] for key in ("keypoints", "num_keypoints") if key in nearest}


def _from_tasks(
    answer: list, labels: Coco, images: Mapping[str, Coco], before: Mapping[Any, list[Coco]]
) -> Iterator[tuple[Coco, list[Record]]]:
    for task in answer:
        if "annotations" not in task:
            raise UserError(
                "corrected file: tasks without annotations; of Label Studio, export JSON, not JSON-MIN"
            )
        done = [a for a in task["annotations"] if not a.get("was_cancelled")]
        if not done:
            continue
        image = _image(task["data"].get("file_name") or task["data"]["image"], images)
        yield image, list(_from_regions(done[-1]["result"], labels, image))


def _from_regions(regions: Sequence[Coco], labels: Coco, image: Coco) -> Iterator[Record]:
    width, height = image["width"] / 100, image["height"] / 100
    boxes: dict[Any, _Drawn] = {}
    points, drawn = [], []
    for region in regions:
        value = region["value"]
        if region["type"] == "rectanglelabels":
            if value.get("rotation"):
                raise UserError(
                    f"corrected file: {image['file_name']} has a turned box, which COCO cannot hold"
                )
            box = [value["x"] * width, value["y"] * height, value["width"] * width, value["height"] * height]
            boxes[region["id"]] = (_category(value["rectanglelabels"][0], labels), box, {})
            if region.get("origin") == "manual":
                drawn.append(boxes[region["id"]])
        elif region["type"] == "keypointlabels":
            place = (value["x"] * width, value["y"] * height, 2)
            points.append((region.get("parentID"), value["keypointlabels"][0], place))
    lost: Counter[str] = Counter()
    for parent, name, place in sorted(points, key=lambda point: point[0] not in boxes):
        # Label Studio keeps the keypoints of a deleted box; they count only if the box was drawn anew.
        owner = boxes.get(parent) or _around(drawn if parent else boxes.values(), name, place)
        if owner is not None and name not in owner[2]:
            owner[2][name] = place
        elif not parent:
            lost[name] += 1
    if lost:
        log.warning(
            "%s: keypoints without an instance of their own left out: %s", image["file_name"], dict(lost)
        )
    for category, box, named in boxes.values():
        record = {"category_id": category["id"], "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        yield record | (_keypoint_fields(named, category) if category.get("keypoints") else {})


def _around(boxes: Iterable[_Drawn], name: str, place: _Point) -> _Drawn | None:
    """The box of a keypoint that was drawn by hand and therefore has no parent: the smallest around it that
    has no keypoint of its name yet."""
    holding = [
        (category, [x, y, w, h], named)
        for category, (x, y, w, h), named in boxes
        if name in (category.get("keypoints") or ()) and name not in named
        if x <= place[0] <= x + w and y <= place[1] <= y + h
    ]
    return min(holding, key=lambda box: box[1][2] * box[1][3], default=None)
