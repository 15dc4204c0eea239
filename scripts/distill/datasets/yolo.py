"""Datasets of the YOLO programs: a data.yaml, image folders, and a text file of labels for each image.

    path/to/images/a.jpg ↔ path/to/labels/a.txt    class x y w h [x y [v] …], centre and sides, in fractions

What stands where, and what a missing file means, is as in ultralytics: `data/utils.py`, img2label_paths and
verify_image_label. Nothing that a data.yaml says is run or fetched (`download`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.datasets.checks import show
from distill.datasets.coco import Record
from distill.datasets.images import SUFFIXES, list_files, natural_key
from distill.datasets.keypoint_meta import COCO_KEYPOINTS, derive_flip_pairs
from distill.datasets.yolo_labels import label_files, label_path, refuse_keypoints
from distill.program import UserError, log
from distill.strict import is_line, read_text, read_yaml

SPLITS = ("train", "val", "test")
READ = (*SPLITS, "path", "names", "nc", "kpt_shape", "kpt_names", "flip_idx")
MOST = 10_000  # classes that are not named
BEYOND = 0.01  # of the image: so far over its edge a fraction is rounding


@dataclass(frozen=True)
class Layout:
    """What a data.yaml says.

    categories: COCO categories; a category's id is the number of its class.
    files: the images of one split, absolute paths, each once, in the order of their names.
    shape: (K, 2 or 3), of keypoints; None of boxes.
    """

    categories: list[dict[str, Any]]
    files: list[str]
    shape: tuple[int, int] | None


def read_layout(path: str, split: str) -> Layout:
    """Reads a data.yaml and lists the images of a split, which is a folder, a text file of paths, or several
    of these. Raises UserError with the file and the key."""
    data = read_yaml(path, READ)
    if not isinstance(data, dict):
        raise UserError(f"{path}: not a data.yaml; it must be a mapping with names, train and val")
    shape = _shape(path, data.get("kpt_shape"))
    categories = [{"id": i, "name": name} for i, name in _names(path, data)]
    if shape:
        keypoints = _keypoints(path, data, shape[0])
        categories = [{**category, **keypoints} for category in categories]
    return Layout(categories, files_of(path, data, split), shape)


def files_of(path: str, data: Mapping[str, Any], split: str) -> list[str]:
    """The images of a split, as of a `Layout`. data: what the data.yaml says. Raises UserError for an entry
    that it lacks, or that is of no images."""
    if data.get(split) in (None, "", []):
        there = ", ".join(key for key in SPLITS if data.get(key))
        raise UserError(f"{path}: has no {split}; there is {there or 'no split'}")
    files = [file for entry in _entries(data[split]) for file in _files(path, data, split, entry)]
    return sorted(dict.fromkeys(files), key=natural_key)


def places(path: str, split: str) -> list[str]:
    """The folders of a split's images and labels, and its lists: what comes into them is of the dataset. None
    of a file with mistakes, which `read_layout` names."""
    try:
        data = read_yaml(path, READ)
        found = [str(_place(path, data, split, entry)) for entry in _entries(data[split])]
    except (UserError, KeyError, TypeError):
        return []
    labels = [label_path(f"{place}/x").removesuffix("/x.txt") for place in found if os.path.isdir(place)]
    return list(dict.fromkeys([*found, *labels]))


def read_annotations(
    layout: Layout, root: str, images: Sequence[Record]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The annotations of images, files below `root`, and what was repaired: how often. Raises UserError where
    no image has a label."""
    annotations: list[dict[str, Any]] = []
    repeated = 0
    files = label_files(root, [os.path.join(root, image["file_name"]) for image in images])
    if layout.shape is None:
        refuse_keypoints(root, filter(None, files))
    for image, labels in zip(images, files, strict=True):
        mine: list[dict[str, Any]] = []
        for found in read_labels(labels, layout, (image["width"], image["height"])) if labels else []:
            if found in mine:  # ultralytics takes such a line once, too
                repeated += 1
            else:
                mine.append(found)
        for number, found in enumerate(mine, len(annotations) + 1):
            annotations.append({"id": number, "image_id": image["id"], **found})
    if not annotations:
        first = label_path(os.path.join(root, images[0]["file_name"]))
        raise UserError(f"{root}: no image in it has a label; those of the first would be in {first}")
    return annotations, {"labels written twice taken once": repeated} if repeated else {}


