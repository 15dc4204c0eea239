"""Box voting of one image, 18 views × 100 boxes, against a NumPy loop over the categories and against
weighted-boxes fusion of the package ensemble-boxes (where it is installed: envs/bench.txt).

python tests/bench/bench_voting.py
"""

import functools
import itertools

import numpy as np
from measure import best_seconds, report

from distill.predictions import boxes as box_math
from distill.predictions.voting import vote as vote_by

try:
    from ensemble_boxes import weighted_boxes_fusion
except ImportError:
    weighted_boxes_fusion = None

vote = functools.partial(vote_by, nms=0.5, vote=0.8, rule="id", beta=1.0, max_per_image=100)
VIEWS, BOXES, IMAGES, SIDE = 18, 100, 20, 800


def scene(rng: np.random.Generator, categories: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The union over views of 100 objects, each seen a little differently in every view."""
    corners = rng.uniform(0, 600, (BOXES, 2))
    objects = np.concatenate([corners, corners + rng.uniform(15, 150, (BOXES, 2))], axis=1)
    boxes = np.concatenate([objects + rng.normal(0, 2, objects.shape) for _ in range(VIEWS)]).clip(0, SIDE)
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


def fuse(boxes: np.ndarray, scores: np.ndarray, categories: np.ndarray) -> None:
    """Weighted-boxes fusion, which takes the views apart and coordinates from 0 to 1."""
    views = (np.split(values, VIEWS) for values in (boxes / SIDE, scores, categories))
    weighted_boxes_fusion(*views, iou_thr=0.55)


def main() -> None:
    rows = []
    for categories in (1, 3, 20, 80):
        rng = np.random.default_rng(categories)
        scenes = [scene(rng, categories) for _ in range(IMAGES)]
        for one in scenes:
            np.testing.assert_allclose(vote(*one)[0], loop(*one)[:, :4], atol=1e-9)
        methods = [vote, loop] + [fuse] * bool(weighted_boxes_fusion)
        calls = [functools.partial(lambda m, s: list(itertools.starmap(m, s)), m, scenes) for m in methods]
        times = best_seconds(*calls, rounds=9)
        row = {"categories": categories, "images/s": IMAGES / times[0], "ratio to loop": times[1] / times[0]}
        if weighted_boxes_fusion:
            row["ratio to ensemble-boxes"] = times[2] / times[0]
        rows.append(row)
    report("voting", rows)


if __name__ == "__main__":
    main()
