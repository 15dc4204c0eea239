"""Merges the predictions of one shard of a dataset under several views into results in the original image.

Each prediction file is of one model and one view, which its header names, and is not inverted. The files of
several models on the same images are merged in the same way; each pair of model and view may come once.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from distill.datasets.checks import Side
from distill.datasets.coco import Coco
from distill.predictions import boxes as box_math
from distill.predictions import coco_results, heatmaps, voting
from distill.predictions.agreement import of_boxes
from distill.predictions.views import View, reach_around
from distill.program import UserError, progress

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

    @property
    def voting(self) -> dict[str, Any]:
        """The arguments of `voting.vote`."""
        return dict(
            nms=self.nms, vote=self.vote, rule=self.score, beta=self.beta, max_per_image=self.max_per_image
        )

    def serves_all_sizes(self, views: Iterable[View]) -> bool:
        """Whether objects of every size have a view that counts for them, see `views.reach_around`."""
        return self.size_dependent is None or reach_around(self.plain, views)

    def counting(self, view: View, boxes: np.ndarray) -> np.ndarray | None:
        """(n,) bool: which of the boxes (n, 4; x, y, w, h) a view counts for; None: all of them."""
        if self.size_dependent is None:
            return None
        return heatmaps.counts(view, self.plain, boxes[:, 2] * boxes[:, 3], self.size_dependent)


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
    found = zip(shard.sizes, *files, strict=True)
    for image_id, *views in progress(found, len(shard.sizes), "merging the boxes of images"):
        yield from box_records(image_id, views, options, paths)


def box_records(
    image_id: int, views: Sequence[Boxes], options: Options, names: Sequence[str | Path]
) -> Iterator[dict]:
    """Merges the boxes of one image as `merge_boxes` does. names: of the views' files, for messages."""
    seen_by = np.repeat(np.arange(len(views)), [len(view[1]) for view in views])
    said = _union(views)
    boxes, scores, categories = _union([_average(views, names)]) if options.boxes == "average" else said
    inside = box_math.area(boxes) > 0
    elected = voting.vote(boxes[inside], scores[inside], categories[inside], **options.voting)
    boxes, scores, categories = elected[:3]
    agreement = np.round(of_boxes(boxes, categories, *said, seen_by, len(views)), 3).tolist()
    boxes = box_math.in_file(np.round(boxes, 3)).tolist()
    columns = (categories.tolist(), boxes, np.round(scores, 6).tolist(), agreement)
    for category, box, score, (found, overlap, mean) in zip(*columns, strict=True):
        yield {
            "image_id": image_id, "category_id": category, "bbox": box, "score": score,
            "agreement": {"views": found, "overlap": overlap, "score": mean},
        }  # fmt: skip


def _union(views: Sequence[Boxes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and categories of all views together."""
    boxes, scores, categories = (np.concatenate([view[i] for view in views]) for i in range(3))
    return boxes, scores, categories


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
    once(seen, (header.model, view.name), header.dataset, path)
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


def once(seen: dict, key: tuple[str, str], dataset: str, path: str | Path) -> None:
    """UserError where a pair of model and view was `seen` before, or the files are of several datasets."""
    if key in seen:
        raise UserError(f"{path}: view {key[1]} of model {key[0]} comes twice, {seen[key]} has it too")
    seen[key] = path
    if seen.setdefault("dataset", dataset) != dataset:
        raise UserError(f"{path}: predictions of {dataset}, the other files' are of {seen['dataset']}")
