"""Box voting of one image: 18 views × 100 boxes, against the same written as a loop over categories.

python tests/bench/bench_voting.py
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from distill import boxes as box_math
from distill.voting import vote

VIEWS, BOXES, IMAGES = 18, 100, 20


def scene(rng: np.random.Generator, categories: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The union over views of 100 objects, each seen a little differently in every view."""
    corners = rng.uniform(0, 600, (BOXES, 2))
    objects = np.concatenate([corners, corners + rng.uniform(15, 150, (BOXES, 2))], axis=1)
    boxes = np.concatenate([objects + rng.normal(0, 2, objects.shape) for _ in range(VIEWS)])
    scores = np.tile(rng.uniform(0.05, 1, BOXES) ** 2, VIEWS) * rng.uniform(0.8, 1, len(boxes))
    return boxes, scores, np.tile(rng.integers(0, categories, BOXES), VIEWS)


def loop(boxes: np.ndarray, scores: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """NMS 0.5 and voting 0.8, category by category and survivor by survivor."""
    merged = []
    for category in np.unique(categories):
        mine, weights = boxes[categories == category], scores[categories == category]
        left = np.argsort(-weights, kind="stable")
        while len(left):
            overlap = box_math.iou(mine[left[:1]], mine)[0]
            voters = overlap >= 0.8
            box = np.average(mine[voters], axis=0, weights=weights[voters])
            merged.append([*box, weights[left[0]]])
            left = left[1:][overlap[left[1:]] <= 0.5]
    return np.array(sorted(merged, key=lambda row: -row[4])[:100])


def seconds(merge: Callable, scenes: list) -> float:
    start = time.perf_counter()
    for scene in scenes:
        merge(*scene)
    return (time.perf_counter() - start) / len(scenes)


def main() -> None:
    print("categories  images/s  loop images/s  ratio")
    for categories in (1, 3, 20, 80):
        rng = np.random.default_rng(categories)
        scenes = [scene(rng, categories) for _ in range(IMAGES)]
        for one in scenes:
            np.testing.assert_allclose(vote(*one)[0], loop(*one)[:, :4], atol=1e-9)
        fast, slow = seconds(vote, scenes), seconds(loop, scenes)
        print(f"{categories:10d}  {1 / fast:8.0f}  {1 / slow:13.0f}  {slow / fast:5.1f}")


if __name__ == "__main__":
    main()
