"""An artifact as a picture: one image with what is known about it, heatmaps, or a chart.

Figures of matplotlib; the suffix of the file that they are saved to decides the format.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from distill.datasets.coco import Coco, Record, instances
from distill.datasets.dataset_file import read_dataset
from distill.evaluation.plots import literal
from distill.files import replacing
from distill.inspection.panels import draw, pixels_of, show
from distill.inspection.showcase import labels_and_student
from distill.inspection.words import kind_of
from distill.predictions import coco_results
from distill.predictions.crop_heatmaps import CropAverage, first_frame
from distill.predictions.heatmap_file import COLUMNS, Block, Header, read_block, read_header, read_scores
from distill.predictions.heatmaps import Average
from distill.predictions.views import View
from distill.program import UserError
from distill.report.drawing import colour_of

SURE = 0.3  # predictions of a higher score are drawn, and always the best one
COLUMNS_OF_KEYPOINTS = 9


def save(figure: Figure, output: Path) -> None:
    """Writes a figure. Raises UserError for a suffix that is no format."""
    suffix = output.suffix.lstrip(".")
    if suffix not in figure.canvas.get_supported_filetypes():
        raise UserError(f"{output}: {suffix or 'no suffix'} is no format for a picture; .png will do")
    with replacing(output) as temporary:
        figure.savefig(temporary, format=suffix, dpi=120)


def picture(
    path: Path, dataset: Path | None = None, image: int | None = None, row: int | None = None
) -> Figure:
    """The picture of an artifact.

    path: of the artifact.
    dataset: the dataset's JSON; None: that of the same results folder.
    image: the id of the image that is shown; None: that of the best score, or the first with an annotation.
    row: of heatmaps, the instance; None: that of the best score.

    Raises UserError for an artifact that has no picture.
    """
    kind, content = kind_of(path)
    if kind == "heatmap shard":
        return heatmaps(path, dataset, row)
    if kind == "labels":  # not the regions that are to be ignored
        return annotated(instances(content), content, image)
    if kind == "dataset":
        return annotated(content["annotations"], content, image)
    if kind == "predictions":
        return annotated(_on_image(path, image), read_dataset(dataset or dataset_of(path)), image)
    if kind == "prediction shard":
        view = View.parse(content["view"])
        categories = [
            {"id": i, "name": str(i)} for i in sorted({p["category_id"] for p in content["predictions"]})
        ]
        coco = {"categories": categories, **read_dataset(dataset or dataset_of(path))}
        coco["categories"] = coco["categories"] or categories  # an unlabelled dataset names none
        return annotated(content["predictions"], coco, image, view)
    if kind == "thresholds":
        return thresholds(content)
    if kind == "evaluation" and content.get("precision"):
        return precision(content)
    if kind in ("checkpoint", "provenance", "history"):
        return history(path.with_name("history.csv"))
    if kind == "study":
        return labels_and_student(content, path.parent)
    raise UserError(f"{path}: a {kind} has no picture; leave out --image to read it")


def _on_image(path: Path, image: int | None) -> list[Record]:
    """The merged predictions on an image; None: on that of the best score."""

    def records() -> Iterator[Record]:
        for block in coco_results.read_lines(path)[1]:
            yield from coco_results.decode(path, block, dict[str, Any])

    if image is None:
        best = max(records(), key=lambda record: record["score"], default={})
        image = best.get("image_id")
    return [record for record in records() if record["image_id"] == image]


def dataset_of(path: Path) -> Path:
    """The dataset's JSON of predictions/{model}/{dataset}/… or merged/{model}/{dataset}…"""
    parts = path.resolve().parts
    for index in range(len(parts) - 1, -1, -1):
        if parts[index] in ("predictions", "merged") and index + 2 < len(parts):
            found = Path(*parts[:index], "datasets", f"{Path(parts[index + 2]).stem}.json")
            if found.exists():
                return found
    raise UserError(f"{path}: its dataset is not where it usually is; name it: --dataset")


def annotated(records: Sequence[Record], coco: Coco, image: int | None, view: View | None = None) -> Figure:
    """One image of a dataset with its records; with a `view`, image and records are in its pixels."""
    images = {entry["id"]: entry for entry in coco["images"]}
    if image is None:
        best = max(records, key=lambda record: record.get("score", 0), default=None)
        image = best["image_id"] if best else next(iter(images))
    if image not in images:
        raise UserError(f"there is no image {image}; its ids are {min(images)} … {max(images)}")
    entry = images[image]
    mine = sorted((r for r in records if r["image_id"] == image), key=lambda r: r.get("score", 1))
    sure = [record for record in mine if record.get("score", 1) > SURE] or mine[-1:]
    pixels = pixels_of(coco, entry)
    pixels = view.transform_image(pixels) if view else pixels
    height, width = pixels.shape[:2]
    figure = Figure(figsize=(8, 8 * height / width + 0.4), layout="constrained")
    axes = figure.subplots()
    show(axes, pixels)
    categories = coco["categories"] or [{"id": i, "name": str(i)} for i in {r["category_id"] for r in mine}]
    colours, known = colour_of(categories), {category["id"]: category for category in categories}
    for record in sure:
        category = known[record["category_id"]]
        draw(axes, record, category, colours[category["id"]])
    rest = len(mine) - len(sure)
    what = f"{literal(entry['file_name'])}, {view.name if view else 'original pixels'}: {len(sure)} drawn"
    axes.set_title(what + (f", {rest} of score ≤ {SURE} not" if rest else ""), fontsize=9)
    return figure


