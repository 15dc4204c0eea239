"""The plan of a study: jobs as Snakemake prints them, costs from finished ones, the critical path."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from distill.cluster.costs import critical_path, estimate, line, work_of
from distill.cluster.jobs import Job, finished, parse
from distill.cluster.timing import timing
from distill.study.lengths import automatic_length
from distill.study.resolve import resolve
from helpers import ROOT
from helpers.workflow import lay_out

STUDY = {
    "results": "out",
    "device": "auto",
    "shards": 2,
    "model": {"config": "faster_rcnn_tiny", "batch": 8},
    "datasets": {
        "pool": {"kind": "figures", "images": 6},
        "labelled": {"kind": "subset", "of": "pool", "images": 2},
        "unlabelled": {"kind": "subset", "of": "pool", "exclude": "labelled", "strip_annotations": True},
        "val": {"kind": "figures", "images": 4, "seed": 1},
    },
    "views": {"plain": [{"scale": 100}], "all": {"scales": [100, 200]}},
    "models": {
        "teacher": {"iterations": 10},
        "student": {"labels": "distilled", "iterations": 30, "gpus": 2},
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    lay_out(folder, STUDY)
    return folder


def plan(folder: Path, *args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "scripts/plan.py", "--configfile", "study.yaml", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_a_study_before_and_after_its_first_measurements(project):
    before = plan(project)
    assert before.returncode == 0, before.stderr
    rows = {line.split()[0]: line.split()[1:] for line in before.stdout.splitlines() if line.strip()}
    # 2 views × 2 shards of unlabelled; of val 1 × 2 for each model, and one view more for the teacher
    assert rows["infer_view_boxes"][0] == str(4 + 2 * 2 + 2)
    assert rows["train_teacher"][0] == rows["retrain_student"][0] == "1"
    assert rows["train_teacher"][6] == "?"
    first = re.search("first: snakemake --configfile study.yaml -- (.*)", before.stdout)[1].split()
    assert "out/datasets/unlabelled.stats.json" in first

    (project / "out/models/teacher").mkdir(parents=True)
    record = {"seconds_per_iteration": 1800.0, "processes": 1, "spec": {"batch": 8}}
    for name in ("model.pth", "config.py", "history.csv"):
        (project / "out/models/teacher" / name).touch()
    (project / "out/models/teacher/run.json").write_text(json.dumps(record))
    log = project / "out/logs/models/student.log"
    log.parent.mkdir(parents=True)
    log.write_text("Iter(train) [10/30] eta: 0:00:02\n\n")
    after = plan(project)
    rows = {line.split()[0]: line.split()[1:] for line in after.stdout.splitlines() if line.strip()}
    # There, but waiting: the datasets that it is to be made of are not.
    assert rows["train_teacher"][1:6] == ["0", "0", "0", "0", "1"]
    # 10 iterations of half an hour; 30 of a quarter on each of two GPUs
    assert (rows["train_teacher"][6], rows["retrain_student"][6]) == ("5.00", "15.00")
    assert "  7.50 h  retrain_student_wildcards_student" in after.stdout
    assert "runs here or failed: out/logs/models/student.log\n  Iter(train) [10/30]" in after.stdout


def test_the_timing_run_is_a_study(project):
    assert plan(project, "--timing", "timing.yaml").returncode == 0
    study = resolve(yaml.safe_load((project / "timing.yaml").read_text()), ROOT)
    assert {model["config"] for model in study["models"].values()} == {"faster_rcnn_tiny"}
    assert [model["iterations"] for model in study["models"].values()] == [100]
    assert study["results"] == "out/timing"
    assert [model["batch"] for model in study["models"].values()] == [8]


def test_a_timing_run_on_this_machine_is_told_of_its_gpus(project, monkeypatch):
    """Jobs that wait for one would be timed with their waiting."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("PATH", "/nowhere")  # without Slurm
    said = plan(project, "--timing", "two.yaml").stdout
    assert said.splitlines()[-1] == "now: snakemake --resources gpu=2 --configfile two.yaml"


