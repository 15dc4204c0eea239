"""Predictions of other programs, in the place of a teacher's: files of COCO results in pixels of the image.

A record says its image (`file_name`, or `image_id`: an id or a name), its category (`category_id`: an id or a
name of the labelled dataset), bbox (x, y, w, h) and score, and of poses x, y, score of each keypoint. A COCO
annotation file is taken as well: what has no score has 1, crowd regions are passed over. A file is refused
whole, in one line with the record, counted from 0: where one is wrong, others are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from distill.datasets.checks import LARGEST, make_whole, show
from distill.datasets.coco import Coco, Record
from distill.datasets.conventions import Conventions
from distill.datasets.image_names import Images
from distill.files import read_bytes, said
from distill.predictions import boxes as box_math
from distill.program import UserError, log
from distill.strict import read_json

LOOKED_AT = 100_000  # records of a file that show its convention


class _Record(msgspec.Struct, gc=False):
    category_id: int | str
    bbox: tuple[float, float, float, float]
    score: float
    image_id: int | str | None = None
    file_name: str | None = None
    keypoints: tuple[float, ...] | None = None
    iscrowd: int = 0


class _Image(msgspec.Struct):
    id: int | str
    file_name: str


class _Category(msgspec.Struct):
    id: int | str
    name: str


class _AnnotationFile(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[dict[str, Any]]


@dataclass(frozen=True)
class Given:
    """The predictions of one file on the images of a dataset.

    place, category, score: (N,); place is the row of the image in the dataset's list, category an id.
    boxes: (N, 4) x1, y1, x2, y2 in the image.
    points: (N, K, 3) x, y, score; zeros of a category without keypoints. None where no record has keypoints.
    """

    place: np.ndarray
    category: np.ndarray
    score: np.ndarray
    boxes: np.ndarray
    points: np.ndarray | None


def read(path: str | Path, images: Images, categories: Sequence[Record], posed: bool) -> Given:
    """Reads and checks a file of another program's predictions.

    path: COCO results, or a COCO annotation file.
    images: of the dataset that they are on.
    categories: of the labelled dataset.
    posed: whether the categories that have keypoints need them.

    Returns the predictions on the dataset's images; what has no area in its image is left out.
    Raises UserError, with the file and the record, for an unknown image or category, boxes and keypoints in
    another frame, and scores that are not from 0 to 1.
    """
    found = _records(path)
    n = len(found)
    rows = _looked_up(path, found, images)
    ids = _categories(path, found, categories)
    score = np.fromiter((record.score for record in found), float, n)
    _refuse(path, ~((score >= 0) & (score <= 1)), lambda i: f"score {score[i]:g} is not from 0 to 1")
    xywh = np.array([record.bbox for record in found], float).reshape(n, 4)
    _refuse(
        path,
        ~(np.abs(xywh) < LARGEST).all(1),
        lambda i: f"bbox {_numbers(xywh[i])} is not four finite numbers",
    )
    _refuse(
        path,
        (xywh[:, 2:] < 0).any(1),
        lambda i: f"bbox {_numbers(xywh[i])} has a negative size: it has to be x, y, width, height",
    )
    points = _points(path, found, ids, categories, posed)
    here = rows >= 0
    _check_frame(path, found, images, rows)
    size = np.array([(image["width"], image["height"]) for image in images.records], float)[rows]
    boxes = box_math.xywh_to_xyxy(xywh)
    outside = here & ((boxes[:, 2:] < 0) | (boxes[:, :2] > size)).any(1)
    _refuse(path, outside, lambda i: _lies_outside(xywh[i], images.records[rows[i]]))
    boxes = np.concatenate([np.clip(boxes[:, :2], 0, size), np.clip(boxes[:, 2:], 0, size)], axis=1)
    crowd = np.fromiter((record.iscrowd for record in found), bool, n)
    keep = here & ~crowd & (box_math.area(boxes) > 0)
    if n and not here.any():
        raise UserError(
            f"{path}: none of its {n} records is on an image of the dataset that is to be labelled"
        )
    covered = len(np.unique(rows[keep]))
    values = (path, keep.sum(), covered, len(images.records), n - here.sum())
    log.info("%s: %d predictions on %d of %d images; %d on images of its sources passed over", *values)
    points = None if points is None else points[keep]
    return Given(rows[keep], ids[keep], score[keep], boxes[keep], points)


def _records(path: str | Path) -> list[_Record]:
    content = read_bytes(path)
    try:
        return msgspec.json.decode(content, type=list[_Record])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        del content
    values = read_json(path)  # which NaN and doubtful text pass, or are named
    if isinstance(values, dict) and "annotations" in values:
        values = _of_annotations(path, values)
    if not isinstance(values, list):
        wanted = "a list of {image_id, category_id, bbox, score} (COCO results), nor an annotation file"
        raise UserError(f"{path}: is not {wanted}")
    make_whole(values, ("image_id", "category_id"))
    found = []
    for i, value in enumerate(values):
        try:
            found.append(msgspec.convert(value, _Record))
        except msgspec.ValidationError as error:
            _wrong(path, i, said(error))
    return found


def _of_annotations(path: str | Path, content: Coco) -> list[Any]:
    """The annotations of a COCO dict as results: images and categories by the names that it gives them."""
    try:
        file = msgspec.convert(content, _AnnotationFile)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: is no COCO annotation file: {said(error)}") from None
    files = {image.id: image.file_name for image in file.images}
    names = {category.id: category.name for category in file.categories}
    results: list[Any] = []
    for i, annotation in enumerate(file.annotations):
        result = {"score": 1.0, **annotation}
        for key, name, table in (("image_id", "file_name", files), ("category_id", "category_id", names)):
            given = annotation.get(key)
            if not isinstance(given, int | str) or given not in table:
                there = "images" if table is files else "categories"
                _wrong(path, i, f"{key} {show(given)} is none of the {len(table)} {there} of the file")
            result[name] = table[given]
        points = annotation.get("keypoints")
        # How visible they are: 0, 1, 2. Beside a score they may be scores of keypoints instead.
        scored = "score" in annotation
        if isinstance(points, list) and (not scored or all(v in (0, 1, 2) for v in points[2::3])):
            clipped = [min(v, 1) if isinstance(v, int | float) else v for v in points[2::3]]
            result["keypoints"] = [*points]
            result["keypoints"][2::3] = clipped
        results.append(result)
    return results


def _wrong(path: str | Path, i: int, what: str) -> NoReturn:
    raise UserError(f"{path}: record {i} (from 0): {what}")


def _refuse(path: str | Path, wrong: ArrayLike, what: Callable[[int], str]) -> None:
    """Raises UserError for the first record of a mask (N,), with what(its number) is wrong."""
    wrong = np.asarray(wrong)
    if wrong.any():
        i = int(wrong.argmax())
        more = f" (and of {wrong.sum() - 1} more records)" if wrong.sum() > 1 else ""
        _wrong(path, i, what(i) + more)


def _numbers(values: np.ndarray) -> str:
    return f"[{', '.join(f'{value:g}' for value in values)}]"


def _looked_up(path: str | Path, found: Sequence[_Record], images: Images) -> np.ndarray:
    """(N,) rows of the records' images in the dataset, −1 of those that are passed over."""
    rows, known = np.empty(len(found), np.int64), {}
    called: dict[int, str] = {}
    for i, record in enumerate(found):
        key = record.image_id if record.file_name is None else record.file_name
        if key is None:
            _wrong(path, i, "says no image: neither image_id nor file_name")
        if key not in known:
            try:
                known[key] = images.row(key)
            except UserError as error:
                _wrong(path, i, f"image_id {error}")
            except KeyError:
                of = "file_name" if record.file_name is not None else "image_id"
                named = [images.records[0]["id"], images.records[0]["file_name"]]
                hint = f"the first is {named[0]}, {show(named[1])}"
                _wrong(path, i, f"{of} {show(key)} is none of the {len(images.records)} images; {hint}")
            name = str(PurePosixPath(key)) if isinstance(key, str) else ""
            if name and known[key] >= 0 and (first := called.setdefault(known[key], name)) != name:
                both = f"file_name {show(name)} and {show(first)} would be one image of the dataset"
                _wrong(path, i, f"{both}; leave out the records of one")
        rows[i] = known[key]
    return rows


