"""Small datasets of real files, and what tests share: one network, and one finished study of stand-ins."""

import copy
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pytest
from annotated import Coco
from stand_in import Project
from workflow import lay_out

ROOT = Path(__file__).parents[1]
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


def lay_out_arrows(folder: Path, study: dict, **images: int) -> None:
    """The workflow, and so many images in a folder for each of the datasets."""
    lay_out(folder, study)
    for seed, (name, count) in enumerate(images.items(), 10):
        draw_dataset(folder / name, count, seed)


SPEC = {
    "iterations": 20,
    "batch": 2,
    "lr": 0.02,
    "scales": [96, 112],
    "max_side": 200,
    "init": "none",
    "seed": 0,
}


def training_job(tmp_path: Path, config: str, labelled: Path, name="model", labels=None, **spec):
    """A Job of distill.nn.training with small numbers."""
    from distill.nn.training import Job

    return Job(
        name,
        ROOT / f"config/models/{config}.py",
        {**SPEC, **spec},
        labelled,
        labels,
        None,
        tmp_path / f"{name}.work",
        tmp_path / name,
        "cpu",
    )


@pytest.fixture
def coco(tmp_path) -> Coco:
    """Four annotated images of random pixels, to be spoilt."""
    return Coco(tmp_path / "coco")


@pytest.fixture(scope="session")
def arrows(tmp_path_factory) -> Path:
    """12 annotated images."""
    return draw_dataset(tmp_path_factory.mktemp("data") / "arrows", 12, seed=0)


@pytest.fixture(scope="session")
def keypoint_model(tmp_path_factory, arrows) -> Path:
    """A keypoint model trained for a few iterations: good enough to say something."""
    from distill.nn.training import train

    folder = tmp_path_factory.mktemp("model")
    train(training_job(folder, "keypoint_rcnn_tiny", arrows, iterations=60))
    return folder / "model"


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A study of stand-ins that has run."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.run()
    return project


@pytest.fixture
def edited(finished) -> Project:
    """The finished study with a copy of its configuration to edit; the edit is only planned, never run."""
    project = copy.copy(finished)
    project.config = copy.deepcopy(finished.config)
    return project


@pytest.fixture(scope="session")
def coco_pose() -> Path:
    """Real photographs with COCO's keypoints; they are not in this repository."""
    folder = Path(os.environ.get("COCO_POSE", ROOT.parent / "shared/data/coco_pose"))
    if not (folder / "annotations.json").is_file():
        pytest.skip(f"no photographs in {folder}; COCO_POSE=PATH names the folder of config/people.yaml")
    return folder


@pytest.fixture(scope="session")
def labels_path(tmp_path_factory) -> Path:
    """Generated labels, of the study that `studied` makes up."""
    import studied  # which draws with what is here

    return studied.make(tmp_path_factory.mktemp("studied"))[1] / "labels/distilled/annotations.json"


@pytest.fixture
def labels(labels_path) -> Coco:
    return json.loads(labels_path.read_text())
