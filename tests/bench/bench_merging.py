"""Merging: one shard of 1k, 10k, 100k images under 18 views through scripts/merge_views.py, then the joining
of shards; images/s and peak memory of the processes, start-up included.

python tests/bench/bench_merging.py [--images 1000 10000] [--boxes 100]
"""

import argparse
import json
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from measure import in_child, report, run_program

from distill.files import write_json
from helpers.options import as_json, expand, merge_options

VIEWS = expand([{"scales": [400, 500, 600, 700, 800, 900, 1000, 1100, 1200], "flip": True}])
SIZES = [(640, 480), (480, 640), (500, 375), (640, 427)]
CATEGORIES, PERIOD = 80, 1000


def write_dataset(path: Path, images: int) -> None:
    sizes = [SIZES[i % PERIOD * len(SIZES) // PERIOD] for i in range(images)]
    write_json(path, {"images": [{"id": i, "width": w, "height": h} for i, (w, h) in enumerate(sizes)]})


def write_view(path: Path, dataset: Path, number: int, boxes: int) -> None:
    """The objects of every image, each seen a little differently: see bench_voting.scene. What is in an image
    repeats after PERIOD images."""
    view, images = VIEWS[number], msgspec.json.decode(dataset.read_bytes())["images"]
    objects, jitter = np.random.default_rng(0), np.random.default_rng(number + 1)
    header, found = [], []
    for image in images:
        width, height = view.size(image["width"], image["height"])
        header.append({**image, "view_width": width, "view_height": height})
    for image in images[:PERIOD]:
        corners = objects.uniform(0, 300, (boxes, 2))
        boxes_of = np.concatenate([corners, corners + objects.uniform(15, 150, (boxes, 2))], axis=1)
        scores = objects.uniform(0.05, 1, boxes) ** 2 * jitter.uniform(0.8, 1, boxes)
        categories = objects.integers(1, CATEGORIES + 1, boxes).tolist()
        seen = boxes_of + jitter.normal(0, 2, boxes_of.shape)
        seen = view.forward_boxes(seen, (image["width"], image["height"]))
        seen[:, 2:] -= seen[:, :2]
        rows = zip(categories, seen.round(3).tolist(), scores.round(6).tolist(), strict=True)
        found.append([json.dumps({"category_id": c, "bbox": box, "score": s})[1:] for c, box, s in rows])
    lines = (
        msgspec.Raw(f'{{"image_id": {image["id"]}, {tail}'.encode())
        for i, image in enumerate(images)
        for tail in found[i % PERIOD]
    )
    names = {"view": view.name, "model": "m", "dataset": "d"}
    write_json(path, {**names, "images": header, "predictions": lines})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--boxes", type=int, default=10, help="of an image under each view (default 10)")
    args = parser.parse_args()
    rows = []
    for images in args.images:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            dataset, merged = folder / "dataset.json", folder / "merged.json"
            in_child(write_dataset, dataset, images)
            paths = [folder / f"{view.name}.json" for view in VIEWS]
            for view, path in enumerate(paths):
                in_child(write_view, path, dataset, view, args.boxes)
            options = ["--dataset", dataset, "--options", as_json(merge_options()), "--output", merged]
            cost = run_program("merge_views.py", *options, *paths)
            size = sum(path.stat().st_size for path in paths)
            row = {"images": images, "boxes": images * args.boxes * len(VIEWS), "read MB": size / 1e6}
            row |= {**cost, "images/CPU s": images / cost["CPU s"]}
            gathered = run_program("gather_shards.py", "--output", folder / "all.json", merged)
            rows.append(row | {f"gather {key}": value for key, value in gathered.items()})
    report("merging", rows)


if __name__ == "__main__":
    main()
