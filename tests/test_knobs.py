"""Several teachers, fixed boxes, two rounds and view selection, end to end: real programs, small images."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from pycocotools.coco import COCO

from helpers.arrows import lay_out_arrows
from helpers.workflow import succeed

STUDY = """
results: out
device: cpu
threads: 1
model: {config: keypoint_rcnn_tiny, iterations: 20, batch: 2, lr: 0.02, scales: [64], warmup: 2}
datasets:
  labelled: {kind: coco, images: labelled/images, annotations: labelled/labelled.json}
  val: {kind: coco, images: val/images, annotations: val/val.json}
  unlabelled: {kind: folder, images: unlabelled/images}
views: {plain: [{scale: 64}], all: [s0064, s0096-flip]}
models:
  teacher: {}
  other: {seed: 1}
  box-teacher: {config: faster_rcnn_tiny}
  student: {labels: first, init: teacher, freeze_rpn: true, background: ignore}
labels:
  first: {teacher: teacher}
  second: {teacher: student}
  # Nobody learns from these: of annotated images, so that their predictions serve the selection too.
  both:
    teacher: [teacher, other]
    dataset: val
    merge: {average: max_logit, upsample: true, size_dependent: 900}
  averaged: {teacher: box-teacher, dataset: val, merge: {boxes: average}}
tables: {keypoints: {rows: [teacher]}}
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    lay_out_arrows(folder, yaml.safe_load(STUDY), warmed=True, labelled=8, val=4, unlabelled=4)
    succeed(folder, "--cores", "2", "--show-failed-logs", "labels", "views")
    return folder / "out"


def read(path: Path):
    return json.loads(path.read_text())


def test_teachers_of_keypoints_speak_of_the_boxes_of_the_first(done):
    boxes = read(done / "predictions/teacher/val/boxes/000.json")
    assert boxes
    maps = []
    for path in ("teacher/val/s0064", "other/val/s0064@teacher"):
        with h5py.File(done / "predictions" / path / "000.h5") as file:
            assert np.allclose(file["box"][:], [record["bbox"] for record in boxes])
            assert file["score"][:].tolist() == [record["score"] for record in boxes]
            maps.append(file["heatmap"][:])
    assert (maps[0] != maps[1]).any(axis=(1, 2, 3)).all()
    merged = read(done / "merged/teacher+other/val/all~both.json")
    assert [record["bbox"] for record in merged] == [record["bbox"] for record in boxes]


def test_averaged_boxes_are_means_over_views(done):
    """Each box of the plain view, as it is seen under both views; where nothing suppresses or votes on it."""
    plain = {record["id"]: record for record in read(done / "predictions/box-teacher/val/boxes/000.json")}
    seen = [
        {record["id"]: record for record in read(path)["predictions"]}
        for path in (done / "predictions/box-teacher/val").glob("s*@box-teacher/000.json")
    ]
    assert len(seen) == 2
    assert plain.keys() == seen[0].keys() == seen[1].keys() != set()
    means = {round((seen[0][n]["score"] + seen[1][n]["score"]) / 2, 6) for n in plain}
    scores = {record["score"] for record in read(done / "merged/box-teacher/val/all~averaged.json")}
    assert scores
    assert min(abs(a - b) for a in scores for b in means) < 2e-6
    assert all(min(abs(score - mean) for mean in means) < 2e-6 for score in scores)


def test_a_student_with_a_frozen_rpn_starts_from_its_teacher_and_teaches(done):
    weights = [
        torch.load(done / f"models/{name}/model.pth", weights_only=True)["state_dict"]
        for name in ("teacher", "student")
    ]
    same = {name for name, tensor in weights[0].items() if torch.equal(tensor, weights[1][name])}
    assert same >= {name for name in weights[0] if name.startswith("rpn_head.")}
    assert "roi_head.keypoint_head.deconv.weight" not in same
    spec = read(done / "models/student/run.json")["spec"]
    assert (spec["init"], spec["freeze_rpn"], spec["background"]) == ("teacher", True, "ignore")


@pytest.mark.parametrize("labels", ["first", "second", "both", "averaged"])
def test_labels_are_coco(done, labels, capsys):
    coco = COCO(str(done / f"labels/{labels}/annotations.json"))
    thresholds = read(done / f"labels/{labels}/thresholds.json")
    assert len(coco.getAnnIds()) == sum(entry["met"] for entry in thresholds["instances"].values()) > 0


@pytest.mark.parametrize("name", ["teacher+other/val/all~both", "box-teacher/val/all~averaged"])
def test_selection_measures_every_view_and_growing_sets(done, name):
    path = done / f"selection/{name}.csv"
    frame = pd.read_csv(path)
    assert frame["set"].tolist() == ["alone", "alone", "growing", "growing"]
    assert set(frame["view"][:2]) == set(frame["view"][2:]) == {"s0064", "s0096-flip"}
    assert frame["AP"][2] == frame["AP"][:2].max()
    assert path.with_suffix(".svg").exists()
    assert "chosen: [" in path.with_suffix(".md").read_text()
