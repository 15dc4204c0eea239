"""What runs, by the real Snakemake: the whole chain, targets, files that have changed, failures."""

import os
import re
import shutil

import pytest
import yaml

from distill.study.needs import needs
from distill.study.resolve import resolve
from helpers import ROOT
from helpers.configs import DRAWN
from helpers.stand_in import Project, models_of
from helpers.workflow import lay_out, snakemake


def test_the_whole_chain_runs_and_then_nothing_is_left(finished):
    for path in (
        *("datasets/val.json", "datasets/val.stats.json", "datasets/splits/val/labelled.json", "study.json"),
        *("models/student/model.pth", "models/student/run.json", "models/student/history.csv"),
        *("predictions/teacher/val/boxes/001.json", "predictions/teacher/unlabelled/s0160-flip/001.h5"),
        *("predictions/box-teacher/unlabelled/s0160-flip/001.json", "merged/teacher/unlabelled/all/001.json"),
        *(
            "merged/teacher/unlabelled/all.json",
            "labels/boxes/thresholds.json",
            "labels/boxes/annotations.json",
        ),
        *("evaluation/student/val/plain.json", "tables/keypoints.csv", "tables/keypoints.md", "report.html"),
        *("plots/boxes.svg", "plots/boxes.png", "plots/training/boxes.svg", "plots/training/keypoints.png"),
    ):
        assert (finished.folder / "out" / path).exists(), path
    assert finished.plan() == {}


def test_single_views_are_shared_between_view_sets(finished):
    """Under `all` and under `plain`, the view at 200 is predicted once."""
    views = {path.name for path in (finished.folder / "out/predictions/teacher/val").iterdir()}
    assert views == {"boxes", "s0160", "s0160-flip", "s0200", "s0200-flip"}


def test_views_are_selected_by_measurement_on_the_validation_set(finished):
    plan = finished.plan("views")
    assert plan["select_views"] == {
        f"selection/{model}/val/all{end}"
        for model in ("teacher", "box-teacher")
        for end in (".csv", ".md", ".svg")
    }
    assert models_of(plan["infer_view_boxes"]) == {"box-teacher"}
    assert not {"train_teacher", "merge_views", "evaluate"} & set(plan)


def test_labels_that_aim_at_validation_images_need_predictions_of_these(edited):
    edited.config["labels"]["boxes"]["calibrate"] = {"aim": "validation"}
    edited.config["views"]["all"]["scales"] = [160, 200, 240]
    plan = edited.plan("labels")
    assert "merged/box-teacher/val/all.json" in plan["gather_shards"]
    assert not any(
        "/val/" in path for path in plan["infer_view_heatmaps"]
    )  # those of the keypoints go by the mean
    new = {path.split("/")[2] for path in plan["infer_view_boxes"] if "s0240" in path}
    assert new == {"val", "unlabelled"}
    study = resolve(edited.config, ROOT)
    counted = needs(study, study["tables"]["boxes"]["rows"]).predictions
    assert ("box-teacher", "val", "s0240-flip") in counted


def test_code_alone_runs_nothing_again(finished):
    for program in (finished.folder / "scripts").glob("*.py"):
        program.write_text(program.read_text() + "\n# refactored\n")
    assert finished.plan() == {}


def test_a_version_raised_by_hand_runs_its_stage_and_what_follows(finished):
    path = finished.folder / "rules/common.smk"
    text = path.read_text()
    path.write_text(text.replace('"calibrate": 1', '"calibrate": 2'))
    plan = finished.plan()
    path.write_text(text)
    assert len(plan["calibrate_threshold"]) == 2
    assert "merged/teacher/unlabelled/all.json" not in plan.get("gather_shards", set())
    assert "train_teacher" not in plan


def test_a_model_config_counts_by_content_with_its_bases(finished):
    keypoints, tiny = (
        finished.folder / "config/models" / name for name in ("keypoint_rcnn_tiny.py", "faster_rcnn_tiny.py")
    )
    for path in (keypoints, tiny):
        os.utime(path)
    assert finished.plan() == {}
    text = keypoints.read_text()
    keypoints.write_text(text + "\nchanged = True\n")
    assert models_of(finished.plan()["train_teacher"]) == {"teacher"}
    keypoints.write_text(text)
    base = tiny.read_text()
    tiny.write_text(base + "\nchanged = True\n")
    assert models_of(finished.plan()["train_teacher"]) == {"teacher", "box-teacher"}
    tiny.write_text(base)


