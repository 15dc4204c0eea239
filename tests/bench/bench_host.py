"""What one CPU core does for a network: decoding an image, resizing it to a view, compressing heatmaps.

python tests/bench/bench_host.py [--folder PATH with photographs]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from measure import best_seconds, report

from distill.datasets.figures import generate
from distill.datasets.images import list_files, read_image
from distill.datasets.keypoint_meta import COCO_KEYPOINTS, KeypointMeta
from distill.predictions.heatmap_writer import writing
from distill.predictions.views import View


def seconds(function: Callable, items: list) -> float:
    """Of one pass over the items, the best of three."""
    return best_seconds(lambda: [function(item) for item in items], rounds=3, clock=time.process_time)[0]


def heatmap_seconds(folder: Path, people: int = 60) -> float:
    """CPU time, of all threads, of a person with 17 keypoints: smooth peaks in some noise."""
    rng = np.random.default_rng(0)
    at, grid = rng.uniform(10, 46, (people, 17, 2, 1, 1)), np.mgrid[:56, :56]
    logits = 12 - ((grid - at) ** 2).sum(2) / 20 + rng.normal(0, 0.3, (people, 17, 56, 56))
    meta = KeypointMeta(COCO_KEYPOINTS, (), (), ())
    start = time.process_time()
    with writing(folder / "x.h5", View(800), "model", "dataset", meta) as writer:
        ids = np.arange(people)
        writer.append(logits.astype(np.float32), ids, np.ones((people, 4)), ids, ids)
    return (time.process_time() - start) / people


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="images; otherwise 640 × 480 figures are drawn")
    parser.add_argument("--images", type=int, default=40)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        if args.folder is None:
            generate(folder, args.images, seed=0, size=(640, 480), style="photo")
        paths = [folder / file for file in list_files(folder, [".jpg"], "images")[: args.images]]
        images = [read_image(path) for path in paths]
        kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1000
        megapixels = sum(image[..., 0].size for image in images) / 1e6
        steps = [("decode", megapixels, seconds(read_image, paths))]
        for scale in (400, 800, 1200):
            view = View(scale)
            size = sum(w * h for image in images for w, h in [view.size(*image.shape[1::-1])]) / 1e6
            steps.append((f"resize to {scale}", size, seconds(view.transform_image, images)))
        person = heatmap_seconds(Path(name))
    rows = [
        {
            "step": step,
            "megapixels": size / len(paths),
            "ms/image": 1e3 * taken / len(paths),
            "ms/megapixel": 1e3 * taken / size,
        }
        for step, size, taken in steps
    ]
    report(f"{len(paths)} images of {kilobytes:.0f} kB, CPU time of one core", rows)
    report("heatmaps, compressed and written", [{"ms/person": 1e3 * person}])


if __name__ == "__main__":
    main()
