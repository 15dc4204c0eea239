"""COCO's average precision of 5k images × 100 boxes × 80 categories: pycocotools alone, ours,
faster-coco-eval alone, and hotcoco (where it is installed: envs/bench.txt).

python tests/bench/bench_evaluation.py [--images 5000]
"""

import argparse
import contextlib
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from measure import in_child, report

VALUES = ["AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "AR100", "ARS", "ARM", "ARL"]
BOXES, CATEGORIES = 100, 80


def data(images: int) -> tuple[dict, list[dict]]:
    """Objects (7 an image, as in COCO), and boxes of which some find one, most with a low score."""
    rng = np.random.default_rng(0)
    annotations, predictions = [], []
    for image in range(1, images + 1):
        n = int(rng.poisson(7))
        objects = np.concatenate([rng.uniform(0, 400, (n, 2)), rng.gamma(1.2, 60, (n, 2)) + 4], axis=1)
        objects, categories = objects.round(2), rng.integers(1, CATEGORIES + 1, n)
        for box, category in zip(objects.tolist(), categories.tolist(), strict=True):
            ids = {"id": len(annotations) + 1, "image_id": image, "category_id": category}
            crowd = int(rng.random() < 0.01)
            annotations.append(ids | {"bbox": box, "area": box[2] * box[3], "iscrowd": crowd})
        m = min(3 * n, BOXES)
        found = np.concatenate([rng.uniform(0, 400, (BOXES, 2)), rng.gamma(1.2, 60, (BOXES, 2)) + 4], axis=1)
        found[:m] = np.tile(objects, (3, 1))[:m] + rng.normal(0, 5, (m, 4))
        found[:, 2:] = np.maximum(found[:, 2:], 1)
        classes = rng.integers(1, CATEGORIES + 1, BOXES)
        classes[:m] = np.tile(categories, 3)[:m]
        scores = 0.05 + 0.9 * rng.beta(0.3, 2, BOXES)
        scores[:m] += 0.05 * rng.random(m)
        rows = (classes.tolist(), found.round(3).tolist(), scores.round(6).tolist())
        for category, box, score in zip(*rows, strict=True):
            ids = {"image_id": image, "category_id": category}
            predictions.append(ids | {"bbox": box, "score": score})
    categories = [{"id": i, "name": f"category {i}"} for i in range(1, CATEGORIES + 1)]
    dataset = {"info": {}, "images": [{"id": i, "width": 640, "height": 480} for i in range(1, images + 1)]}
    return dataset | {"annotations": annotations, "categories": categories}, predictions


def coco_eval(
    coco_type: Callable, eval_type: Callable, dataset: dict, predictions: list[dict]
) -> list[float]:
    """As a library's own README evaluates."""
    truth = coco_type()
    truth.dataset = dataset
    truth.createIndex()
    return stats(eval_type(truth, truth.loadRes(predictions), "bbox"))


def stats(evaluation: Any) -> list[float]:
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [float(value) for value in evaluation.stats[: len(VALUES)]]


def pycocotools(dataset: dict, predictions: list[dict]) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return coco_eval(COCO, COCOeval, dataset, predictions)


def faster_coco_eval(dataset: dict, predictions: list[dict]) -> list[float]:
    from faster_coco_eval import COCO, COCOeval_faster

    return coco_eval(COCO, COCOeval_faster, dataset, predictions)


def hotcoco(dataset: dict, predictions: list[dict]) -> list[float]:
    from hotcoco import COCO, COCOeval

    truth = COCO(dataset)
    return stats(COCOeval(truth, truth.load_res(predictions), "bbox"))


def ours(dataset: dict, predictions: list[dict]) -> list[float]:
    from distill.evaluation.average_precision import evaluate

    metrics = evaluate(dataset, predictions)
    return [metrics[name] for name in VALUES]


def measured(name: str, images: int) -> tuple[list[float], float, float]:
    """Values, wall and CPU seconds of one of the above."""
    dataset, predictions = data(images)
    function = globals()[name]
    with contextlib.redirect_stdout(io.StringIO()):
        start, cpu = time.perf_counter(), time.process_time()
        values = function(dataset, predictions)
    return values, time.perf_counter() - start, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000)
    images = parser.parse_args().images
    rows, expected, alone = [], None, None
    for name in ("pycocotools", "ours", "faster_coco_eval", "hotcoco"):
        try:
            values, seconds, cpu = in_child(measured, name, images)
        except ImportError:
            continue
        expected, alone = expected or values, alone or cpu
        difference = float(np.abs(np.subtract(values, expected)).max())
        row = {"library": name, "AP": values[0], "largest difference": difference, "s": seconds, "CPU s": cpu}
        rows.append(row | {"times faster": alone / cpu})
    report("evaluation", rows)


if __name__ == "__main__":
    main()