@pytest.mark.parametrize("folder", ["pool", "pool/a day, in May"])
def test_images_put_into_a_folder_are_seen(finished, folder):
    (finished.folder / folder / "new.jpg").touch()
    plan = finished.plan()
    assert "datasets/pool.json" in plan["split_data"]
    assert "train_teacher" not in plan
    os.utime(finished.folder / folder, (0, 0))
    assert finished.plan() == {}


def test_results_within_a_folder_of_images_change_no_dataset(tmp_path):
    project = Project(tmp_path)
    project.config["results"] = "pool/some/out"
    for _ in range(2):
        done = project.snakemake("--cores", "2", "pool/some/out/datasets/pool.json")
        assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stdout + done.stderr


def test_every_table_is_a_target_and_so_are_the_labels(tmp_path):
    project = Project(tmp_path)
    plan = project.plan("boxes")
    assert plan["tabulate"] == {"tables/boxes.csv", "tables/boxes.md"}
    assert "plots/boxes.svg" in plan["plot_table"]
    assert "detect_boxes" not in plan
    plan = project.plan("labels")
    assert plan["generate_labels"] == {f"labels/{name}/annotations.json" for name in ("boxes", "distilled")}
    assert not {"retrain_student", "evaluate"} & set(plan)


@pytest.mark.parametrize("keep", ["none", [1]])
def test_heatmaps_go_once_they_are_merged(tmp_path, keep):
    project = Project(tmp_path)
    project.config["keep_heatmaps"] = keep
    project.run("keypoints")
    left = {path.stem for path in (project.folder / "out/predictions").rglob("*.h5")}
    assert left == ({"001"} if keep == [1] else set())
    assert project.plan("keypoints") == {}


def test_a_subset_that_shares_predictions_is_not_predicted(tmp_path):
    project = Project(tmp_path)
    project.config["datasets"]["part"] = {"kind": "subset", "of": "unlabelled", "fraction": 0.5}
    project.config["labels"]["distilled"]["dataset"] = "part"
    project.config["labels"]["more"] = {"dataset": "unlabelled"}
    project.config["models"]["student-of-more"] = {"labels": "more"}
    project.config["tables"]["keypoints"]["rows"].append("student-of-more")
    alone = project.plan("keypoints")
    assert "predictions/teacher/part/s0160/000.h5" in alone["infer_view_heatmaps"]
    project.config["datasets"]["part"]["share_predictions"] = True
    plan = project.plan("keypoints")
    assert plan["select_predictions"] == {"merged/teacher/part/all.json"}
    assert "merged/teacher/unlabelled/all.json" in plan["gather_shards"]
    assert not any("/part/" in path for path in plan["infer_view_heatmaps"] | plan["merge_views"])
    assert plan["generate_labels"] == alone["generate_labels"]


def test_several_seeds_share_what_is_not_drawn(tmp_path):
    project = Project(tmp_path)
    project.config["seeds"] = [0, 1]
    plan = project.plan("boxes")
    assert plan["split_data"] == {
        f"datasets/{name}.json"
        for name in ("pool", "labelled", "val", "unlabelled-seed0", "unlabelled-seed1")
    }
    assert models_of(plan["retrain_student"]) == {"box-student-seed0", "box-student-seed1"}


def test_a_mistake_in_the_configuration_is_one_line(tmp_path):
    project = Project(tmp_path)
    project.config["tables"]["boxes"]["rows"] = ["box-teahcer"]
    failed = project.snakemake("-n")
    assert failed.returncode == 1
    assert (
        failed.stderr
        == "error: tables.boxes.rows: there is no model 'box-teahcer'; did you mean 'box-teacher'?\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: faster_rcnn_tiny\n", "error: config: needs the key 'datasets'\n"),
        (
            "shards: 1\nthreads: 1\nshards: 2\n",
            "line 3: the key 'shards' is there twice; it is in line 1 too\n",
        ),
        ('{"shards": NaN, "datasets": {}}', "error: shards: nan is no finite number\n"),
    ],
)
def test_a_file_in_which_something_would_be_lost_is_refused(tmp_path, text, message):
    """One without datasets, too: it is a mistake, and not the demo."""
    project = Project(tmp_path)
    (project.folder / "mine.yaml").write_text(text)
    failed = snakemake(project.folder, "-n", config="mine.yaml")
    assert failed.returncode == 1
    assert failed.stderr.endswith(message)
    assert failed.stderr.count("\n") == 1