def heatmaps(path: Path, dataset: Path | None, row: int | None) -> Figure:
    """All keypoints of one instance, as probabilities in the frame of the original image: above under the
    view of the file, below the mean of all views that lie beside it.
    """
    header = read_header(path)
    if not header.count:
        raise UserError(f"{path}: holds no instance")
    if row is None:
        row = int(read_scores(path).argmax())
    if not 0 <= row < header.count:
        raise UserError(f"{path}: there is no instance {row}; there are 0 … {header.count - 1}")
    one = read_block(path, row, row + 1)
    views = []
    for file in sorted(path.parent.parent.glob(f"*/{path.name}")):
        other, block = read_header(file), read_block(file, row, row + 1)
        if all(np.array_equal(getattr(block, name), getattr(one, name)) for name in COLUMNS):
            views.append((other, block))
    drawn = {header.view.name: _mean([(header, one)]), "merged": _mean(views)}
    coco = read_dataset(dataset or dataset_of(path))
    entry = next((image for image in coco["images"] if image["id"] == one.image_id[0]), None)
    if entry is None:
        raise UserError(
            f"{path}: image {one.image_id[0]} is not in the dataset {coco['info']['description']}"
        )
    pixels = pixels_of(coco, entry)
    names = header.keypoint_names
    columns, bands = min(COLUMNS_OF_KEYPOINTS, len(names)), -(-len(names) // COLUMNS_OF_KEYPOINTS)
    figure = Figure(figsize=(1.7 * columns + 0.3, 4.1 * bands + 0.4), layout="constrained")
    grid = figure.subplots(2 * bands, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for k, name in enumerate(names):
        band, column = divmod(k, columns)
        for offset, (label, (maps, frame)) in enumerate(drawn.items()):
            axes = grid[2 * band + offset, column]
            _heatmap(axes, pixels, frame, maps[k])
            axes.set_title(f"{literal(name)}\n{label} {maps[k].max():.2f}", fontsize=7)
    what = f"{literal(entry['file_name'])}, instance {row} of score {one.score[0]:.2f}"
    figure.suptitle(f"{what}; merged: the mean of {len(views)} views", fontsize=9)
    return figure


def _mean(views: Sequence[tuple[Header, Block]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean heatmaps (K, H, W) of one instance, and their frame x, y, w, h in the image."""
    (first, block), *_ = views
    if first.layout.kind == "logits":
        mean = Average("probability", first.flip_pairs)
        for header, rows in views:
            mean.add(rows.heatmap, header.view)
        return mean.result()[0][0], block.box[0]
    frame = views[first_frame([header.view for header, _ in views])][1].region
    crops = CropAverage(first.layout, first.flip_pairs, frame)
    for header, rows in views:
        crops.add(rows.maps, header.view, rows.region)
    return crops.drawn()[0], frame[0]


def _heatmap(axes: Axes, pixels: np.ndarray, box: np.ndarray, probability: np.ndarray) -> None:
    """(H, W) probabilities or heat over the part of the image in a box x, y, w, h; a cross at the highest."""
    x, y, w, h = box
    axes.imshow(pixels[..., ::-1], extent=(0, pixels.shape[1], pixels.shape[0], 0))
    shade = (probability / max(probability.max(), 1e-9)).clip(0, 1)
    axes.imshow(shade, extent=(x, x + w, y + h, y), cmap="magma", alpha=0.25 + 0.6 * shade, aspect="auto")
    row, column = np.unravel_index(probability.argmax(), probability.shape)
    height, width = probability.shape
    axes.plot(
        [x + (column + 0.5) / width * w], [y + (row + 0.5) / height * h], "+", color="#3ec5ff", markersize=8
    )
    axes.set(xlim=(x, x + w), ylim=(y + h, y), aspect="equal")


def thresholds(content: Mapping[str, Any]) -> Figure:
    """Candidates, aimed and met counts of each category."""
    rows = list(content["instances"].values())
    figure = Figure(figsize=(7, 1.2 + 0.5 * len(rows)), layout="constrained")
    axes, y = figure.subplots(), np.arange(len(rows))
    for offset, key in enumerate(("candidates", "aimed", "met")):
        axes.barh(y + 0.27 * (offset - 1), [row[key] or 0 for row in rows], 0.25, label=key)
    names = [
        literal(row["name"]) + ("" if row["threshold"] is None else f", ≥ {row['threshold']:.3f}")
        for row in rows
    ]
    axes.set_yticks(y, names)
    axes.invert_yaxis()
    axes.legend()
    return figure


def precision(content: Mapping[str, Any]) -> Figure:
    """Precision by recall."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for overlap, values in content["precision"].items():
        axes.plot(np.linspace(0, 1, len(values)), values, label=f"{overlap} and above")
    axes.set(
        xlabel="recall", ylabel="precision", title=f"{content['task']}, AP {100 * (content['AP'] or 0):.1f}"
    )
    axes.legend(title="OKS" if content["task"] == "keypoints" else "IoU")
    return figure


def history(path: Path) -> Figure:
    """The losses and the learning rate of a training."""
    try:
        rows = pd.read_csv(path)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        raise UserError(f"{path}: no training history here") from None
    figure = Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for name in rows.columns[rows.columns.str.startswith("loss")]:
        above.plot(rows["iteration"], rows[name], label=name, linewidth=2 if name == "loss" else 1)
    above.legend(fontsize=7)
    above.set(yscale="log", title=literal(path), ylabel="loss")
    below.plot(rows["iteration"], rows["lr"])
    below.set(xlabel="iteration", ylabel="learning rate")
    return figure
