"""One annotation of a COCO file as people write it → a clean one, or what is wrong with it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distill.datasets.checks import are_numbers, show
from distill.datasets.coco import visible_keypoints

BOXLESS = "instances with keypoints, but a box without area"
EDGE = 1e-3  # pixels; less than this over the image's edge is rounding
FULLER = 1.5  # of a box: areas of images and boxes that were made smaller since


class Bad(Exception):
    """What is wrong with an annotation."""


class Outside(Bad):
    """It does not fit into the image as annotated."""


def checked(a: dict, size: tuple[int, int], category: dict, repaired: Counter[str]) -> dict | None:
    """A clean copy; None for a box without area, which COCO's own files have a few of.

    a: the annotation, with image_id, category_id and bbox. size: (width, height) of its image. category: a
        checked one.
    repaired: what was mended: how often; is added to.
    Raises Bad; Outside where it does not fit into its image.
    """
    if not are_numbers(a["bbox"], 4):
        raise Bad(f"bbox {show(a['bbox'])} is not four finite numbers")
    x, y, w, h = a["bbox"]
    if w < 0 or h < 0:
        raise Bad(f"bbox {show(a['bbox'])} has a negative size: it has to be x, y, width, height")
    if w == 0 or h == 0:
        points = a.get("keypoints")
        posed = isinstance(points, list) and any(v in (1, 2) for v in points[2::3])
        repaired[f"{BOXLESS}, left out" if posed else "boxes without area left out"] += 1
        return None
    crowd = a.get("iscrowd")
    crowd = 0 if crowd is None else crowd
    if crowd not in (0, 1):
        raise Bad(f"iscrowd {show(crowd)} is neither 0 nor 1")
    if not crowd and a.get("ignore") in (1, True):  # as converters write what is difficult in PASCAL VOC
        crowd = 1
        repaired["annotations to ignore taken as crowd regions"] += 1
    whole = w * h
    if angle := rotation(a.get("attributes"), a.get("segmentation"), a["bbox"]):
        x, y, w, h = around([x, y, w, h], angle)
        repaired["turned boxes replaced by those around them"] += 1
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, size[0]), min(y + h, size[1])
    if x2 <= x1 or y2 <= y1:
        raise Outside(f"bbox {show(a['bbox'])} lies outside the image of {size[0]}x{size[1]} pixels")
    area = _area(a.get("area"), whole, repaired)
    bbox = [x, y, w, h]
    if max(-x, -y, x + w - size[0], y + h - size[1]) > EDGE:
        bbox = [x1, y1, x2 - x1, y2 - y1]
        area = min(area, bbox[2] * bbox[3])
        repaired["boxes over the image's edge clipped"] += 1
    copy = {"id": a["id"], "image_id": a["image_id"], "category_id": a["category_id"]}
    copy |= {"bbox": bbox, "area": area, "iscrowd": int(crowd)}
    copy |= _score(a.get("score"))
    if category.get("keypoints"):
        copy["keypoints"] = _keypoints(a.get("keypoints"), len(category["keypoints"]), size, repaired)
        copy["num_keypoints"] = visible_keypoints(copy)
        if a.get("num_keypoints", copy["num_keypoints"]) != copy["num_keypoints"]:
            repaired["counts of keypoints corrected"] += 1
    elif (points := a.get("keypoints")) and (not isinstance(points, list) or any(points)):
        hint = "give it `keypoints`, a list of their names"
        raise Bad(f"has keypoints, but its category {show(category['name'])} does not name any: {hint}")
    return copy


def rotation(attributes: Any, segmentation: Any, box: Sequence[float]) -> float:
    """By how many degrees an annotation's box is turned: what CVAT writes beside a box that is not (its issue
    4745); else 0. The box of an outline lies around it already."""
    angle: Any = attributes.get("rotation") if isinstance(attributes, Mapping) else None
    return angle % 180 if are_numbers([angle], 1) and not is_drawn(segmentation, box) else 0.0


def is_drawn(segmentation: Any, box: Sequence[float]) -> bool:
    """Whether an annotation has an outline that is more than its box (x, y, w, h)."""
    if not segmentation or not isinstance(segmentation, list):
        return bool(segmentation)
    x, y, w, h = box
    corners = [(x, y), (x + w, y), (x, y + h), (x + w, y + h)]
    only = segmentation[0] if len(segmentation) == 1 else None
    if not isinstance(only, list) or len(only) != 8 or not are_numbers(only, 8):
        return True
    return not np.allclose(sorted(zip(only[0::2], only[1::2], strict=True)), sorted(corners), atol=0.1)


def around(box: Sequence[float], angle: float) -> list[float]:
    """The box (x, y, w, h) around one that is turned about its centre, in degrees; itself, of 0."""
    if not angle:
        return list(box)
    x, y, w, h = box
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    wide, high = w * cos + h * sin, w * sin + h * cos
    return [x + (w - wide) / 2, y + (h - high) / 2, wide, high]


def _area(given: Any, of_box: float, repaired: Counter[str]) -> float:
    """An instance's; that of its box where none, or 0, is given (OKS divides by it), or what no box holds."""
    if given is None:
        return of_box
    if not are_numbers([given], 1) or given < 0:
        raise Bad(f"area {show(given)} is not a number ≥ 0")
    if given == 0:
        repaired["areas of 0 replaced by those of the boxes"] += 1
    elif given > FULLER * of_box:
        repaired["areas larger than their box replaced by it"] += 1
        return of_box
    return given or of_box


def _score(given: Any) -> dict[str, float]:
    """That of a generated label that nobody has corrected; other tools' scores may be anything."""
    return {"score": given} if are_numbers([given], 1) and 0 <= given <= 1 else {}


def _keypoints(given: Any, count: int, size: tuple[int, int], repaired: Counter[str]) -> list:
    """x, y, v of `count` keypoints. Unlabelled ones are 0, 0, 0; so become those outside the image (as
    Detectron's training data has it), and those at 0, 0, where tables of poses put what is missing. An
    instance without `keypoints` has none labelled."""
    if given is None or given == []:
        return [0] * (3 * count)
    if not isinstance(given, list) or len(given) != 3 * count:
        length = len(given) if isinstance(given, list) else f"{show(given)}"
        raise Bad(f"keypoints has length {length}, {count} keypoints need {3 * count}")
    clean: list = []
    for x, y, v in zip(given[0::3], given[1::3], given[2::3], strict=True):
        if isinstance(v, bool) or v not in (0, 1, 2):
            raise Bad(f"keypoint {len(clean) // 3} has visibility {show(v)}, not 0, 1 or 2")
        if v and not are_numbers([x, y], 2):
            raise Bad(f"keypoint {len(clean) // 3} is not at finite numbers")
        if v and not (0 <= x <= size[0] and 0 <= y <= size[1]):
            repaired["keypoints outside the image taken as unlabelled"] += 1
            v = 0
        if v and x == 0 and y == 0:
            repaired["keypoints at 0, 0 taken as unlabelled"] += 1
            v = 0
        clean += [x, y, int(v)] if v else [0, 0, 0]
    return clean
