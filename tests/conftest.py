"""What tests share: small datasets of real files, one network, and one finished study of stand-ins."""

import copy
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

import distill.models  # noqa: F401 — before mmdet is imported
from helpers import ROOT
from helpers.annotated import Coco
from helpers.arrows import draw_dataset
from helpers.networks import training_job
from helpers.stand_in import Project


@pytest.fixture
def coco(tmp_path) -> Coco:
    """Four annotated images of random pixels, to be spoilt."""
    return Coco(tmp_path / "coco")


@pytest.fixture(scope="session")
def arrows(tmp_path_factory) -> Path:
    """12 annotated images."""
    return draw_dataset(tmp_path_factory.mktemp("data") / "arrows", 12, seed=0)


@pytest.fixture(scope="session")
def generated(tmp_path_factory) -> Path:
    """20 other images, whose annotations stand for generated labels."""
    return draw_dataset(tmp_path_factory.mktemp("data") / "generated", 20, seed=1)


@pytest.fixture(scope="session")
def keypoint_model(tmp_path_factory, arrows) -> Path:
    """A keypoint model trained for a few iterations: good enough to say something."""
    from distill.models.training import train

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
    from helpers import studied

    return studied.make(tmp_path_factory.mktemp("studied"))[1] / "labels/distilled/annotations.json"


@pytest.fixture
def labels(labels_path) -> Coco:
    return json.loads(labels_path.read_text())


@pytest.fixture(scope="session")
def hostile_page(tmp_path_factory) -> Path:
    """A report of names that would run, break or vanish if they were taken for more than names."""
    from distill.report.page import Report
    from helpers import studied

    folder = tmp_path_factory.mktemp("hostile")
    (folder / "report.html").write_text(
        Report(*studied.make(folder, names=studied.HOSTILE)).render(), "utf-8"
    )
    return folder / "report.html"
