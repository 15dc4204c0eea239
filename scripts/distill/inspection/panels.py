"""An image in a figure of matplotlib, and what is known about it."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from distill.datasets.coco import Coco, Record
from distill.datasets.dataset_file import root_of
from distill.datasets.images import read_record
from distill.evaluation.plots import literal
from distill.report.drawing import SIDES, sides


def pixels_of(coco: Coco, entry: Record) -> np.ndarray:
    """The pixels of an image record of a dataset: (H, W, 3), BGR."""
    return read_record(root_of(coco, "the dataset"), entry)


def show(axes: Axes, pixels: np.ndarray) -> None:
    """An image (H, W, 3; BGR) in axes of its pixels."""
    height, width = pixels.shape[:2]
    axes.imshow(pixels[..., ::-1], extent=(0, width, height, 0))  # pixel centres at +0.5
    axes.set_axis_off()


def draw(axes: Axes, record: Record, category: Record, colour: str, named: bool = True) -> None:
    """A record's box and skeleton, in the pixels of the axes; `named`: with its category and score."""
    x, y, w, h = record["bbox"]
    axes.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=colour, linewidth=1.5))
    if named:
        label = literal(category["name"]) + (f" {record['score']:.2f}" if "score" in record else "")
        axes.text(x, y, label, fontsize=7, color="black", backgroundcolor=colour, va="bottom", clip_on=True)
    if not (record.get("keypoints") and category.get("keypoints")):
        return
    side, points = sides(category), np.reshape(record["keypoints"], (-1, 3))
    for a, b in category.get("skeleton") or ():
        ends = points[[a - 1, b - 1]]
        if (ends[:, 2] > 0).all():
            axes.plot(ends[:, 0], ends[:, 1], color=colour, linewidth=1)
    for (px, py, visible), which in zip(points, side, strict=True):
        if visible > 0:
            axes.plot([px], [py], "o", color=SIDES[which], markeredgecolor="black", markersize=4)