def test_a_table_cannot_have_the_name_of_a_rule(tmp_path):
    project = Project(tmp_path)
    project.config["tables"]["evaluate"] = project.config["tables"].pop("boxes")
    failed = project.snakemake("-n")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: tables: 'evaluate' is the name of a rule of the workflow;")
    assert failed.stderr.count("\n") == 1


def test_weights_of_imagenet_are_asked_for_before_any_job_runs_and_downloaded_on_demand(tmp_path):
    project = Project(tmp_path)
    project.config["models"]["box-teacher"] |= {"init": "pretrained", "config": "faster_rcnn_r101_fpn"}
    assert "box-teacher" in models_of(project.plan("boxes")["train_teacher"])
    failed = project.snakemake("--cores", "2", "boxes")
    assert failed.returncode == 1
    assert "error: weights/resnet101-63fe2227.pth: no such file; `snakemake … -- download`" in failed.stderr
    assert not (project.folder / "out/datasets").exists()
    assert project.plan("download")["fetch_weights"] == {"weights/resnet101-63fe2227.pth"}
    project.run("download")
    project.run("out/models/box-teacher/model.pth")
    (project.folder / "weights/resnet101-63fe2227.pth").unlink()  # the training needs them no more
    project.run("out/models/box-teacher/model.pth")


@pytest.mark.parametrize(("device", "asked"), [("auto", True), ("cpu", False)])
def test_a_study_for_cpus_asks_for_no_gpus_and_no_second_node(tmp_path, device, asked):
    project = Project(tmp_path)
    project.config |= {"device": device}
    project.config["models"]["box-teacher"] |= {"gpus": 2, "nodes": 2, "batch": 4}
    said = project.snakemake("-n", "out/models/box-teacher/model.pth")
    shown = said.stdout + said.stderr
    (resources,) = re.findall("^rule train_teacher:.*?resources: (.*?)$", shown, re.M | re.S)
    assert [f"{name}=" in resources for name in ("mpi", "tasks", "gres")] == [asked] * 3
    assert ("nodes=2" in resources, "mem_mb=32000" in resources, "gpu=4" in resources) == (asked,) * 3


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"config": "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py", "freeze_rpn": True}, "freeze_rpn"),
        (
            {"config": "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "init": "pretrained"},
            "no such file",
        ),
        (
            {"config": "mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py"},
            "soft",
        ),
        ({"nodes": 2}, "needs Slurm, whose srun is not here"),
    ],
)
def test_what_would_end_a_training_is_said_before_its_teacher_is_trained(tmp_path, student, message):
    if "nodes" in student and shutil.which("srun"):
        pytest.skip("Slurm is here")
    study = yaml.safe_load(DRAWN) | {
        "results": "out",
        "models": {"teacher": {}, "student": {"labels": "distilled"}},
        "views": {"plain": [{"scale": 200}]},
    }
    study["models"]["student"] |= student
    lay_out(tmp_path, study)
    failed = snakemake(tmp_path, "--cores", "2", "--quiet", "all")
    assert failed.returncode == 1
    assert message in failed.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_the_log_of_a_failed_job_has_its_message(tmp_path):
    project = Project(tmp_path)
    (project.folder / "scripts/check_splits.py").write_text("raise SystemExit('error: image 7 is in both')")
    failed = project.snakemake("--cores", "2", "--show-failed-logs", "boxes")
    assert failed.returncode == 1
    assert "image 7 is in both" in failed.stdout + failed.stderr
    assert not (project.folder / "out/evaluation").exists()


@pytest.mark.parametrize("name", ["config", "figures", "bccd", "mouse", "people"])
def test_the_studies_that_are_here_can_be_planned(name):
    path = ROOT / "config" / f"{name}.yaml"
    data = ROOT / yaml.safe_load(path.read_text()).get("data", ".")
    if not data.exists():
        pytest.skip(f"no data in {data}")
    planned = snakemake(ROOT, "-n", "--quiet", "all", "--nolock", config=str(path))
    assert planned.returncode == 0, planned.stderr