def test_a_timing_run_is_of_one_gpu_and_of_the_layers_that_learn():
    """From ImageNet's weights, a stem and a stage are frozen, whose activations are a half of all."""
    config = yaml.safe_load((ROOT / "config/coco.yaml").read_text())
    study = resolve(config, ROOT)
    timed = resolve(timing(config, study, {}), ROOT)
    (first,) = {m["config"] for m in study["models"].values() if m["config"].startswith("keypoint_rcnn_r50")}
    short = next(model for model in timed["models"].values() if model["config"] == first)
    assert (short["batch"], short["gpus"], short["init"]) == (2, 1, "pretrained")

    zoo = {"config": "faster_rcnn_r50_fpn", "import": {"format": "torchvision", "checkpoint": "zoo.pth"}}
    imported = STUDY | {"models": STUDY["models"] | {"teacher": zoo}}
    assert timing(imported, resolve(imported, ROOT), {})["models"]["model0"]["config"] == zoo["config"]
    config = STUDY | {"model": {"config": first, "batch": 8, "gpus": 8, "init": "teacher"}}
    config["models"] = {"teacher": {"init": "none"}, "student": {"labels": "distilled"}}
    timed = resolve(timing(config, resolve(config, ROOT), {}), ROOT)
    assert [(model["batch"], model["init"]) for model in timed["models"].values()] == [(1, "none")]


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_timing_run_of_every_study_is_one(path):
    config = yaml.safe_load(path.read_text())
    study = resolve(config, ROOT)
    timed = resolve(timing(config, study, {}), ROOT)
    assert {m["config"] for m in timed["models"].values()} == {m["config"] for m in study["models"].values()}
    assert not any("folds" in spec for spec in timed["datasets"].values())


def test_the_timing_run_of_folds_of_unions_and_of_pose_estimators(tmp_path):
    (tmp_path / "mine.py").write_text('_base_ = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"\n')
    pose = "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py"
    config = {
        "folds": 3,
        "data": str(tmp_path),
        "datasets": {
            "all": {"kind": "figures", "images": 60},
            "val": {"kind": "subset", "of": "all", "fold": "held"},
            "rest": {"kind": "subset", "of": "all", "fold": "rest"},
            "labelled": {"kind": "subset", "of": "rest", "images": 20},
            "more": {"kind": "subset", "of": "rest", "exclude": "labelled", "images": 5},
        },
        "models": {
            "teacher": {"config": "mine.py", "labelled": ["labelled", "more"], "iterations": 5},
            "pose": {"config": pose, "boxes": "teacher", "iterations": 5},
        },
        "evaluate": {"on": {"boxes": "val", "keypoints": "val"}},
        "views": {"plain": [{"scale": 100}], "all": [{"scale": 100}]},
        "tables": {"t": {"rows": ["teacher"]}},
    }
    study = resolve(config, ROOT)
    timed = resolve(timing(config, study, {}), ROOT)
    models = {model["config"]: model for model in timed["models"].values()}
    assert set(models) == {str(tmp_path / "mine.py"), pose}
    assert timed["models"][models[pose]["boxes"]]["config"].endswith("mine.py")
    assert timed["datasets"]["few"]["of"] == "labelled"
    seeds = STUDY | {"seeds": [5, 6]}
    assert timing(seeds, resolve(seeds, ROOT), {})["seeds"] == [5]  # of which a list of images may be
    assert (timed["datasets"]["val"]["range"], timed["datasets"]["rest"]["range"]) == ([0.5, 1], [0, 0.5])


def test_a_wrong_target_is_one_line(project):
    failed = plan(project, "nothing")
    assert failed.returncode == 1
    assert "No rule to produce nothing" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    text = (project / "study.yaml").read_text()
    gone = yaml.safe_load(text)
    gone["models"]["teacher"]["init"], gone["results"] = "other/gone.pth", "other"
    (project / "gone.yaml").write_text(yaml.safe_dump(gone))
    command = [sys.executable, "scripts/plan.py", "--configfile", "gone.yaml"]
    failed = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert failed.stderr.splitlines() == ["error: other/gone.pth: no such file, and no rule makes it"]


