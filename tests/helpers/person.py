"""A category with three keypoints, instances of it, and a dataset of them."""

from pathlib import Path

PERSON = {
    "id": 1,
    "name": "person",
    "keypoints": ["nose", "left_hand", "right_hand"],
    "skeleton": [[1, 2], [1, 3], [2, 3]],
    "flip_pairs": [[1, 2]],
}
POINTS = [30, 30, 2, 20, 40, 2, 40, 40, 2]


def person(image: int, score: float | None = None, shift: float = 0.0, points=POINTS) -> dict:
    points = [v + shift if i % 3 == 0 else v for i, v in enumerate(points)]
    record = {"image_id": image, "category_id": 1, "bbox": [10.0 + shift, 20.0, 40.0, 40.0], "area": 1600.0}
    return record | {"keypoints": points} | ({"score": score} if score is not None else {})


def dataset(root: Path, annotations: list, images: int = 3) -> dict:
    names = ["a.png", "b <script>.png", "c.png"]
    listed = [{"id": i + 1, "file_name": names[i], "width": 64, "height": 48} for i in range(images)]
    info = {"description": "", "image_root": str(root), "kind": "coco", "skipped": []}
    return {"info": info, "images": listed, "annotations": annotations, "categories": [PERSON]}
