"""Merges the predictions of one shard of a dataset under several views into results in the original image.

Each prediction file is of one model and one view, which its header names, and is not inverted. The files of
several models on the same images are merged in the same way; each pair of model and view may come once.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from distill.datasets.checks import MAX_SIDE
from distill.datasets.coco import Coco
from distill.files import read_json
from distill.predictions import boxes as box_math
from distill.predictions import coco_results, heatmap_file, heatmaps, voting
from distill.predictions.views import View, reach_around
from distill.program import UserError

AGAIN = "delete this shard's predictions and they are made again"


@dataclass(frozen=True)
class Options:
    """The merge options of a study; its schema has their defaults. Raises UserError for values out of range.

    Of boxes:
    nms, vote, score (its `rule`), beta, max_per_image: see `voting.vote`.
    boxes: "union" of the views' boxes, or "average" of what every view makes of the fixed boxes.

    Of keypoints:
    average: see `heatmaps.Average`.
    size_dependent: the area (pixels of the image) from which an object is large; None: size does not matter.
    plain: the scale of the plain view, for size_dependent; see `heatmaps.counts`.
    upsample: see `heatmaps.decode`.
    """

    nms: float
    vote: float
    score: str
    beta: float
    max_per_image: int
    boxes: str
    average: str
    size_dependent: float | None
    upsample: bool
    plain: int

    def __post_init__(self) -> None:
        for key, value in (("nms", self.nms), ("vote", self.vote)):
            if not 0 < value <= 1:
                raise UserError(f"merge: {key} must be an IoU above 0 and up to 1, not {value!r}")
        if self.max_per_image < 1:
            raise UserError(f"merge: max_per_image must be at least 1, not {self.max_per_image!r}")
        if self.boxes not in ("union", "average"):
            raise UserError(f"merge: boxes is {self.boxes!r}; it is union or average")
        voting.check(self.score, self.beta)
        heatmaps.check(self.average)

    def serves_all_sizes(self, views: Iterable[View]) -> bool:
        """Whether objects of every size have a view that counts for them, see `views.reach_around`."""
        return self.size_dependent is None or self.plain is None or reach_around(self.plain, views)

    def counting(self, view: View, boxes: np.ndarray) -> np.ndarray | None:
        """(n,) bool: which of the boxes (n, 4; x, y, w, h) a view counts for; None: all of them."""
        if self.size_dependent is None or self.plain is None:
            return None
        return heatmaps.counts(view, self.plain, boxes[:, 2] * boxes[:, 3], self.size_dependent)


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
# the ids of the fixed boxes that they were predicted in, −1 where there are none, (n,).
Boxes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class _Shard:
    """The I images of a shard in their order. sizes: id → (width, height); position: id → its place in the
    order; different: the sizes that there are; shape (I,): which of `different` each image has."""

    def __init__(self, sizes: dict[int, tuple[int, int]]) -> None:
        self.sizes, self.different = sizes, list(dict.fromkeys(sizes.values()))
        self.position = {image_id: i for i, image_id in enumerate(sizes)}
        index = {size: i for i, size in enumerate(self.different)}
        self.shape = np.array([index[size] for size in sizes.values()], dtype=np.int64)


def merge_boxes(paths: Sequence[str | Path], dataset: Coco, options: Options) -> Iterator[dict]:
    """Merges boxes: they are inverted and clipped to the image, then the union of all views, or their
    average, goes through NMS and voting. What has no area is dropped.

    paths: JSON files of one shard, one for each view.
    dataset: a COCO dict that holds the images.

    Yields COCO results, image by image in the files' order, the best score first; a few images at a time are
    in memory, however long the files are.
    Raises UserError where a file is missing or damaged, a view comes twice, or the files (or the dataset)
    disagree about the images, or for an average about the boxes.
    """
    known = {image["id"]: (image["width"], image["height"]) for image in dataset["images"]}
    seen: dict[Any, str | Path] = {}
    files: list[Iterator[Boxes]] = []
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
        yield from box_records(image_id, views, options, paths)


def box_records(
    image_id: int, views: Sequence[Boxes], options: Options, names: Sequence[str | Path]
) -> Iterator[dict]:
    """Merges the boxes of one image as `merge_boxes` does. names: of the views' files, for messages."""
    if options.boxes == "average":
        views = [_average(views, names)]
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
    """The view of a file, its images (id → (width, height)), and its records as `coco_results.read_lines`."""
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


