"""Calibration and labels for 120k images of 80 categories and 20 million merged boxes, a labelled set like
COCO's train2017: time and peak memory of the programs, start-up included, beside parsing the file alone with
Python's json.

python tests/bench/bench_labels.py [--boxes 20000000]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import in_child, report, run_program

from distill.files import write_json
from helpers.options import as_json, calibrate_options

CATEGORIES = [{"id": i, "name": f"category {i}", "supercategory": "thing"} for i in range(1, 81)]
IMAGES, LABELLED, ANNOTATIONS = 120_000, 118_000, 860_000
SAMPLE = 1_000_000  # lines for Python's json


def images(count: int) -> list[dict]:
    return [
        {"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480, "hash": f"{i:032x}"}
        for i in range(count)
    ]


def write_datasets(folder: Path) -> None:
    rng = np.random.default_rng(0)
    info = {"description": "synthetic", "image_root": "images"}
    empty = {"annotations": [], "categories": []}
    write_json(folder / "dataset.json", {"info": info, "images": images(IMAGES), **empty})
    frequent = 1 / np.arange(1, 81)  # a few categories are most of COCO too
    drawn = rng.choice(80, ANNOTATIONS, p=frequent / frequent.sum()) + 1
    image, boxes = rng.integers(0, LABELLED, ANNOTATIONS), rng.uniform(5, 300, (ANNOTATIONS, 4)).round(2)
    annotations = (
        {"id": i, "image_id": j, "category_id": c, "bbox": box, "area": 99.5, "iscrowd": 0}
        for i, (j, c, box) in enumerate(zip(image.tolist(), drawn.tolist(), boxes.tolist(), strict=True), 1)
    )
    content = {"info": info, "images": images(LABELLED), "annotations": annotations, "categories": CATEGORIES}
    write_json(folder / "labelled.json", content)


def write_merged(path: Path, boxes: int) -> None:
    """Many low scores and few high ones, as detectors give them. 200k boxes are drawn, in other orders for
    each image."""
    rng = np.random.default_rng(1)
    n = 200_000
    frequent = 1 / np.arange(1, 81) ** 0.5
    columns = (
        (rng.choice(80, n, p=frequent / frequent.sum()) + 1).tolist(),
        np.concatenate([rng.uniform(0, 400, (n, 2)), rng.gamma(1.2, 60, (n, 2)) + 1], axis=1)
        .round(3)
        .tolist(),
        (0.05 + 0.95 * rng.beta(0.3, 2, n)).round(6).tolist(),
    )
    tails = [
        json.dumps({"category_id": c, "bbox": box, "score": s})[1:]
        for c, box, s in zip(*columns, strict=True)
    ]
    each = boxes // IMAGES
    with open(path, "w", encoding="utf-8") as file:
        file.write("[\n")
        for i in range(IMAGES):
            head, start = f'{{"image_id": {i}, ', int(rng.integers(0, n - each))
            file.write(",\n" * (i > 0) + head + f",\n{head}".join(tails[start : start + each]))
        file.write("\n]\n")


def parse(path: Path) -> tuple[float, int]:
    """CPU seconds that Python's json alone takes for some lines, and their number."""
    with open(path, "rb") as file:
        lines = [line.rstrip(b",\n") for line, _ in zip(file, range(SAMPLE + 1), strict=False)][1:]
    start = time.process_time()
    for line in lines:
        json.loads(line)
    return time.process_time() - start, len(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boxes", type=int, default=20_000_000)
    boxes = parser.parse_args().boxes
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        merged, thresholds, output = (folder / f"{name}.json" for name in ("merged", "thresholds", "labels"))
        in_child(write_datasets, folder)
        in_child(write_merged, merged, boxes)
        data = [
            "--dataset",
            folder / "dataset.json",
            "--labelled",
            folder / "labelled.json",
            "--merged",
            merged,
        ]
        options = ["--options", as_json(calibrate_options()), "--output", thresholds]
        calibrated = run_program("calibrate_threshold.py", *data, *options)
        labelled = run_program("generate_labels.py", *data, "--thresholds", thresholds, "--output", output)
        seconds, lines = in_child(parse, merged)
        alone = seconds / lines * boxes
        met = sum(entry["met"] for entry in json.loads(thresholds.read_bytes())["instances"].values())
        size, written = (path.stat().st_size / 1e6 for path in (merged, output))
        print(f"{size:,.0f} MB of merged boxes; {met:,} labels, {written:,.0f} MB")
    rows = [
        {"program": name, "boxes": boxes, **cost, "CPU over json alone": cost["CPU s"] / alone}
        for name, cost in (("calibrate_threshold", calibrated), ("generate_labels", labelled))
    ]
    report("labels", rows)


if __name__ == "__main__":
    main()