def read_labels(path: str, layout: Layout, size: tuple[int, int]) -> list[dict[str, Any]]:
    """The annotations in a file of labels, without ids.

    Of an outline (class x y x y …), the box around it. size: (width, height) of the image.
    Raises UserError with the file and the line.
    """
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            try:
                found.append(_annotation(line.split(), layout, size))
            except ValueError as error:
                raise UserError(f"{path}, line {number}: {error}") from None
    return found


def _annotation(words: Sequence[str], layout: Layout, size: tuple[int, int]) -> dict[str, Any]:
    """Raises ValueError."""
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        raise ValueError(f"{show(' '.join(words))} are not numbers") from None
    if not values[0].is_integer() or not 0 <= values[0] < len(layout.categories):
        raise ValueError(f"there is no class {words[0]:.20}; classes are 0 to {len(layout.categories) - 1}")
    outline = layout.shape is None and len(values) >= 7 and len(values) % 2 == 1
    wanted = 5 + (layout.shape[0] * layout.shape[1] if layout.shape else 0)
    if len(values) != wanted and not outline:
        raise ValueError(f"{len(values)} numbers, not {wanted}")
    box, rest = (values[1:], np.empty(0)) if outline else (values[1:5], values[5:])
    wrong = ~((box >= -BEYOND) & (box <= 1 + BEYOND))
    if wrong.any():
        raise ValueError(f"{words[1 + int(wrong.argmax())]:.20} is not a fraction of the image, from 0 to 1")
    if not outline and (box[2:] < 0).any():
        raise ValueError(f"its width or height is negative, {box[2]:g} and {box[3]:g}")
    sides = np.array(size)
    if outline:
        points = box.reshape(-1, 2) * sides
        corner, extent = points.min(0), np.ptp(points, axis=0)
    else:
        extent = box[2:] * sides
        corner = box[:2] * sides - extent / 2
    annotation = {"category_id": int(values[0]), "bbox": np.concatenate([corner, extent]).tolist()}
    if layout.shape:
        annotation["keypoints"] = _flat(rest.reshape(layout.shape), size)
    return annotation


def _flat(points: np.ndarray, size: tuple[int, int]) -> list[float]:
    """x, y, v in pixels of keypoints (K, 2 or 3). Without v, those at 0, 0 or before it are not labelled."""
    labelled = np.asarray((points > 0).any(1) & (points >= 0).all(1))
    visible = points[:, 2] if points.shape[1] == 3 else 2.0 * labelled
    if not np.isin(visible, (0, 1, 2)).all():
        wrong = visible[~np.isin(visible, (0, 1, 2))][0]
        raise ValueError(f"a keypoint's visibility is {wrong:g}, not 0, 1 or 2")
    places = points[:, :2]
    if not (np.abs(places[visible > 0]) <= 1 + BEYOND).all():
        raise ValueError("a visible keypoint is not at fractions of the image, from 0 to 1")
    places = np.where(visible[:, None] > 0, places * size, 0)
    return np.column_stack([places, visible]).ravel().tolist()


