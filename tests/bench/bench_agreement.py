"""What it costs to keep how far the views agree: merging with it, and the same code without it, in turns.

python tests/bench/bench_agreement.py [--images 500] [--instances 150] [--rounds 5]

Boxes are those of bench_merging, ten of an image under each of 18 views; heatmaps are made up: one peak
each, of 17 keypoints. Files are read and results written, as by scripts/merge_views.py.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
from bench_heatmaps import views_around, write
from bench_merging import VIEWS, write_dataset, write_view
from measure import best_seconds, report

from distill.datasets.figures.skeleton import KEYPOINTS
from distill.files import read_json, write_json
from distill.predictions import merge, merge_heatmaps
from helpers.options import merge_options

CELLS = np.arange(56)
NOTHING = {
    "distill.predictions.merge.of_boxes": lambda merged, *rest: np.zeros((len(merged), 3)),
    "distill.predictions.heatmaps.Peaks.add": lambda *args: None,
    "distill.predictions.heatmaps.Peaks.spread": lambda self, points, *args: np.zeros(points.shape[:2]),
    "distill.predictions.merge_heatmaps.entropy": lambda maps: np.zeros(maps.shape[:2]),
}


def without(merging: Callable[[], Iterable[dict]]) -> Callable[[], Iterable[dict]]:
    """The same, saying nothing of agreement."""

    def run() -> Iterator[dict]:
        with ExitStack() as stack:
            for name, stand_in in NOTHING.items():
                stack.enter_context(patch(name, stand_in))
            for record in merging():
                del record["agreement"]
                yield record

    return run


def boxes(folder: Path, images: int) -> Callable[[], Iterable[dict]]:
    dataset = folder / "dataset.json"
    write_dataset(dataset, images)
    paths = [folder / f"{view.name}.json" for view in VIEWS]
    for view, path in enumerate(paths):
        write_view(path, dataset, view, 10)
    content = read_json(dataset)
    return lambda: merge.merge_boxes(paths, content, merge_options())


def heatmaps(folder: Path, instances: int) -> Callable[[], Iterable[dict]]:
    rng = np.random.default_rng(0)
    category = {"id": 1, "name": "person", "keypoints": list(KEYPOINTS)}
    images = [{"id": 1, "width": 640, "height": 480}]
    dataset = {"images": images, "annotations": [], "categories": [category]}
    at = {"image_id": 1, "category_id": 1, "bbox": [10.0, 20.0, 90.0, 180.0], "score": 0.9}
    places, paths = rng.uniform(5, 50, (2, instances, len(KEYPOINTS), 1)), []
    for view in views_around(400):
        x, y = places + rng.normal(0, 1, places.shape)
        rows, columns = -((CELLS - y) ** 2) / 18, -((CELLS - x) ** 2) / 18
        maps = (rows[..., :, None] + columns[..., None, :]).clip(-8) + rng.normal(0, 0.1, (1, 1, 56, 56))
        paths.append(folder / f"{view.name}.h5")
        write(paths[-1], view, maps.astype(np.float32), [at] * instances, dataset)
    return lambda: merge_heatmaps.merge_heatmaps(paths, dataset, merge_options())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=500, help="of boxes")
    parser.add_argument("--instances", type=int, default=150, help="of heatmaps")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, merging in (
            ("boxes", boxes(folder, args.images)),
            ("heatmaps", heatmaps(folder, args.instances)),
        ):
            both = [
                lambda way=way: write_json(folder / "merged.json", way())
                for way in (merging, without(merging))
            ]
            for way in both:  # what is compiled when it is first called
                way()
            kept, plain = best_seconds(*both, rounds=args.rounds, clock=time.process_time)
            rows.append({"merging": what, "CPU s": kept, "without": plain, "ratio": kept / plain})
    report("agreement", rows)


if __name__ == "__main__":
    main()
