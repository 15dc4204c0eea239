"""The whole chain for both tasks: real programs, small images; its artifacts read by other libraries."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from distill.inspection.pictures import picture
from distill.inspection.words import describe
from distill.predictions.heatmap_file import read_header
from helpers import warm
from helpers.arrows import lay_out_arrows
from helpers.browser import CHROMIUM, Browser
from helpers.options import dataset_spec
from helpers.workflow import command, kill, lay_out, snakemake, succeed

STUDY = """
results: out
device: auto  # the GPUs are fakes, which each job has for itself
threads: 1
model: {config: keypoint_rcnn_tiny, iterations: 30, batch: 2, lr: 0.02, scales: [96], warmup: 5}
datasets:
  labelled: {kind: coco, images: labelled/images, annotations: labelled/labelled.json}
  unlabelled: {kind: folder, images: unlabelled/images}
  val: {kind: coco, images: val/images, annotations: val/val.json}
views:
  plain: [{scale: 96}]
  all: {scales: [96], flip: true}
models:
  teacher: {}
  student: {labels: distilled}
  box-teacher: {config: faster_rcnn_tiny}
  box-student: {config: faster_rcnn_tiny, labels: boxes}
labels:
  distilled: {}
  boxes: {teacher: box-teacher}
shards: 2
tables:
  keypoints: {rows: [teacher, {model: teacher, views: all}, student]}
  boxes: {rows: [box-teacher, box-student]}
"""


GPUS = {"fake-a", "fake-b"}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Iterator[Path]:
    """A finished run. Its teacher was killed with kill -9 on the way, and Snakemake with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", ",".join(sorted(GPUS)))
        yield finish(tmp_path_factory.mktemp("study"))


def finish(folder: Path) -> Path:
    study = yaml.safe_load(STUDY) | {"unreadable": 0.2}
    lay_out_arrows(folder, study, warmed=True, labelled=10, unlabelled=9, val=6)
    (folder / "unlabelled/images/broken.jpg").write_bytes(b"\xff\xd8 no image")
    with open(folder / "first.log", "w") as log:
        first = subprocess.Popen(
            command("--cores", "2", "--resources", "gpu=2"), cwd=folder, stdout=log, stderr=log
        )
        work = folder / "out/models/teacher.work"
        while not (work / "last_checkpoint").exists():  # written when a checkpoint is complete
            assert first.poll() is None, (folder / "first.log").read_text()[-3000:]
            time.sleep(0.1)
        kill(first, folder)
    succeed(folder, "--cores", "2", "--resources", "gpu=2", "--rerun-incomplete", "--show-failed-logs")
    return folder


def test_each_job_had_one_of_the_gpus(done):
    logs = [*done.glob("out/logs/models/*.log"), *done.glob("out/logs/predictions/*/*/*/*.log")]
    used = [re.findall(r"GPUs: (.*) of fake-a,fake-b$", log.read_text(), re.M)[-1] for log in logs]
    assert len(used) > 20
    assert set(used) == GPUS


def read(path: Path):
    return json.loads(path.read_text())


def test_a_killed_training_went_on(done):
    assert read(done / "out/models/teacher/run.json")["resumes"] == 1


def test_nothing_is_left_to_do(done):
    run = snakemake(done, "-n")
    assert "Nothing to be done" in run.stdout + run.stderr


def test_unreadable_images_are_left_out_and_listed(done):
    unlabelled = read(done / "out/datasets/unlabelled.json")
    assert len(unlabelled["images"]) == 9
    assert [entry["file_name"] for entry in unlabelled["info"]["skipped"]] == ["broken.jpg"]
    assert read(done / "out/datasets/unlabelled.stats.json")["images"] == 9


@pytest.mark.parametrize("labels", ["distilled", "boxes"])
def test_labels_are_coco_and_meet_their_thresholds(done, labels, capsys):
    folder = done / "out/labels" / labels
    coco = COCO(str(folder / "annotations.json"))
    thresholds = read(folder / "thresholds.json")
    assert len(coco.getImgIds()) == 9
    assert [category["id"] for category in coco.loadCats(coco.getCatIds())] == [3, 7]
    annotations = coco.loadAnns(coco.getAnnIds())
    for category_id, entry in thresholds["instances"].items():
        mine = [a for a in annotations if a["category_id"] == int(category_id)]
        assert len(mine) == entry["met"]
        if mine:
            assert min(a["score"] for a in mine) == pytest.approx(entry["threshold"])
    if labels == "distilled":
        arrows = [a for a in annotations if a["category_id"] == 3]  # a disc has no keypoints
        assert all(len(a["keypoints"]) == 9 for a in arrows)
        assert thresholds["keypoints"]["met"] == sum(a["num_keypoints"] for a in arrows)


