"""Merges the predictions of one shard of a dataset under several views into results in the original image.

Each prediction file is of one model and one view and is not inverted; its header names the view. The files
of several models on the same images merge alike (each pair of model and view once).
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from distill.datasets.checks import MAX_SIDE
from distill.files import read_json
from distill.predictions import boxes as box_math
from distill.predictions import coco_results, heatmap_file, heatmaps, voting
from distill.predictions.views import View, reach_around
from distill.program import UserError

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


Side = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE)]


class _Image(msgspec.Struct):
    id: coco_results.Id
    width: Side
    height: Side
    view_width: Side
    view_height: Side


class _Header(msgspec.Struct):
    view: str
    model: str
    dataset: str
    images: list[_Image]


# Of one image under one view: boxes (n, 4; x1, y1, x2, y2, in the original image), scores, categories, and
# the ids of the shared boxes that they were predicted in, −1 where there are none, (n,).
_Boxes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class _Shard:
    """The images of a shard, id → width, height: sizes. position: of an image among them; different: the
    sizes that there are, and shape (I,): which of them an image has."""

    def __init__(self, sizes: dict[int, tuple[int, int]]) -> None:
        self.sizes, self.different = sizes, list(dict.fromkeys(sizes.values()))
        self.position = {image_id: i for i, image_id in enumerate(sizes)}
        index = {size: i for i, size in enumerate(self.different)}
        self.shape = np.array([index[size] for size in sizes.values()], dtype=np.int64)


def merge_boxes(paths: Sequence[str | Path], dataset: dict, options: Options) -> Iterator[dict]:
    """COCO results, image by image in the files' order, the best score first; a few images at a time are in
    memory, whatever the files' length.

    paths: JSON files of one shard, one for each view. dataset: COCO dict that holds the images. Boxes are
    inverted and clipped to the image, then the union of all views, or their average, votes; what has no area
    is dropped. Raises UserError where a file is missing or damaged, a view comes twice, or the files (or the
    dataset) disagree about the images, or for an average about the boxes.
    """
    known = {image["id"]: (image["width"], image["height"]) for image in dataset["images"]}
    seen: dict[Any, str | Path] = {}
    files: list[Iterator[_Boxes]] = []
    shard = _Shard({})
    for path in paths:
        view, sizes, blocks = _read_boxes(path, seen)
        if not files:
            shard = _Shard(sizes)
        if sizes != shard.sizes:
            raise UserError(f"{path}: its images are not those of {paths[0]}; {AGAIN}")
        files.append(_images(path, view, shard, blocks))
    for image_id, size in shard.sizes.items():
        if known.get(image_id) != size:
            raise UserError(f"{paths[0]}: image {image_id} of {size} is not in the dataset; {AGAIN}")
    for image_id, *views in zip(shard.sizes, *files, strict=True):
        if options.boxes == "average":
            views = [_average(views, paths)]
        boxes, scores, categories = (np.concatenate([view[i] for view in views]) for i in range(3))
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


def _read_boxes(path: str | Path, seen: dict) -> tuple[View, dict[int, tuple[int, int]], Iterator[bytes]]:
    """The view of a file, its images, id → width, height, and its records as `coco_results.read_lines`."""
    content, blocks = coco_results.read_lines(path, "predictions")
    try:
        header = msgspec.convert(content, _Header)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: not a file of predictions ({error}); {AGAIN}") from None
    try:
        view = View.parse(header.view)
    except UserError as error:
        raise UserError(f"{path}: {error}; {AGAIN}") from None
    _once(seen, (header.model, view.name), header.dataset, path)
    for image in header.images:
        if view.size(image.width, image.height) != (image.view_width, image.view_height):
            raise UserError(f"{path}: image {image.id} was not predicted in the size of {view.name}")
    return view, {image.id: (image.width, image.height) for image in header.images}, blocks


def _images(path: str | Path, view: View, shard: _Shard, blocks: Iterator[bytes]) -> Iterator[_Boxes]:
    """What was found on each image, in their order, in which the records must be."""
    done = 0

    def columns(block: bytes) -> list[np.ndarray]:
        """The records' places among the images, and what _Boxes has of them."""
        found = coco_results.decode(path, block, coco_results.Prediction)
        place = np.fromiter([shard.position.get(p.image_id, -1) for p in found], np.int64, len(found))
        if (np.diff(place, prepend=done) < 0).any():
            raise UserError(f"{path}: its records are not of its images in their order; {AGAIN}")
        _, categories, scores, boxes = coco_results.columns(found)
        boxes = box_math.xywh_to_xyxy(boxes)
        here = shard.shape[place]
        for i in np.unique(here):
            rows, size = here == i, shard.different[i]
            boxes[rows] = box_math.clip(view.inverse_boxes(boxes[rows], size), size)
        return [place, boxes, scores, categories, np.fromiter([p.id for p in found], np.int64, len(found))]

    waiting = columns(b"")
    for block in itertools.chain(blocks, [None]):
        if block is not None:
            waiting = [np.concatenate(pair) for pair in zip(waiting, columns(block), strict=True)]
        complete = len(shard.sizes) if block is None else waiting[0][-1]
        starts = np.searchsorted(waiting[0], np.arange(done, complete + 1))
        for rows in map(slice, starts[:-1], starts[1:]):
            yield tuple(column[rows] for column in waiting[1:])
        done, waiting = complete, [column[starts[-1] :] for column in waiting]


def _average(views: Sequence[_Boxes], paths: Sequence[str | Path]) -> _Boxes:
    """The mean over views of boxes and scores (Detectron's AVG heuristics): rows are of the same boxes."""
    first = views[0]
    for path, (_, _, categories, ids) in zip(paths, views, strict=True):
        if (ids < 0).any():
            raise UserError(f"{path}: its boxes are the view's own, of which there is no average; {AGAIN}")
        if not np.array_equal(ids, first[3]) or not np.array_equal(categories, first[2]):
            raise UserError(f"{path}: its boxes are not those of {paths[0]}; {AGAIN}")
    boxes, scores = (np.mean([view[i] for view in views], axis=0) for i in (0, 1))
    return boxes, scores, *first[2:]


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
    views = [header.view for header in headers]
    if options.size_dependent is not None and views and not reach_around(options.plain, views):
        raise UserError(
            f"merge: size_dependent needs views both up to and from the plain scale, {options.plain}; "
            f"these are {', '.join(view.name for view in views)}"
        )
    known = {image["id"] for image in dataset["images"]}
    expected = None if boxes is None else read_json(boxes, like=list[coco_results.Prediction])
    if expected is not None and headers and len(expected) != headers[0].count:
        raise UserError(f"{paths[0]}: {headers[0].count} instances where {boxes} has {len(expected)}")
    for start in range(0, headers[0].count if headers else 0, block):
        average = heatmaps.Average(options.average, headers[0].flip_pairs)
        first = None
        for path, header in zip(paths, headers, strict=True):
            rows = heatmap_file.read_blocks(path, start, start + block)
            if not all(np.isfinite(values).all() for values in (rows.heatmap, rows.box, rows.score)):
                raise UserError(f"{path}: its heatmaps or boxes are not finite; {AGAIN}")
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