def _images(path: str | Path, view: View, shard: _Shard, blocks: Iterator[bytes]) -> Iterator[Boxes]:
    """What was found on each image of the shard, in its order, which the records must follow."""
    done = 0

    def columns(block: bytes) -> list[np.ndarray]:
        """The place of each record's image in the shard, and the columns of Boxes."""
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
            boxes, scores, categories, ids = (column[rows] for column in waiting[1:])
            yield boxes, scores, categories, ids
        done, waiting = complete, [column[starts[-1] :] for column in waiting]


def _average(views: Sequence[Boxes], paths: Sequence[str | Path]) -> Boxes:
    """The mean over views of boxes and scores (Detectron's AVG heuristics); rows are the same boxes in
    all."""
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
    dataset: Coco,
    options: Options,
    boxes: str | Path | None = None,
    block: int = 64,
) -> Iterator[dict]:
    """Merges heatmaps. A keypoint's score is the merged probability at its peak, keypoint_logits the merged
    logit there; an instance's score is that of its box.

    paths: HDF5 files of one shard, one for each view, whose rows are the same instances.
    dataset: a COCO dict that holds the images.
    boxes: the JSON file of the instances (fixed boxes), to compare with; None: nothing is compared.
    block: instances that are in memory at a time.

    Yields COCO keypoint results in the files' order.
    Raises UserError where a file is missing or damaged, a view comes twice, or files disagree.
    """
    headers = _read_headers(paths)
    views = [header.view for header in headers]
    if views and not options.serves_all_sizes(views):
        raise UserError(
            f"merge: size_dependent needs views both up to and from the plain scale, {options.plain}; "
            f"these are {', '.join(view.name for view in views)}"
        )
    known = {image["id"] for image in dataset["images"]}
    expected = None if boxes is None else read_json(boxes, like=list[coco_results.Prediction])
    if expected is not None and headers and len(expected) != headers[0].count:
        raise UserError(f"{paths[0]}: {headers[0].count} instances where {boxes} has {len(expected)}")
    for start in range(0, headers[0].count if headers else 0, block):
        rows, average = _average_heatmaps(paths, headers, options, start, start + block)
        if expected is not None and not _same(rows, expected[start : start + block]):
            raise UserError(f"{paths[0]}: its instances are not those of {boxes}; {AGAIN}")
        if unknown := set(rows.image_id.tolist()) - known:
            raise UserError(f"{paths[0]}: image {min(unknown)} is not in the dataset; {AGAIN}")
        yield from keypoint_records(rows, average, options)


def _read_headers(paths: Sequence[str | Path]) -> list[heatmap_file.Header]:
    """The files' headers, which agree about the instances and keypoints."""
    headers = [heatmap_file.read_header(path) for path in paths]
    seen: dict[Any, str | Path] = {}
    for path, header in zip(paths, headers, strict=True):
        _once(seen, (header.model, header.view.name), header.dataset, path)
        for what in ("count", "size", "keypoint_names", "flip_pairs"):
            if getattr(header, what) != getattr(headers[0], what):
                raise UserError(f"{path}: its {what} differs from that of {paths[0]}; {AGAIN}")
    return headers


def _average_heatmaps(
    paths: Sequence[str | Path],
    headers: Sequence[heatmap_file.Header],
    options: Options,
    start: int,
    stop: int,
) -> tuple[heatmap_file.Block, heatmaps.Average]:
    """Rows start … stop − 1 of the first file, and the average of the heatmaps that all have of them."""
    average = heatmaps.Average(options.average, headers[0].flip_pairs)
    blocks = (heatmap_file.read_blocks(path, start, stop) for path in paths)
    first = next(blocks)
    for path, header, rows in zip(paths, headers, itertools.chain([first], blocks), strict=True):
        if not all(np.isfinite(values).all() for values in (rows.heatmap, rows.box, rows.score)):
            raise UserError(f"{path}: its heatmaps or boxes are not finite; {AGAIN}")
        if any(not np.array_equal(getattr(rows, c), getattr(first, c)) for c in heatmap_file.COLUMNS):
            raise UserError(f"{path}: its instances are not those of {paths[0]}; {AGAIN}")
        average.add(rows.heatmap, header.view, options.counting(header.view, rows.box))
    return first, average


def keypoint_records(rows: heatmap_file.Block, average: heatmaps.Average, options: Options) -> Iterator[dict]:
    """Keypoints of merged heatmaps of instances, `rows`, as `merge_heatmaps` yields them."""
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
