"""AP of finished models that predict in float32 and in bfloat16 (`predict_amp`), and their difference.

python tests/bench/bench_bfloat16.py [--dataset results/demo/datasets/val.json] [--views s0176] [MODEL …]

A machine without bfloat16 arithmetic computes the same numbers slowly.
"""

import argparse
from pathlib import Path

import numpy as np
from measure import ROOT, report

from distill.datasets.dataset_file import read_dataset, root_of
from distill.evaluation.average_precision import evaluate
from distill.evaluation.resampling import interval
from distill.models.predictor import Predictor
from helpers.trial import in_bfloat16

DEMO = ROOT / "results/demo"


def evaluation(model: Path, dataset: Path, views: list[str] | None, amp: bool) -> dict:
    coco = read_dataset(dataset)
    place = {image["file_name"]: image["id"] for image in coco["images"]}
    root, found = root_of(coco, dataset), []
    paths = [root / name for name in place]
    for image, records in Predictor(model, "auto", amp=amp).predict(paths, views):
        name = str(Path(image["file_name"]).relative_to(root))
        found += [record | {"image_id": place[name]} for record in records]
    return evaluate(coco, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, default=sorted((DEMO / "models").glob("*/")))
    parser.add_argument("--dataset", type=Path, default=DEMO / "datasets/val.json")
    parser.add_argument("--views", nargs="+", help="as of predict_images.py")
    args = parser.parse_args()
    rows = []
    for model in args.models:
        full = evaluation(model, args.dataset, args.views, amp=False)
        with in_bfloat16():
            half = evaluation(model, args.dataset, args.views, amp=True)
        low, high = interval(np.subtract(half["resampled"], full["resampled"]))
        aps = {"float32": 100 * full["AP"], "bfloat16": 100 * half["AP"]}
        rows.append({"model": model.name, **aps, "from": 100 * low, "to": 100 * high})
    report("AP in percent; the difference's 95% interval", rows)


if __name__ == "__main__":
    main()
