"""Corrected labels as Label Studio's tasks: rectangles, and keypoints below them, in percent of the image."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from distill.datasets.checks import are_numbers
from distill.datasets.coco import Coco
from distill.labels.answers import Answer, ImagesByName, Record, category_named, keypoint_fields
from distill.program import UserError

_Point = tuple[float, float, int]  # x, y, v
_Drawn = tuple[Record, list[float], dict[str, _Point]]  # category, box (x, y, w, h), keypoints by name

# What people can draw there and COCO's boxes and keypoints cannot hold.
SHAPES = {
    "polygon": "polygons",
    "ellipse": "ellipses",
    "brush": "brush strokes",
    "relation": "relations",
    "rectangle": "boxes without a label",
    "keypoint": "keypoints without a label",
}


class _Value(msgspec.Struct):
    x: float | None = None
    y: float | None = None
    width: float | None = None
    height: float | None = None
    rotation: float | None = None
    rectanglelabels: list[str] | None = None
    keypointlabels: list[str] | None = None


class _Region(msgspec.Struct):
    type: str = ""
    id: str | int | None = None
    parentID: str | int | None = None
    origin: str | None = None
    image_rotation: float | None = None
    value: Any = None


class _Done(msgspec.Struct):
    result: list[_Region]
    was_cancelled: bool | None = None


class _Data(msgspec.Struct):
    image: str | None = None
    file_name: str | None = None


class _Task(msgspec.Struct):
    data: _Data
    annotations: list[_Done]


def read_tasks(content: list, labels: Coco, images: ImagesByName) -> Answer:
    """The images whose task has an annotation count as seen. images: those of the labels.
    Raises UserError, without the file's name."""
    if any(isinstance(task, dict) and "annotations" not in task for task in content):
        raise UserError("tasks without annotations; of Label Studio, export JSON, not JSON-MIN")
    try:
        tasks = msgspec.convert(content, list[_Task])
    except msgspec.ValidationError as error:
        raise UserError(f"not Label Studio's tasks ({error})") from None
    answer = Answer()
    for number, task in enumerate(tasks, 1):
        done = [a for a in task.annotations if not a.was_cancelled]
        if not done:
            continue
        name = task.data.file_name or task.data.image
        if not name:
            raise UserError(f"task {number} does not name its image")
        image = _pictured(name, images)
        records = answer.begin(image)
        for _ in done[1:]:
            answer.leave("answers to a task that has a later one", image)
        try:
            records += _records(done[-1].result, labels, image, answer)
        except msgspec.ValidationError as error:
            raise UserError(
                f"{image['file_name']!r}: a region is not as Label Studio writes it ({error})"
            ) from None
    return answer


def _pictured(name: str, images: ImagesByName) -> Record:
    """An image by name, or by URL: /data/local-files/?d=a%20b.jpg, in tasks that were not made here."""
    before, _, path = name.rpartition("?d=")
    return images.only(unquote(path) if before else name)


def _records(regions: Sequence[_Region], labels: Coco, image: Record, answer: Answer) -> Iterator[Record]:
    boxes: dict[Any, _Drawn] = {}
    points: list[tuple[Any, str, _Point]] = []
    drawn: list[_Drawn] = []
    for number, region in enumerate(regions):
        kind = region.type.removesuffix("labels")
        if kind not in ("rectangle", "keypoint"):
            answer.leave(SHAPES.get(kind, f"regions of the type {region.type!r}"), image)
            continue
        value = msgspec.convert(region.value, _Value)
        given = value.rectanglelabels if kind == "rectangle" else value.keypointlabels
        for _ in (given or [])[1:]:
            answer.leave("second labels", image)
        if not given or not given[0]:
            answer.leave(SHAPES[kind], image)
            continue
        place = _pixels(region, value, image, 4 if kind == "rectangle" else 2)
        if value.rotation and kind == "rectangle":
            answer.leave("turns of boxes, which are those around them now", image)
            place = _around_turned(place, value.rotation)
        if kind == "keypoint":
            points.append((region.parentID, given[0], (place[0], place[1], 2)))
        elif not answer.unfit(place, image):
            key = number if region.id is None else region.id
            if key in boxes:
                raise UserError(f"{image['file_name']!r}: two regions have the id {key!r}")
            boxes[key] = (category_named(given[0], labels), place, {})
            if region.origin == "manual":
                drawn.append(boxes[key])
    _attach(points, boxes, drawn, image, answer)
    for category, box, named in boxes.values():
        record = {"category_id": category["id"], "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        yield record | (keypoint_fields(named, category) if category.get("keypoints") else {})


def _attach(
    points: Sequence[tuple[Any, str, _Point]],
    boxes: Mapping[Any, _Drawn],
    drawn: Sequence[_Drawn],
    image: Record,
    answer: Answer,
) -> None:
    """Gives every keypoint (id of its box, name, place) to its box, or notes why not."""
    for parent, name, place in sorted(points, key=lambda point: point[0] not in boxes):
        # Label Studio keeps the keypoints of a deleted box; they count only if the box was drawn anew.
        owner = boxes.get(parent) or _around(drawn if parent else boxes.values(), name, place)
        if owner is None:
            answer.leave(f"keypoints {'of deleted boxes' if parent else 'outside all boxes'}", image)
        elif name not in (owner[0].get("keypoints") or ()):
            answer.leave("keypoints that their box's category has not", image)
        elif name in owner[2]:
            answer.leave("keypoints that their box has already", image)
        else:
            owner[2][name] = place


def _pixels(region: _Region, value: _Value, image: Record, count: int) -> list[float]:
    """x, y and, of a box, width and height in pixels of the image."""
    if region.image_rotation:
        raise UserError(f"{image['file_name']!r} has a turned image, which COCO cannot hold")
    percent = [value.x, value.y, value.width, value.height][:count]
    if not are_numbers([*percent, value.rotation or 0], count + 1):
        raise UserError(
            f"{image['file_name']!r}: a region of the type {region.type!r} is not at finite numbers"
        )
    sides = (image["width"] / 100, image["height"] / 100)
    return [number * sides[axis % 2] for axis, number in enumerate(percent)]


def _around_turned(box: Sequence[float], angle: float) -> list[float]:
    """The box (x, y, w, h) around one that is turned about its upper left corner, in degrees, clockwise."""
    x, y, w, h = box
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    across, down = (0.0, w * cos, -h * sin, w * cos - h * sin), (0.0, w * sin, h * cos, w * sin + h * cos)
    return [x + min(across), y + min(down), max(across) - min(across), max(down) - min(down)]


def _around(boxes: Iterable[_Drawn], name: str, place: _Point) -> _Drawn | None:
    """The smallest box around a keypoint that has none of its name: one drawn by hand has no parent."""
    holding = [
        box
        for box in boxes
        for x, y, w, h in [box[1]]
        if name in (box[0].get("keypoints") or ()) and name not in box[2]
        if x <= place[0] <= x + w and y <= place[1] <= y + h
    ]
    return min(holding, key=lambda box: box[1][2] * box[1][3], default=None)
