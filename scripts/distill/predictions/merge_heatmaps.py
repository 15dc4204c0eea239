"""Merges the keypoint heatmaps of one shard of a dataset under several views into results in the original
image; of boxes, and what both have in common, is `merge`."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.datasets.coco import Coco
from distill.files import read_json
from distill.predictions import boxes as box_math
from distill.predictions import coco_results, crop_heatmaps, heatmap_file, heatmaps
from distill.predictions.agreement import entropy
from distill.predictions.merge import AGAIN, Options, once
from distill.predictions.views import View, check_crops
from distill.program import UserError, progress


def merge_heatmaps(
    paths: Sequence[str | Path],
    dataset: Coco,
    options: Options,
    boxes: str | Path | None = None,
    block: int = 64,
) -> Iterator[dict]:
    """Merges heatmaps. A keypoint's score is the merged probability at its peak, keypoint_logits the merged
    logit there; of crops, the score is as `codecs.decode` says. An instance's score is that of its box.

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
    if views and headers[0].layout.kind != "logits":
        check_options(views, headers[0].layout.kind, options)
        base = crop_heatmaps.first_frame(views)
        paths, headers = ([of[base], *of[:base], *of[base + 1 :]] for of in (list(paths), headers))
    known = {image["id"] for image in dataset["images"]}
    expected = None if boxes is None else read_json(boxes, like=list[coco_results.Prediction])
    if expected is not None and headers and len(expected) != headers[0].count:
        raise UserError(f"{paths[0]}: {headers[0].count} instances where {boxes} has {len(expected)}")
    starts = range(0, headers[0].count if headers else 0, block)
    for start in progress(starts, len(starts), f"merging blocks of {block} instances"):
        rows, average = _average_heatmaps(paths, headers, options, start, start + block)
        if expected is not None and not _same(rows, expected[start : start + block]):
            raise UserError(f"{paths[0]}: its instances are not those of {boxes}; {AGAIN}")
        if unknown := set(rows.image_id.tolist()) - known:
            raise UserError(f"{paths[0]}: image {min(unknown)} is not in the dataset; {AGAIN}")
        yield from keypoint_records(rows, average, options)


def check_options(views: Sequence[View], kind: str, options: Options) -> None:
    """Raises UserError for views and merge options that are not for heatmaps of crops, of their kind."""
    check_crops(dict.fromkeys(views), "merge")
    if options.average != "probability" or options.upsample:
        what = "upsample" if options.upsample else f"average: {options.average}"
        raise UserError(f"merge: {what} is for Keypoint R-CNN's heatmaps of logits; these are {kind}")


def _read_headers(paths: Sequence[str | Path]) -> list[heatmap_file.Header]:
    """The files' headers, which agree about the instances and keypoints."""
    headers = [heatmap_file.read_header(path) for path in paths]
    seen: dict[Any, str | Path] = {}
    for path, header in zip(paths, headers, strict=True):
        once(seen, (header.model, header.view.name), header.dataset, path)
        for what in ("count", "layout", "keypoint_names", "flip_pairs"):
            if getattr(header, what) != getattr(headers[0], what):
                raise UserError(f"{path}: its {what} differs from that of {paths[0]}; {AGAIN}")
    return headers


def _average_heatmaps(
    paths: Sequence[str | Path],
    headers: Sequence[heatmap_file.Header],
    options: Options,
    start: int,
    stop: int,
) -> tuple[heatmap_file.Block, heatmaps.Average | crop_heatmaps.CropAverage]:
    """Rows start … stop − 1 of the first file, and the average of the heatmaps that all have of them."""
    blocks = (heatmap_file.read_block(path, start, stop) for path in paths)
    first = next(blocks)
    layout, pairs = headers[0].layout, headers[0].flip_pairs
    average: heatmaps.Average | crop_heatmaps.CropAverage = (
        heatmaps.Average(options.average, pairs)
        if layout.kind == "logits"
        else crop_heatmaps.CropAverage(layout, pairs, first.region)
    )
    for path, header, rows in zip(paths, headers, itertools.chain([first], blocks), strict=True):
        if not all(np.isfinite(values).all() for values in (*rows.maps, rows.box, rows.region, rows.score)):
            raise UserError(f"{path}: its heatmaps or boxes are not finite; {AGAIN}")
        if any(not np.array_equal(getattr(rows, c), getattr(first, c)) for c in heatmap_file.COLUMNS):
            raise UserError(f"{path}: its instances are not those of {paths[0]}; {AGAIN}")
        counting = options.counting(header.view, rows.box)
        if isinstance(average, heatmaps.Average):
            average.add(rows.heatmap, header.view, counting)
        elif (rows.region[:, 2:] > 0).all():
            average.add(rows.maps, header.view, rows.region, counting)
        else:
            raise UserError(f"{path}: its regions have no area; {AGAIN}")
    return first, average


def keypoint_records(
    rows: heatmap_file.Block, average: heatmaps.Average | crop_heatmaps.CropAverage, options: Options
) -> Iterator[dict]:
    """Keypoints of merged heatmaps of instances, `rows`, as `merge_heatmaps` yields them."""
    more: dict[str, np.ndarray] = {}
    if isinstance(average, heatmaps.Average):
        boxes = box_math.xywh_to_xyxy(rows.box)
        probability, logit = average.result()
        points, scores, logits = heatmaps.decode(probability, logit, boxes, options.upsample)
        more["keypoint_logits"] = np.round(logits.astype(np.float64), 3)
        spread = average.peaks.spread(points, boxes, probability.shape[2:])
        unsure = entropy(probability)
    else:
        points, scores = average.keypoints()
        spread, unsure = average.spread(points), average.entropy(scores)
    agreement = {"spread": np.round(spread, 2), "entropy": np.round(unsure.astype(np.float64), 3)}
    scores = np.round(scores.astype(np.float64), 6)
    keypoints = np.concatenate([np.round(points, 2), scores[..., None]], axis=-1)
    columns = {
        "image_id": rows.image_id,
        "category_id": rows.category_id,
        "bbox": np.round(rows.box, 3),
        "score": np.round(rows.score, 6),
        "keypoints": keypoints.reshape(len(keypoints), -1),
        **more,
    }
    views = zip(*(column.tolist() for column in agreement.values()), strict=True)
    records = zip(*(column.tolist() for column in columns.values()), strict=True)
    for values, agree in zip(records, views, strict=True):
        yield {
            **dict(zip(columns, values, strict=True)),
            "agreement": dict(zip(agreement, agree, strict=True)),
        }


def _same(rows: heatmap_file.Block, records: list[dict]) -> bool:
    return (
        rows.image_id.tolist() == [record["image_id"] for record in records]
        and rows.category_id.tolist() == [record["category_id"] for record in records]
        and np.array_equal(rows.box, [record["bbox"] for record in records])
    )
