"""Merges the predictions of one shard of a dataset under several views into results in the original image.

Each prediction file is of one model and one view and is not inverted; its header names the view. The files
of several models on the same images merge alike (each pair of model and view once).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from distill import boxes as box_math
from distill import heatmap_file, heatmaps, voting
from distill.files import read_json
from distill.labels import read_records
from distill.program import UserError
from distill.views import View

AGAIN = "delete this shard's predictions and they are made again"


@dataclass(frozen=True)
class Options:
    """The merge options of a study. Raises UserError for values out of range.

    Of boxes: nms, vote, score, beta, max_per_image, see `voting.vote`; boxes: "union" of the views' boxes, or
    "average" of what every view makes of the same boxes. Of keypoints: average, see `heatmaps.Average`;
    size_dependent: None, or the area in pixels from which an object is large, see `heatmaps.counts`; plain:
    the plain view's scale, for it; upsample: see `heatmaps.decode`.
    """

    nms: float = 0.5
    vote: float = 0.8
    score: str = "id"
    beta: float = 1.0
    max_per_image: int = 100
    boxes: str = "union"
    average: str = "probability"
    size_dependent: float | None = None
    plain: int | None = None
    upsample: bool = False

    def __post_init__(self) -> None:
        for key, value in (("nms", self.nms), ("vote", self.vote)):
            if not 0 < value <= 1:
                raise UserError(f"merge: {key} must be an IoU above 0 and up to 1, not {value!r}")
        if self.max_per_image < 1:
            raise UserError(f"merge: max_per_image must be at least 1, not {self.max_per_image!r}")
        if self.boxes not in ("union", "average"):
            raise UserError(f"merge: boxes is {self.boxes!r}; it is union or average")
        if self.size_dependent is not None and self.plain is None:
            raise UserError("merge: size_dependent needs the scale of the plain view, plain")
        voting.check(self.score, self.beta)
        heatmaps.check(self.average)


@dataclass(frozen=True)
class _Boxes:
    """One file's boxes (n, 4; x1, y1, x2, y2, in the original image), scores and categories, (n,), sorted by
    image; those of image i of the shard are rows starts[i] … starts[i + 1] − 1. ids: of the shared boxes that
    they were predicted in, (n,), −1 where there are none."""

    sizes: dict[int, tuple[int, int]]  # image id → width, height
    boxes: np.ndarray
    scores: np.ndarray
    categories: np.ndarray
    ids: np.ndarray
    starts: np.ndarray


def merge_boxes(paths: Sequence[str | Path], dataset: dict, options: Options) -> Iterator[dict]:
    """COCO results, image by image in the files' order, the best score first.

    paths: JSON files of one shard, one for each view. dataset: COCO dict that holds the images. Boxes are
    inverted and clipped to the image, then the union of all views, or their average, votes; what has no area
    is dropped. Raises UserError where a file is missing or damaged, a view comes twice, or the files (or the
    dataset) disagree about the images, or for an average about the boxes.
    """
    known = {image["id"]: (image["width"], image["height"]) for image in dataset["images"]}
    seen: dict[Any, str | Path] = {}
    files = []
    for path in paths:
        content = _read_boxes(path, seen)
        if files and content.sizes != files[0].sizes:
            raise UserError(f"{path}: its images are not those of {paths[0]}; {AGAIN}")
        for image_id, size in content.sizes.items():
            if known.get(image_id) != size:
                raise UserError(f"{path}: image {image_id} of {size} is not in the dataset; {AGAIN}")
        files.append(content)
    if options.boxes == "average":
        files = files and [_average(files, paths)]
    for i, image_id in enumerate(files[0].sizes if files else ()):
        rows = [slice(*file.starts[i : i + 2]) for file in files]
        boxes, scores, categories = (
            np.concatenate([getattr(file, key)[at] for file, at in zip(files, rows, strict=True)])
            for key in ("boxes", "scores", "categories")
        )
        inside = box_math.area(boxes) > 0
        boxes, scores, categories = voting.vote(
            boxes[inside], scores[inside], categories[inside],
            nms=options.nms, vote=options.vote, rule=options.score, beta=options.beta,
            max_per_image=options.max_per_image,
        )  # fmt: skip
        boxes = np.round(box_math.xyxy_to_xywh(np.round(boxes, 3)), 3).tolist()
        columns = (categories.tolist(), boxes, np.round(scores, 6).tolist())
        for category, box, score in zip(*columns, strict=True):
            yield {"image_id": image_id, "category_id": category, "bbox": box, "score": score}


def _read_boxes(path: str | Path, seen: dict) -> _Boxes:
    content = read_json(path)
    try:
        view = View.parse(content["view"])
        _once(seen, (content["model"], view.name), content["dataset"], path)
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        records = content["predictions"]
        position = {image_id: i for i, image_id in enumerate(sizes)}
        place = np.array([position[record["image_id"]] for record in records], dtype=np.int64)
        order = np.argsort(place, kind="stable")
        boxes = np.array([record["bbox"] for record in records], dtype=np.float64).reshape(len(records), 4)
        scores = np.array([record["score"] for record in records], dtype=np.float64)
        categories = np.array([record["category_id"] for record in records], dtype=np.int64)
        ids = np.array([record.get("id", -1) for record in records], dtype=np.int64)
        for image in content["images"]:
            if view.size(image["width"], image["height"]) != (image["view_width"], image["view_height"]):
                raise UserError(f"{path}: image {image['id']} was not predicted in the size of {view.name}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: not a file of box predictions ({reason}); {AGAIN}") from None
    starts = np.searchsorted(place[order], np.arange(len(sizes) + 1))
    boxes = box_math.xywh_to_xyxy(boxes[order])
    for i, size in enumerate(sizes.values()):
        rows = slice(*starts[i : i + 2])
        boxes[rows] = box_math.clip(view.inverse_boxes(boxes[rows], size), size)
    return _Boxes(sizes, boxes, scores[order], categories[order], ids[order], starts)


def _average(files: Sequence[_Boxes], paths: Sequence[str | Path]) -> _Boxes:
    """The mean over files of boxes and scores (Detectron's AVG heuristics): rows are of the same boxes."""
    first = files[0]
    for path, file in zip(paths, files, strict=True):
        if (file.ids < 0).any():
            raise UserError(f"{path}: its boxes are the view's own, of which there is no average; {AGAIN}")
        if not np.array_equal(file.ids, first.ids) or not np.array_equal(file.categories, first.categories):
            raise UserError(f"{path}: its boxes are not those of {paths[0]}; {AGAIN}")
    boxes, scores = (np.mean([getattr(file, key) for file in files], axis=0) for key in ("boxes", "scores"))
    return replace(first, boxes=boxes, scores=scores)


def merge_heatmaps(
    paths: Sequence[str | Path],
    dataset: dict,
    options: Options,
    boxes: str | Path | None = None,
    block: int = 64,
) -> Iterator[dict]:
    """COCO keypoint results in the files' order, `block` instances at a time whatever the files' length.

    paths: HDF5 files of one shard, one for each view, whose rows are the same instances. boxes: the JSON file
    of these instances, to be compared. A keypoint's score is the merged probability at its peak,
    keypoint_logits the mean logit there; the score of the instance is the box's. Raises UserError where a
    file is missing or damaged, a view comes twice, or files disagree.
    """
    headers = [heatmap_file.read_header(path) for path in paths]
    seen: dict[Any, str | Path] = {}
    for path, header in zip(paths, headers, strict=True):
        _once(seen, (header.model, header.view.name), header.dataset, path)
        for what in ("count", "size", "keypoint_names", "flip_pairs"):
            if getattr(header, what) != getattr(headers[0], what):
                raise UserError(f"{path}: its {what} differs from that of {paths[0]}; {AGAIN}")
    scales = [header.view.scale for header in headers]
    if options.size_dependent is not None and headers and not min(scales) <= options.plain <= max(scales):
        raise UserError(
            f"merge: size_dependent needs views both up to and from the plain scale, {options.plain}; "
            f"these are from {min(scales)} to {max(scales)}"
        )
    known = {image["id"] for image in dataset["images"]}
    expected = None if boxes is None else read_json(boxes)
    if expected is not None and headers and len(expected) != headers[0].count:
        raise UserError(f"{paths[0]}: {headers[0].count} instances where {boxes} has {len(expected)}")
    for start in range(0, headers[0].count if headers else 0, block):
        average = heatmaps.Average(options.average, headers[0].flip_pairs)
        first = None
        for path, header in zip(paths, headers, strict=True):
            rows = heatmap_file.read_blocks(path, start, start + block)
            first = first or rows
            if any(not np.array_equal(getattr(rows, c), getattr(first, c)) for c in heatmap_file.COLUMNS):
                raise UserError(f"{path}: its instances are not those of {paths[0]}; {AGAIN}")
            used = None
            if options.size_dependent is not None:
                areas = rows.box[:, 2] * rows.box[:, 3]
                used = heatmaps.counts(header.view, options.plain, areas, options.size_dependent)
            average.add(rows.heatmap, header.view, used)
        if expected is not None and not _same(first, expected[start : start + block]):
            raise UserError(f"{paths[0]}: its instances are not those of {boxes}; {AGAIN}")
        if unknown := set(first.image_id.tolist()) - known:
            raise UserError(f"{paths[0]}: image {min(unknown)} is not in the dataset; {AGAIN}")
        yield from _keypoint_records(first, average, options)


def _keypoint_records(
    rows: heatmap_file.Block, average: heatmaps.Average, options: Options
) -> Iterator[dict]:
    boxes = box_math.xywh_to_xyxy(rows.box)
    points, scores, logits = heatmaps.decode(*average.result(), boxes, options.upsample)
    scores = np.round(scores.astype(np.float64), 6)
    keypoints = np.concatenate([np.round(points, 2), scores[..., None]], axis=-1)
    columns = (
        rows.image_id,
        rows.category_id,
        np.round(rows.box, 3),
        np.round(rows.score, 6),
        keypoints.reshape(len(keypoints), -1),
        np.round(logits.astype(np.float64), 3),
    )
    names = ("image_id", "category_id", "bbox", "score", "keypoints", "keypoint_logits")
    for values in zip(*(column.tolist() for column in columns), strict=True):
        yield dict(zip(names, values, strict=True))


def gather(paths: Sequence[str | Path]) -> Iterator[dict]:
    """The records of merged shards one after the other; one shard is in memory at a time.

    Raises UserError where a file is missing or damaged, or an image is in two shards.
    """
    seen: dict[Any, str | Path] = {}
    for path in paths:
        records = read_json(path)
        if not isinstance(records, list) or not all(isinstance(r, dict) and "image_id" in r for r in records):
            raise UserError(f"{path}: not a list of COCO results; merge that shard again")
        for image_id in {record["image_id"] for record in records}:
            if seen.setdefault(image_id, path) is not path:
                raise UserError(f"{path}: image {image_id} is in {seen[image_id]} too")
        yield from records


def select(merged: str | Path, dataset: dict) -> Iterator[dict]:
    """The merged records on the images of a subset, streamed. Raises UserError as `read_records`."""
    images = {image["id"] for image in dataset["images"]}
    return (record for record in read_records(merged) if record["image_id"] in images)


def _once(seen: dict, key: tuple[str, str], dataset: str, path: str | Path) -> None:
    if key in seen:
        raise UserError(f"{path}: view {key[1]} of model {key[0]} comes twice, {seen[key]} has it too")
    seen[key] = path
    if seen.setdefault("dataset", dataset) != dataset:
        raise UserError(f"{path}: predictions of {dataset}, the other files' are of {seen['dataset']}")


def _same(rows: heatmap_file.Block, records: list[dict]) -> bool:
    return (
        rows.image_id.tolist() == [record["image_id"] for record in records]
        and rows.category_id.tolist() == [record["category_id"] for record in records]
        and np.array_equal(rows.box, [record["bbox"] for record in records])
    )
