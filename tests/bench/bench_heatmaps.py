"""Heatmap files on the heatmaps of a trained model: their size against float16, what merging makes of them
against float32, the speed of writing, reading and merging, and the peak memory of a merge.

python tests/bench/bench_heatmaps.py [--model FOLDER --dataset results/…/val.json --plain 128]

The default is a teacher that `snakemake --configfile tests/bench/keypoints.yaml` makes first.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import best_seconds, in_child, report, run_program

from distill.datasets.keypoint_meta import keypoint_meta
from distill.files import read_json, write_json
from distill.labels.heatmap_boxes import choose, least_scores
from distill.predictions import heatmap_file, heatmap_writer
from distill.predictions.heatmaps import Average
from distill.predictions.views import View
from helpers.options import as_json, expand, merge_options

RELATIVE = (0.5, 0.625, 0.75, 0.875, 1, 1.125, 1.25, 1.375, 1.5)  # the paper's 400 … 1200 around 800
PER_LABEL = 1.5  # boxes that get heatmaps, the default
UN_120 = 120_000  # COCO's unlabelled images


def predict(model: Path, dataset: Path, images: int, plain: int, folder: Path) -> None:
    """boxes.json, and for each view its float32 logits as .npy; run in a child, as torch is large."""
    from distill.models.prediction import FixedBoxes, detect_boxes, read_shard
    from distill.models.predictor import Predictor

    content = read_json(dataset)
    content["info"]["image_root"] = str(Path(content["info"]["image_root"]).resolve())
    part, boxes = folder / "dataset.json", folder / "boxes.json"
    content["images"] = content["images"][:images]
    known = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in known]
    write_json(part, {**content, "annotations": []})
    predictor = Predictor(model, "cpu", workers=0)
    limits = {"min_score": 0.05, "per_image": 20}
    detect_boxes(model, part, View(plain), (0, 1), limits, boxes, device="cpu", workers=0)
    # As of images that are only to be labelled; the labels that they have here say how many are expected.
    write_json(boxes, list(choose(boxes, least_scores([boxes], read_json(part), [content], PER_LABEL))))
    _, root, records = read_shard(part, 0, 1)
    shared = FixedBoxes.read(boxes, records, part)
    for view in views_around(plain):
        parts = predictor.heatmaps(root, shared.images, shared.regions, view)
        np.save(folder / f"{view.name}.npy", np.concatenate([maps.float().numpy() for maps in parts]))


def views_around(plain: int) -> list[View]:
    return expand([{"scales": [round(plain * factor) for factor in RELATIVE], "flip": True}])


def write(
    path: Path, view: View, maps: np.ndarray, boxes: list[dict], dataset: dict, block: int = 16
) -> None:
    meta = keypoint_meta(dataset)
    with heatmap_writer.writing(
        path, view, "model", "dataset", meta, heatmap_file.Layout("logits", maps.shape[:-3:-1])
    ) as writer:
        for start in range(0, len(maps), block):
            rows = boxes[start : start + block]
            columns = ([r[key] for r in rows] for key in ("image_id", "bbox", "score", "category_id"))
            writer.append(maps[start : start + block], *columns)


def read(paths: list[Path], count: int, block: int = 64) -> None:
    for start in range(0, count, block):
        for path in paths:
            heatmap_file.read_block(path, start, start + block)


def peaks(views: list[View], maps_of: Callable[[View], np.ndarray], pairs: Any) -> np.ndarray:
    """(N, K) positions of the merged peaks. maps_of: view → its heatmaps."""
    average = Average("probability", pairs)
    for view in views:
        average.add(maps_of(view), view)
    probability = average.result()[0]
    return probability.reshape(*probability.shape[:2], -1).argmax(-1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default="results/bench_keypoints/models/teacher")
    parser.add_argument("--dataset", type=Path, default="results/bench_keypoints/datasets/val.json")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--plain", type=int, default=128, help="shorter side of the plain view")
    args = parser.parse_args()
    if not (args.model / "model.pth").exists():
        sys.exit(f"{args.model}: no trained model; see --help, or name another with --model")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        in_child(predict, args.model, args.dataset, args.images, args.plain, folder)
        measure(folder, views_around(args.plain), args.images)


def measure(folder: Path, views: list[View], images: int) -> None:
    dataset, boxes = read_json(folder / "dataset.json"), read_json(folder / "boxes.json")
    pairs = keypoint_meta(dataset).flip_pairs
    paths = [folder / f"{view.name}.h5" for view in views]
    cells = writing = size = 0
    for view, path in zip(views, paths, strict=True):
        maps = np.load(folder / f"{view.name}.npy")
        start = time.process_time()
        write(path, view, maps, boxes, dataset)
        writing += time.process_time() - start
        cells, size = cells + maps.size, size + path.stat().st_size
    count, side = len(maps), maps.shape[-1]
    exact = peaks(views, lambda view: np.load(folder / f"{view.name}.npy"), pairs)
    half = peaks(views, lambda view: np.load(folder / f"{view.name}.npy").astype(np.float16), pairs)
    files = dict(zip(views, paths, strict=True))
    kept = peaks(views, lambda view: heatmap_file.read_block(files[view], 0, count).heatmap, pairs)
    per_image = size / images / len(views)
    row = {"heatmaps": exact.size * len(views), "bytes each": size / exact.size / len(views)}
    row |= {"% of float16": 50 * size / cells}
    for name, merged in (("", kept), (", float16", half)):
        moved = np.maximum(np.abs(exact % side - merged % side), np.abs(exact // side - merged // side))
        row[f"% of peaks unchanged{name}"] = 100 * (moved == 0).mean()
        row[f"furthest cells{name}"] = int(moved.max())
    row |= {"boxes an image": count / images, "un-120 x 18 views GB": per_image * UN_120 * 18 / 1e9}
    report("size", [row])

    merged = ["merge_views.py", "--dataset", folder / "dataset.json", "--output", folder / "merged.json"]
    merged += ["--options", as_json(merge_options())]
    idle = run_program(*merged[:1], "--help")["CPU s"]
    reading = best_seconds(lambda: read(paths, count), rounds=3, clock=time.process_time)[0]
    once = run_program(*merged, *paths)
    for path in paths:  # a shard four times as long
        view = View.parse(path.stem)
        write(path, view, np.tile(np.load(folder / f"{path.stem}.npy"), (4, 1, 1, 1)), boxes * 4, dataset)
    longer = run_program(*merged, *paths)
    megabytes = 2 * cells / 1e6
    row = {"write MB/s": megabytes / writing, "read MB/s": megabytes / reading}
    row |= {
        "merge MB/s": megabytes / (once["CPU s"] - idle),
        "merge over read": (once["CPU s"] - idle) / reading,
    }
    row |= {"peak MiB": once["peak MiB"], "peak MiB, 4 times the rows": longer["peak MiB"]}
    report("speed", [row])


if __name__ == "__main__":
    main()
