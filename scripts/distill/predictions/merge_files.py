"""Merges prediction files of one shard, whatever they hold: boxes (.json) or heatmaps (.h5)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from distill.datasets.coco import Coco
from distill.predictions.merge import Options, merge_boxes
from distill.predictions.merge_heatmaps import merge_heatmaps
from distill.program import UserError

TASKS: dict[str, Literal["boxes", "keypoints"]] = {".json": "boxes", ".h5": "keypoints"}


def task_of(paths: Sequence[str | Path]) -> Literal["boxes", "keypoints"]:
    """What the files predict. Raises UserError unless it is the same of all."""
    endings = {Path(path).suffix for path in paths}
    if len(endings) != 1 or not endings <= TASKS.keys():
        raise UserError(f"predictions must be all .json or all .h5, not {', '.join(sorted(endings))}")
    return TASKS[endings.pop()]


def merge_files(
    paths: Sequence[str | Path], dataset: Coco, options: Options, boxes: str | Path | None = None
) -> Iterator[dict]:
    """Merges as `merge_boxes` or `merge_heatmaps` does, one image or a few instances at a time.

    paths: one file for each view.
    dataset: a COCO dict that holds the images.
    boxes: the JSON file of the fixed boxes, to compare heatmaps with; None: nothing is compared.

    Raises UserError as they do, and for files of both kinds.
    """
    if task_of(paths) == "keypoints":
        return merge_heatmaps(paths, dataset, options, boxes)
    return merge_boxes(paths, dataset, options)