def _names(path: str, data: Mapping[Any, Any]) -> list[tuple[int, str]]:
    """Number and name of each class; class_0 … where only their number `nc` is given, as in ultralytics."""
    names, count = data.get("names"), data.get("nc")
    if names is None and type(count) is int and 0 < count <= MOST:
        names = [f"class_{number}" for number in range(count)]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise UserError(f"{path}: names must be a list of the classes, or a mapping from their numbers")
    names = {number: str(name) if type(name) is int else name for number, name in names.items()}
    if missing := sorted(set(range(len(names))) - set(names)):
        what = f"names must be numbered from 0 to {len(names) - 1}, each once"
        raise UserError(f"{path}: {what}; there is no number {missing[0]}")
    for number, name in names.items():
        if not isinstance(name, str) or not name or not is_line(name):
            raise UserError(f"{path}: names: class {number} is called {show(name)}; a name is a line of text")
    if data.get("nc", len(names)) != len(names):
        raise UserError(f"{path}: nc is {show(data['nc'])}, but there are {len(names)} names")
    return sorted(names.items())


def _shape(path: str, given: Any) -> tuple[int, int] | None:
    if given is None:
        return None
    numbers = isinstance(given, list) and len(given) == 2 and all(type(n) is int for n in given)
    if not numbers or given[0] < 1 or given[1] not in (2, 3):
        raise UserError(f"{path}: kpt_shape is {show(given)}, not [keypoints, 2 or 3]")
    return given[0], given[1]


def _keypoints(path: str, data: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The keypoint fields of a category. Names are `kpt_names`; COCO's 17 where they are mirrored as COCO's
    are; else numbers."""
    mirrored = data.get("flip_idx")
    if mirrored is not None and not _is_involution(mirrored, count):
        raise UserError(
            f"{path}: flip_idx must say of each of {count} keypoints which one it is in the mirror"
        )
    if mirrored is None:
        log.warning("%s: no flip_idx; in a mirror only keypoints change places whose kpt_names say so", path)
    pairs = None if mirrored is None else [[k, m] for k, m in enumerate(mirrored) if k < m]
    names = data.get("kpt_names")
    if isinstance(names, dict) and names:  # of each class; one set of keypoints serves all
        names = next(iter(names.values()))
    if names is None:
        coco = pairs is not None and pairs == derive_flip_pairs(COCO_KEYPOINTS)
        names = list(COCO_KEYPOINTS) if coco else [f"keypoint {k}" for k in range(count)]
    if not isinstance(names, list) or len(names) != count:
        raise UserError(f"{path}: kpt_names are not the names of {count} keypoints")
    return {"keypoints": names, **({} if pairs is None else {"flip_pairs": pairs})}


def _is_involution(given: Any, count: int) -> bool:
    if not isinstance(given, list) or len(given) != count or not all(type(k) is int for k in given):
        return False
    return all(0 <= k < count for k in given) and all(given[m] == k for k, m in enumerate(given))


def _entries(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _place(path: str, data: Mapping[str, Any], split: str, entry: Any) -> Path:
    """The folder, or the list, that one entry of a split is."""
    if not isinstance(entry, str) or not is_line(entry):
        raise UserError(f"{path}: {split}: {show(entry)} is not the path of a folder or of a list of images")
    home = Path(path).parent
    base = data.get("path") or "."
    if not isinstance(base, str) or not is_line(base):
        raise UserError(f"{path}: path: {show(base)} is not the path of a folder")
    tried = [home / base / entry, home / entry]
    if entry.startswith("../"):  # as exported by Roboflow, beside the folders that it means
        tried += [home / base / entry[3:], home / entry[3:]]
    place = next((place for place in tried if place.exists()), None)
    if place is None:
        raise UserError(f"{path}: {split}: there is neither a folder nor a file {os.path.normpath(tried[0])}")
    return Path(os.path.abspath(place))


def _files(path: str, data: Mapping[str, Any], split: str, entry: Any) -> list[str]:
    """The images of one entry of a split."""
    place = _place(path, data, split, entry)
    if place.is_dir():
        return [str(place / name) for name in list_files(place, SUFFIXES, "images")]
    lines = [line.strip() for line in read_text(place).splitlines()]
    if wrong := [line for line in lines if not is_line(line)]:
        raise UserError(f"{place}: {show(wrong[0])} is not the path of an image")
    files = [os.path.abspath(place.parent / line) for line in lines if line]
    if not files:
        raise UserError(f"{place}: lists no image")
    return files
