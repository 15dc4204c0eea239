"""Merged predictions at random, and the two datasets that labels are made of them with."""

from pathlib import Path

import numpy as np

from distill.files import write_json

NAMES = ["nose", "left_hand", "right_hand"]


def make_study(tmp_path: Path, posed: bool = True, n: int = 12, seed: int = 0):
    """Random predictions on n images, many of them partly or wholly outside; and a labelled set to aim at."""
    rng = np.random.default_rng(seed)
    category = {"keypoints": NAMES, "flip_pairs": [[1, 2]]} if posed else {}
    categories = [{"id": 3, "name": "cat", **category}, {"id": 7, "name": "dog", **category}]
    images = [
        {"id": i, "file_name": f"{i}.png", "width": 60, "height": 40, "hash": f"{i:032x}"} for i in range(n)
    ]
    dataset = {
        "info": {"description": "pile", "image_root": "some/where", "kind": "folder", "skipped": []},
        "images": images,
        "annotations": [],
        "categories": [],
    }
    labelled = {
        "info": {},
        "images": images[:5],
        "annotations": [
            {"id": i, "image_id": i % 5, "category_id": 3 + 4 * (i % 2), "bbox": [0, 0, 9, 9], "iscrowd": 0}
            | ({"keypoints": [1, 1, 2, 2, 2, 1, 0, 0, 0], "num_keypoints": 2} if posed else {})
            for i in range(8)
        ],
        "categories": categories,
    }
    predictions = []
    for _ in range(80):
        x, y = rng.uniform(-30, 70, 2).round(2)
        record = {
            "image_id": int(rng.integers(0, n - 1)),  # nothing on the last image
            "category_id": int(rng.choice([3, 7])),
            "bbox": [x, y, *rng.uniform(0, 50, 2).round(2)],
            "score": float(rng.integers(1, 12) / 12),
        }
        if posed:
            points = np.c_[rng.uniform(-20, 80, (3, 2)), rng.integers(1, 9, 3) / 8]
            record["keypoints"] = points.ravel().tolist()
            record["keypoint_logits"] = [0.0] * 3
        predictions.append(record)
    merged = tmp_path / "merged.json"
    write_json(merged, predictions)
    return merged, dataset, labelled, predictions
