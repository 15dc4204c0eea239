"""The JSON file of a dataset or of labels, as every program reads it: people may have edited it.

All else of the library relies on what is checked here: kinds of values, ids that are there, boxes with an
area, as many keypoints as a category names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from distill.datasets.checks import Id, Number, Problems, Side, show
from distill.files import read_json
from distill.program import UserError
from distill.strict import is_line


class _Info(msgspec.Struct):
    image_root: str | None = None
    skipped: list[dict[str, str]] = []
    repaired: dict[str, int] = {}
    kind: str | None = None
    description: str | None = None
    seen: list[str] = []


class _Image(msgspec.Struct):
    id: Id
    file_name: str
    width: Side
    height: Side
    hash: str | None = None


class _Annotation(msgspec.Struct):
    id: Id
    image_id: Id
    category_id: Id
    bbox: tuple[Number, Number, Number, Number]
    area: Number = 0
    iscrowd: Literal[0, 1] = 0
    keypoints: list[Number] | None = None
    num_keypoints: int | None = None
    score: Number | None = None
    keypoint_scores: list[Number] | None = None


class _Category(msgspec.Struct):
    id: Id
    name: str
    keypoints: list[str] | None = None
    skeleton: list[tuple[Side, Side]] | None = None
    flip_pairs: list[tuple[int, int]] | None = None
    sigmas: list[Number] | None = None


class _Dataset(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]
    info: _Info = msgspec.field(default_factory=_Info)


def read_dataset(path: str | Path) -> dict[str, Any]:
    """The COCO dict of a file, with `info`, and `area` and `iscrowd` of annotations, also where it has none.
    Raises UserError where it is missing, damaged, or contradicts itself."""
    dataset = read_json(path, like=_Dataset)
    dataset.setdefault("info", {})
    problems = Problems(path)
    for what in ("images", "annotations", "categories"):
        if len({record["id"] for record in dataset[what]}) < len(dataset[what]):
            problems.add(f"of its {what}, two have one id")
    for image in dataset["images"]:
        if not is_line(image["file_name"]):
            what = f"file_name {show(image['file_name'])} has unprintable characters"
            problems.add(f"image {image['id']}: {what}")
    sizes = {image["id"]: (image["width"], image["height"]) for image in dataset["images"]}
    counts = {category["id"]: len(category.get("keypoints") or ()) for category in dataset["categories"]}
    for category in dataset["categories"]:
        used = [k - 1 for pair in category.get("skeleton") or () for k in pair]
        used += [k for pair in category.get("flip_pairs") or () for k in pair]
        if any(not 0 <= k < counts[category["id"]] for k in used):
            problems.add(f"category {category['name']!r} joins or swaps keypoints that it does not name")
    for a in dataset["annotations"]:
        if a["image_id"] not in sizes:
            problems.add(f"annotation {a['id']} is of the unknown image {a['image_id']}")
        elif a["category_id"] not in counts:
            problems.add(f"annotation {a['id']} is of the unknown category {a['category_id']}")
        elif not _inside(a["bbox"], sizes[a["image_id"]]):
            problems.add(f"annotation {a['id']}: bbox {a['bbox']} has no area in its image")
        else:
            a.setdefault("iscrowd", 0)
            a.setdefault("area", a["bbox"][2] * a["bbox"][3])
            count = counts[a["category_id"]]
            given = [len(a.get("keypoints") or ()) / 3, len(a.get("keypoint_scores") or ())]
            if wrong := [number for number in given if number not in (0, count)]:
                problems.add(f"annotation {a['id']} has {wrong[0]:g} keypoints, not {count}")
    problems.refuse()
    return dataset


def read_source(path: str | Path) -> dict[str, Any]:
    """A dataset that others are made of, or whose images are opened: it has to say where they are, and their
    hashes. Raises UserError as `read_dataset`."""
    dataset = read_dataset(path)
    root_of(dataset, path)
    if without := [image["id"] for image in dataset["images"] if not image.get("hash")]:
        raise UserError(f"{path}: image {without[0]} has no hash; remove the file to have it made again")
    return dataset


def root_of(dataset: Mapping[str, Any], path: str | Path) -> Path:
    """The folder of the images of the dataset that `path` was. Raises UserError if it names none."""
    if not (root := (dataset.get("info") or {}).get("image_root")):
        raise UserError(f"{path}: does not say where its images are (info.image_root)")
    return Path(root)


def _inside(box: list[float], size: tuple[int, int]) -> bool:
    x, y, w, h = box
    return w > 0 and h > 0 and x < size[0] and y < size[1] and x + w > 0 and y + h > 0
