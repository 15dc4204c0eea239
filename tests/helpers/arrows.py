"""Small datasets of drawn arrows and discs."""

import json
from pathlib import Path

import cv2
import numpy as np

from helpers.workflow import lay_out

CATEGORIES = [
    {
        "id": 3,
        "name": "arrow",
        "keypoints": ["tip", "left", "right"],
        "skeleton": [[1, 2], [1, 3]],
        "flip_pairs": [[1, 2]],
    },
    {"id": 7, "name": "disc"},
]


def draw_dataset(folder: Path, images: int, seed: int, annotated: bool = True, size=(128, 96)) -> Path:
    """Arrows (three keypoints; the left barb is red, the right one blue) and discs (no keypoints)."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    coco = {"info": {"image_root": str(folder / "images")}, "images": [], "annotations": []}
    for index in range(images):
        width, height = size if index % 3 else size[::-1]
        pixels = np.full((height, width, 3), rng.integers(60, 200), np.uint8)
        for label in sorted(rng.permutation([3, 7])[: 1 + index % 2], reverse=True):  # arrows on top
            side = int(rng.integers(28, 48))
            x, y = (int(rng.integers(2, s - side - 2)) for s in (width, height))
            annotation = {
                "id": len(coco["annotations"]) + 1,
                "image_id": index + 1,
                "category_id": int(label),
                "bbox": [x, y, side, side],
                "area": side * side,
                "iscrowd": 0,
            }
            if label == 3:
                tip, left, right = (x + side // 2, y + 2), (x + 3, y + side - 3), (x + side - 3, y + side - 3)
                cv2.line(pixels, tip, left, (0, 0, 255), 4)
                cv2.line(pixels, tip, right, (255, 0, 0), 4)
                annotation["keypoints"] = [v for p in (tip, left, right) for v in (p[0] + 0.5, p[1] + 0.5, 2)]
                annotation["num_keypoints"] = 3
            else:
                cv2.circle(pixels, (x + side // 2, y + side // 2), side // 2, (40, 220, 220), -1)
            coco["annotations"].append(annotation)
        name = f"{index:04d}.png"
        cv2.imwrite(str(folder / "images" / name), pixels)
        coco["images"].append({"id": index + 1, "file_name": name, "width": width, "height": height})
    coco["categories"] = CATEGORIES
    if not annotated:
        coco["annotations"], coco["categories"] = [], []
    path = folder / f"{folder.name}.json"
    path.write_text(json.dumps(coco))
    return path


def colour_at(image, point):
    """Red against blue, of the pixels around a point of an image (3, H, W) in BGR."""
    x, y = (int(v) for v in point[:2])
    patch = image[:, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].astype(float).mean((1, 2))
    return patch[2] - patch[0]


def lay_out_arrows(folder: Path, study: dict, warmed: bool = False, **images: int) -> None:
    """The workflow, and so many images in a folder for each of the datasets."""
    lay_out(folder, study, warmed)
    for seed, (name, count) in enumerate(images.items(), 10):
        draw_dataset(folder / name, count, seed)