def _categories(path: str | Path, found: Sequence[_Record], categories: Sequence[Record]) -> np.ndarray:
    """(N,) ids of the records' categories."""
    known = {category["name"]: category["id"] for category in categories}
    known |= {category["id"]: category["id"] for category in categories}
    ids = np.empty(len(found), np.int64)
    for i, record in enumerate(found):
        if record.category_id not in known:
            there = ", ".join(f"{category['id']} {category['name']}" for category in categories)
            what = f"category_id {show(record.category_id)} is no category of the labelled dataset"
            _wrong(path, i, f"{what}, which has {there:.200}")
        ids[i] = known[record.category_id]
    return ids


def _points(
    path: str | Path, found: Sequence[_Record], ids: np.ndarray, categories: Sequence[Record], posed: bool
) -> np.ndarray | None:
    """(N, K, 3) keypoints of all records, None where none has any."""
    counts = {category["id"]: len(category.get("keypoints") or ()) for category in categories}
    given = np.array([bool(record.keypoints) for record in found], bool)
    wanted = np.array([counts[category] > 0 for category in ids.tolist()], bool)
    if not posed and not given.any():
        return None
    _refuse(
        path, given & ~wanted, lambda i: "has keypoints, but its category in the labelled dataset has none"
    )
    _refuse(
        path,
        wanted & ~given,
        lambda i: "has no keypoints, which " + ("are to be learnt" if posed else "other records have"),
    )
    cells = max(counts.values())
    points = np.zeros((len(found), cells, 3))
    for i in np.flatnonzero(given).tolist():
        flat = found[i].keypoints or ()
        if len(flat) != 3 * cells:
            _wrong(path, i, f"has {len(flat) / 3:g} keypoints of x, y, score, not {cells}")
        points[i] = np.reshape(flat, (cells, 3))
    wrong = ~(np.abs(points) < LARGEST).all((1, 2))
    _refuse(path, wrong, lambda i: "has keypoints that are no finite numbers")
    score = points[..., 2]
    wrong = ((score < 0) | (score > 1)).any(1)
    _refuse(path, wrong, lambda i: f"a keypoint's score {_extreme(score[i]):g} is not from 0 to 1")
    return points


def _extreme(scores: np.ndarray) -> float:
    return float(scores.min() if scores.min() < 0 else scores.max())


def _check_frame(path: str | Path, found: Sequence[_Record], images: Images, rows: np.ndarray) -> None:
    """Raises UserError where the boxes or keypoints as a whole look like another convention."""
    conventions = Conventions("record")
    for i in np.flatnonzero(rows >= 0)[:LOOKED_AT].tolist():
        image, record = images.records[rows[i]], found[i]
        about = {"id": i, "image_id": image["id"], "bbox": record.bbox, "keypoints": record.keypoints}
        conventions.add(about, (image["width"], image["height"]))
    conventions.refuse(path)


def _lies_outside(box: np.ndarray, image: Record) -> str:
    size = f"{image['width']}x{image['height']} pixels"
    return f"bbox {_numbers(box)} lies outside its image, {show(image['file_name'])} of {size}"