def test_heatmaps_are_shared_rows_under_every_view(done):
    files = sorted((done / "out/predictions/teacher/unlabelled").glob("s*/000.h5"))
    assert [path.parent.name for path in files] == ["s0096", "s0096-flip"]
    boxes = read(done / "out/predictions/teacher/unlabelled/boxes/000.json")
    for path in files:
        with h5py.File(path) as file:
            assert file["heatmap"].shape == (len(boxes), 3, 56, 56)
            assert np.allclose(file["box"][:].reshape(-1, 4), [b["bbox"] for b in boxes] or np.empty((0, 4)))
            assert {"view", "keypoint_names", "flip_pairs", "model"} <= set(file.attrs)


def test_box_predictions_have_a_header(done):
    shard = read(done / "out/predictions/box-teacher/unlabelled/s0096-flip/001.json")
    assert shard["view"] == "s0096-flip"
    assert {"id", "width", "height", "view_width", "view_height"} <= set(shard["images"][0])
    assert len(shard["images"]) == 5


@pytest.mark.parametrize(("model", "kind"), [("teacher", "keypoints"), ("box-student", "bbox")])
def test_evaluation_is_pycocotools_on_the_merged_file(done, model, kind, capsys):
    truth = COCO(str(done / "out/datasets/val.json"))
    merged = read(done / f"out/merged/{model}/val/plain.json")
    if kind == "keypoints":
        merged = [record for record in merged if record["category_id"] == 3]
    evaluation = COCOeval(truth, truth.loadRes(merged), kind)
    if kind == "keypoints":
        evaluation.params.kpt_oks_sigmas = np.full(3, 0.05)
        evaluation.params.catIds = [3]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    found = read(done / f"out/evaluation/{model}/val/plain.json")
    assert found["AP"] == pytest.approx(evaluation.stats[0], abs=1e-9)


def test_models_load_safely_and_students_saw_both_kinds(done):
    for model in ("teacher", "student", "box-teacher", "box-student"):
        checkpoint = torch.load(done / f"out/models/{model}/model.pth", weights_only=True)
        assert checkpoint["meta"]["model"] == model
        history = pd.read_csv(done / f"out/models/{model}/history.csv")
        assert history["iteration"].iloc[-1] == 30
        drawn = history.iloc[-1][["labelled", "generated"]]
        assert drawn.sum() == 60
        assert (drawn["generated"] > 0) == model.endswith("student")


def test_tables_and_the_report_are_there(done):
    table = pd.read_csv(done / "out/tables/keypoints.csv")
    assert len(table) == 3
    assert (done / "out/tables/boxes.md").exists()
    page = (done / "out/report.html").read_text()
    assert "data:image/jpeg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    for stage in ("trained in", "tested in", "predicted in", "merged in", "calibrated in"):
        assert stage in page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium")
def test_the_report_opens_in_a_browser(done, tmp_path):
    browser = Browser(tmp_path)
    browser.open(done / "out/report.html")
    assert browser.run("document.querySelectorAll('.labels').length") == 2  # of keypoints, of boxes
    assert browser.run("document.querySelectorAll('.compared').length") > 0
    assert browser.problems == []
    browser.close()


def test_every_artifact_can_be_said_in_words(done, monkeypatch):
    monkeypatch.chdir(done)
    for path in sorted(Path("out").rglob("*")):
        if path.suffix in (".json", ".h5", ".pth", ".csv", ".md") and ".work" not in str(path):
            assert len(describe(path)) > 1, path


def test_heatmaps_have_a_picture(done, monkeypatch):
    monkeypatch.chdir(done)
    for shard in ("000", "001"):
        path = Path(f"out/predictions/teacher/unlabelled/s0096-flip/{shard}.h5")
        if read_header(path).count:
            assert "the mean of 2 views" in picture(path).get_suptitle()


def test_same_config_gives_the_same_bytes(done, tmp_path):
    """The dataset stage again, elsewhere: the same bytes."""
    target = tmp_path / "again.json"
    spec = dataset_spec(**yaml.safe_load(STUDY)["datasets"]["labelled"])
    options = ["--name", "labelled", "--spec", json.dumps(spec), "--output", target]
    assert warm.run("split_data.py", *options, cwd=done).returncode == 0
    assert target.read_bytes() == (done / "out/datasets/labelled.json").read_bytes()


def test_a_failed_job_says_why(done, tmp_path):
    """A study whose only fault shows while it runs ends with its one line on the terminal."""
    lay_out(tmp_path, yaml.safe_load(STUDY), warmed=True)
    for name in ("labelled", "unlabelled"):
        (tmp_path / name).symlink_to(done / name)
    shutil.copytree(done / "val", tmp_path / "val")
    (tmp_path / "val/images/0000.png").write_bytes(b"no image")
    run = snakemake(tmp_path, "--cores", "2", "--show-failed-logs", "out/datasets/val.json")
    assert run.returncode != 0
    assert "0000.png" in run.stdout + run.stderr