def test_costs_lie_on_a_line():
    assert line([]) is None
    assert line([(10, 25), (20, 45)])(30) == pytest.approx(65)
    assert line([(10, 20)])(30) == pytest.approx(60)
    assert line([(10, 40), (20, 30)])(30) == pytest.approx(70)  # falling: the mean rate instead


def test_the_length_of_a_training_may_follow_from_images_that_were_counted():
    models = {"teacher": {"iterations": "auto"}, "student": {"labels": "distilled", "iterations": "auto"}}
    study = resolve(STUDY | {"models": models}, ROOT)
    for name, rule, images in (("teacher", "train_teacher", 90_000), ("student", "retrain_student", 400_000)):
        job = Job(rule, (), (), {"model": name}, 1, "", "")
        counted = {"labelled": 90_000, "unlabelled": 310_000}
        assert work_of(job, study, {"labelled": 90_000} if name == "student" else {}) is None
        learned = automatic_length(images, 8, student=name == "student") * 8
        assert work_of(job, study, counted) == learned > 5000 * 8


DRY_RUN = """
rule predict:
    input: model.pth
    output: {name}.json
    log: {name}.log
    jobid: 3
    benchmark: {name}.tsv
    wildcards: model=m, dataset=val, view=s0100, shard=000
    resources: mem_mb=1, gpu=1

"""


def test_the_critical_path_is_the_longest_chain():
    text = "rule train_teacher:\n    input: a\n    output: model.pth\n    wildcards: model=m\n\n"
    text += DRY_RUN.format(name="short") + DRY_RUN.format(name="long")
    text += "localrule join:\n    input: short.json, long.json\n    output: all.json\n"
    train, short, long, join = jobs = parse(text)
    assert short.comment == "rule_predict_wildcards_m_val_s0100_000"
    assert short.gpus == 1
    assert critical_path(jobs, {train: 5, short: 1, long: 2, join: None}) == [train, long, join]


def test_prediction_costs_follow_images_and_pixels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = resolve(STUDY | {"models": {"m": {}, "teacher": {}}, "labels": {}}, ROOT)
    done, other = parse(DRY_RUN.format(name="done") + DRY_RUN.format(name="other").replace("s0100", "s0200"))
    Path("done.json").write_bytes(b"x" * 50)
    Path("done.tsv").write_text("s\th:m:s\n7.0\t0:00:07\n")
    seconds, sizes = estimate([done, other], study, {"val": 4}, [(done, study, {"val": 4})])
    assert seconds[other] == pytest.approx(28)  # twice the side
    assert sizes[other] == pytest.approx(200)


def test_heatmaps_cost_the_same_whether_they_stay_or_not(tmp_path, monkeypatch):
    """A timing run keeps its heatmaps, the large study that it is for does not."""
    monkeypatch.chdir(tmp_path)
    study = resolve(STUDY | {"models": {"m": {}, "teacher": {}}, "labels": {}}, ROOT)
    kept = DRY_RUN.format(name="done").replace("predict", "infer_view_heatmaps")
    gone = DRY_RUN.format(name="other").replace("predict", "infer_view_temporary")
    done, other = parse(f"{kept}{gone}\nWould remove temporary output other.json\n")
    Path("done.json").touch()
    Path("done.tsv").write_text("s\th:m:s\n7.0\t0:00:07\n")
    seconds, _ = estimate([done, other], study, {"val": 4}, [(done, study, {"val": 4})])
    assert seconds[other] == pytest.approx(7)
    (merge,) = parse(DRY_RUN.format(name="merged").replace("predict", "merge_views"))
    merge = replace(merge, inputs=other.outputs)
    assert finished([other, merge]) == set()
    Path("merged.json").touch()  # the heatmaps went when they were merged
    assert finished([other, merge]) == {other, merge}
