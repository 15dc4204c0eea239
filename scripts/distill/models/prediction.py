"""Files of what a model predicts under one view, in its pixels: boxes, or heatmaps in given boxes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from distill.datasets.dataset_file import read_dataset, root_of
from distill.datasets.keypoint_meta import keypoint_meta
from distill.files import write_json
from distill.models.predictor import Predictor
from distill.models.sources import Image, in_order_of_shape
from distill.predictions.boxes import in_file, xywh_to_xyxy
from distill.predictions.fixed_boxes import FixedBoxes, fixed
from distill.predictions.heatmap_file import LOGITS
from distill.predictions.heatmap_writer import writing
from distill.predictions.views import View
from distill.program import UserError

T = TypeVar("T")


def shard(items: Sequence[T], index: int, count: int) -> Sequence[T]:
    """The contiguous shard `index` of `count`: every item is in exactly one, sizes differ by at most 1.
    Raises UserError where there is no such shard."""
    if not 0 <= index < count:
        raise UserError(f"there is no shard {index} of {count}; shards are 0 to {count - 1}")
    return items[index * len(items) // count : (index + 1) * len(items) // count]


def read_shard(dataset: Path, index: int, count: int) -> tuple[dict, Path, list[Image]]:
    """A dataset's JSON, image root, and the images of one shard in order of shape."""
    coco = read_dataset(dataset)
    return coco, root_of(coco, dataset), in_order_of_shape(shard(coco["images"], index, count))


def results(image_ids: Any, category_ids: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> list[dict]:
    """Records of COCO's results format.

    image_ids: (n,), or one of all.
    category_ids, scores: (n,).
    boxes: (n, 4) x1, y1, x2, y2.
    """
    columns = (
        np.broadcast_to(image_ids, len(scores)),
        category_ids,
        in_file(boxes),
        np.round(scores, 6),
    )
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for image, category, box, score in zip(*(column.tolist() for column in columns), strict=True)
    ]


def detect_boxes(
    model: Path,
    dataset: Path,
    view: View,
    shards: tuple[int, int],
    fixed_boxes: dict,
    output: Path,
    **options,
) -> None:
    """Writes the fixed boxes of a shard: those that the model detects under `view` and that can still become
    labels or count in AP, in pixels of the original image (COCO results with ids).

    model: its folder.
    dataset: JSON.
    shards: (which, of how many).
    fixed_boxes: min_score, and per_image, how many of an image at most.
    options: of `Predictor`.
    """
    _, root, images = read_shard(dataset, *shards)

    def records() -> Iterator[dict[str, Any]]:
        for image, found in Predictor(model, **options).boxes(root, images, view):
            boxes, rows = fixed(found, view, (image["width"], image["height"]), fixed_boxes)
            yield from results(image["id"], found["category_ids"][rows], boxes, found["scores"][rows])

    write_json(output, ({"id": number, **record} for number, record in enumerate(records(), 1)))


def predict_boxes(
    model: Path,
    dataset: Path,
    view: View,
    shards: tuple[int, int],
    output: Path,
    boxes: Path | None = None,
    **options,
) -> None:
    """Writes the boxes under one view, not inverted: JSON of view, model, dataset, images with their sizes,
    and predictions (COCO results).

    model: its folder.
    dataset: JSON.
    shards: (which, of how many).
    boxes: a file of `detect_boxes`; each of its boxes, with its id and category, is refined and scored by the
        box head under the view. Without, those that the model proposes itself.
    options: of `Predictor`.

    Raises UserError where the boxes are not of these images, or of a category that the model does not know.
    """
    _, root, images = read_shard(dataset, *shards)
    predictor = Predictor(model, **options)
    records: Iterable[dict[str, Any]]
    if boxes is None:
        records = chain.from_iterable(
            results(image["id"], found["category_ids"], found["boxes"], found["scores"])
            for image, found in predictor.boxes(root, images, view)
        )
    else:
        if "refine" not in predictor.kind.can:
            raise UserError(f"{model}: scores no given boxes; only the R-CNNs of config/models do")
        shared = FixedBoxes.read(boxes, images, dataset)
        if unknown := set(shared.category_ids.tolist()) - set(predictor.category_ids.tolist()):
            raise UserError(f"{boxes}: category {min(unknown)} is unknown to {model}, so they share no boxes")
        columns = predictor.places(shared.category_ids)
        xyxy, scores, done = [np.zeros((0, 4))], [np.zeros(0)], 0
        for _, refined, likely in predictor.refined(root, shared.images, shared.regions, view):
            rows = np.arange(len(likely)), columns[done : done + len(likely)]  # in the file's order
            done += len(likely)
            xyxy.append(refined[rows])
            scores.append(likely[rows])
        joined = np.concatenate(xyxy), np.concatenate(scores)
        records = results(shared.image_ids, shared.category_ids, *joined)
        records = [{"id": number, **one} for number, one in zip(shared.ids.tolist(), records, strict=True)]
    keys = ("id", "width", "height", "view_width", "view_height")
    sizes = [(image["width"], image["height"]) for image in images]
    header = [
        dict(zip(keys, (image["id"], *size, *view.size(*size)), strict=True))
        for image, size in zip(images, sizes, strict=True)
    ]
    names = {"view": view.name, "model": predictor.meta["model"], "dataset": dataset.stem}
    write_json(output, {**names, "images": header, "predictions": records})


def predict_heatmaps(
    model: Path,
    dataset: Path,
    view: View,
    shards: tuple[int, int],
    output: Path,
    boxes: Path | None = None,
    **options,
) -> None:
    """Writes the heatmaps of given boxes under one view, not inverted, in the boxes' order (`heatmap_file`).

    model: its folder.
    dataset: JSON.
    shards: (which, of how many).
    boxes: a file of `detect_boxes`.
    options: of `Predictor`.

    Raises UserError where the model has no keypoint head, or the boxes are not of these images.
    """
    _, root, images = read_shard(dataset, *shards)
    predictor = Predictor(model, **options)
    meta = keypoint_meta({"categories": predictor.meta["categories"]})
    if meta is None or "heatmaps" not in predictor.kind.can:
        raise UserError(f"{model}: has no keypoint head")
    if boxes is None:
        raise UserError("heatmaps are predicted in fixed boxes: give --boxes, a file of detect_boxes.py")
    shared = FixedBoxes.read(boxes, images, dataset)
    layout, region = LOGITS, shared.xywh
    predict: Callable[..., Iterator[Any]] = predictor.heatmaps
    if "crops" in predictor.kind.can:
        layout, predict = predictor.kind.layout(predictor.network), predictor.crops
        crop = predictor.kind.crop(predictor.network)
        region = crop.regions(xywh_to_xyxy(shared.xywh), view.padding)
    done = 0
    with writing(output, view, predictor.meta["model"], dataset.stem, meta, layout) as writer:
        for maps in predict(root, shared.images, shared.regions, view):
            rows = slice(done, done + len(maps[0] if isinstance(maps, tuple) else maps))
            columns = (shared.image_ids, shared.xywh, shared.scores, shared.category_ids)
            image_id, box, score, category_id = (column[rows] for column in columns)
            writer.append(maps, image_id, box, score, category_id, region[rows])
            done = rows.stop
