"""What runs, and what runs again, by the real Snakemake; the programs are stand-ins that only write files."""

import copy
import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from workflow import snakemake

ROOT = Path(__file__).parents[1]
STAND_IN = """
import hashlib, sys
from pathlib import Path

argv = sys.argv[1:]
output = Path(argv[argv.index("--output") + 1])
paths = [part.rpartition("=")[2] for part in argv if part != str(output)]
digest = hashlib.sha256(" ".join(argv).encode())
for path in paths:
    if len(path) < 200 and Path(path).is_file():
        digest.update(Path(path).read_bytes())
names = {"train.py": ["model.pth", "config.py", "history.csv", "run.json"]}.get(Path(__file__).name)
files = [output / name for name in names] if names else [output]
beside = {".csv": [".md", ".svg"], ".svg": [".png"]}
files += [output.with_suffix(suffix) for suffix in beside.get(output.suffix, [])]
for file in files:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(digest.hexdigest())
"""
STUDY = """
results: out
device: cpu
threads: 1
shards: 2
model: {config: keypoint_rcnn_tiny, iterations: 100}
datasets:
  pool: {kind: folder, images: pool}
  labelled: {kind: figures, images: 3}
  unlabelled: {kind: subset, of: pool, fraction: 0.5}
  val: {kind: figures, images: 4, seed: 1}
views:
  plain: [{scale: 200}]
  all: {scales: [160, 200], flip: true}
models:
  teacher: {}
  student: {labels: distilled}
  box-teacher: {config: faster_rcnn_tiny}
  box-student: {config: faster_rcnn_tiny, labels: boxes}
labels:
  distilled: {}
  boxes: {teacher: box-teacher}
tables:
  keypoints: {rows: [teacher, {model: teacher, views: all}, student]}
  boxes: {rows: [box-teacher, {model: box-student, x: 1}], plot: {x: students}}
"""


class Project:
    """A copy of the workflow in a folder of its own, where `snakemake` is run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, yaml.safe_load(STUDY)
        shutil.copytree(ROOT / "rules", folder / "rules")
        shutil.copytree(ROOT / "config", folder / "config")
        shutil.copy(ROOT / "Snakefile", folder)
        (folder / "envs").mkdir()
        (folder / "envs/distill.yaml").write_text("dependencies: []\n")
        (folder / "scripts").mkdir()
        (folder / "scripts/distill").symlink_to(ROOT / "scripts/distill")
        for program in (ROOT / "scripts").glob("*.py"):
            (folder / "scripts" / program.name).write_text(STAND_IN)
        (folder / "pool").mkdir()

    def snakemake(self, *args: str, config: dict | None = None) -> subprocess.CompletedProcess:
        (self.folder / "study.yaml").write_text(yaml.safe_dump(config or self.config, sort_keys=False))
        return snakemake(self.folder, *args)

    def run(self, *args: str, config: dict | None = None) -> None:
        done = self.snakemake("--cores", "2", *args, config=config)
        assert done.returncode == 0, done.stdout + done.stderr

    def plan(self, *args: str, config: dict | None = None) -> dict[str, set[str]]:
        """The outputs that a run would make, by rule; log, tables and report of every change left out."""
        done = self.snakemake("-n", *args, config=config)
        assert done.returncode == 0, done.stdout + done.stderr
        plan = defaultdict(set)
        for rule, body in re.findall(
            r"^(?:local)?rule ([\w-]+):\n((?:    .*\n)+)", done.stdout + done.stderr, re.M
        ):
            if output := re.search(r"^    output: (.*)$", body, re.M):
                plan[rule] |= {path.removeprefix("out/") for path in output[1].split(", ")}
        return dict(plan)


ALWAYS = {"study", "report"}  # any change of the configuration is shown in the report


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Project:
    """A study that has run."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.run()
    return project


@pytest.fixture
def edited(done):
    """The finished project with a copy of its configuration to edit; the edit is only planned, never run."""
    project = copy.copy(done)
    project.config = copy.deepcopy(done.config)
    return project


def models_of(paths: set[str]) -> set[str]:
    return {path.split("/")[1] for path in paths}


def test_the_whole_chain_runs_and_then_nothing_is_left(done):
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
        assert (done.folder / "out" / path).exists(), path
    assert done.plan() == {}


def test_single_views_are_shared_between_view_sets(done):
    """Under `all` and under `plain`, the view at 200 is predicted once."""
    views = {path.name for path in (done.folder / "out/predictions/teacher/val").iterdir()}
    assert views == {"boxes", "s0160", "s0160-flip", "s0200", "s0200-flip"}


def test_a_new_view_is_the_only_one_predicted(edited):
    edited.config["views"]["all"]["scales"] = [160, 200, 240]
    plan = edited.plan()
    teacher = {path for path in plan["infer_view_heatmaps"] if path.startswith("predictions/teacher/")}
    assert {path.split("/")[3] for path in teacher} == {"s0240", "s0240-flip"}
    assert models_of(plan["retrain_student"]) == {"student", "box-student"}
    assert "merged/teacher/unlabelled/all/000.json" in plan["merge_views"]
    assert "merged/teacher/val/plain/000.json" not in plan["merge_views"]
    assert not {"train_teacher", "split_data"} & set(plan)
    assert not any("/teacher/" in path for path in plan["detect_boxes"])


def test_a_calibration_option_runs_calibration_and_what_follows(edited):
    edited.config["labels"]["boxes"]["calibrate"] = {"instances": 2}
    plan = edited.plan()
    assert plan["calibrate_threshold"] == {"labels/boxes/thresholds.json"}
    assert models_of(plan["retrain_student"]) == {"box-student"}
    assert models_of(plan["merge_views"]) == models_of(plan["infer_view_boxes"]) == {"box-student"}
    assert not {"train_teacher", "detect_boxes", "infer_view_heatmaps"} & set(plan)


@pytest.mark.parametrize(
    ("option", "teacher"), [({"average": "logit"}, "teacher"), ({"vote": 0.7}, "box-teacher")]
)
def test_a_merge_option_matters_to_its_task_only(edited, option, teacher):
    edited.config["merge"] = option
    plan = edited.plan()
    assert models_of(plan["merge_views"]) == {teacher, teacher.replace("teacher", "student")}
    predicted = plan.get("infer_view_heatmaps", set()) | plan.get("infer_view_boxes", set())
    assert models_of(predicted) == {teacher.replace("teacher", "student")}
    assert "train_teacher" not in plan


def test_merge_options_of_one_label_set_leave_the_evaluations_alone(edited):
    edited.config["labels"]["distilled"]["merge"] = {"average": "logit"}
    plan = edited.plan()
    teacher = {path for path in plan["merge_views"] if path.startswith("merged/teacher/")}
    assert teacher == {f"merged/teacher/unlabelled/all~distilled/00{shard}.json" for shard in (0, 1)}
    assert models_of(plan["evaluate"]) == {"student"}


def test_several_teachers_make_one_label_set(edited):
    """Boxes: the union over teachers. Keypoints: in the boxes of the first teacher."""
    edited.config["models"] |= {
        "other": {"seed": 1},
        "learner": {"labels": "keypoints-of-two"},
        "box-learner": {"config": "faster_rcnn_tiny", "labels": "boxes-of-two"},
    }
    edited.config["labels"] |= {
        "keypoints-of-two": {"teacher": ["teacher", "other"]},
        "boxes-of-two": {"teacher": ["box-teacher", "box-student"]},
    }
    edited.config["tables"] = {"both": {"rows": ["learner"]}, "boxes": {"rows": ["box-learner"]}}
    plan = edited.plan()
    heatmaps = {path for path in plan["infer_view_heatmaps"] if "/unlabelled/" in path}
    views = [f"s{scale:04d}{flip}" for scale in (160, 200) for flip in ("", "-flip")]
    assert heatmaps == {f"predictions/other/unlabelled/{v}@teacher/00{s}.h5" for v in views for s in (0, 1)}
    assert not any(path.startswith("predictions/other/unlabelled") for path in plan["detect_boxes"])
    boxes = {path for path in plan["infer_view_boxes"] if "/unlabelled/" in path}
    assert boxes == {f"predictions/box-student/unlabelled/{v}/00{s}.json" for v in views for s in (0, 1)}
    assert {
        "merged/teacher+other/unlabelled/all.json",
        "merged/box-teacher+box-student/unlabelled/all.json",
    } <= plan["gather_shards"]
    assert models_of(plan["train_teacher"]) == {"other"}
    assert models_of(plan["retrain_student"]) == {"learner", "box-learner"}


def test_a_second_round_is_a_matter_of_configuration(edited):
    edited.config["labels"]["again"] = {"teacher": "student"}
    edited.config["models"]["second"] = {"labels": "again"}
    edited.config["tables"]["keypoints"]["rows"].append("second")
    plan = edited.plan()
    assert models_of(plan["retrain_student"]) == {"second"}
    assert plan["generate_labels"] == {"labels/again/annotations.json"}
    assert "merged/student/unlabelled/all.json" in plan["gather_shards"]
    assert "train_teacher" not in plan


def test_averaged_boxes_are_predicted_in_those_of_the_plain_view(edited):
    edited.config["labels"]["boxes"]["merge"] = {"boxes": "average"}
    plan = edited.plan()
    mine = {path for path in plan["infer_view_boxes"] if "box-teacher" in path}
    assert {path.split("/")[3] for path in mine} == {
        f"s{scale:04d}{flip}@box-teacher" for scale in (160, 200) for flip in ("", "-flip")
    }
    assert {f"predictions/box-teacher/unlabelled/boxes/00{shard}.json" for shard in (0, 1)} <= plan[
        "detect_boxes"
    ]
    assert "merged/box-teacher/unlabelled/all~boxes.json" in plan["gather_shards"]


def test_views_are_selected_by_measurement_on_the_validation_set(done):
    plan = done.plan("views")
    assert plan["select_views"] == {
        f"selection/{model}/val/all{end}"
        for model in ("teacher", "box-teacher")
        for end in (".csv", ".md", ".svg")
    }
    assert models_of(plan["infer_view_boxes"]) == {"box-teacher"}
    assert not {"train_teacher", "merge_views", "evaluate"} & set(plan)


@pytest.mark.parametrize(
    "knob",
    [
        {"init": "teacher"},
        {"init": "teacher", "freeze_rpn": True},
        {"background": "ignore"},
    ],
    ids=lambda knob: "-".join(knob),
)
def test_a_knob_of_the_student_trains_it_alone(edited, knob):
    edited.config["models"]["student"] |= knob
    plan = edited.plan("keypoints")
    assert models_of(plan["retrain_student"]) == {"student"}
    assert models_of(plan["merge_views"]) == {"student"}
    assert not {"train_teacher", "generate_labels"} & set(plan)


def test_a_longer_student_touches_no_prediction_of_the_teacher(edited):
    edited.config["models"]["student"]["iterations"] = 200
    plan = edited.plan()
    assert models_of(plan["retrain_student"]) == {"student"}
    assert models_of(plan["infer_view_heatmaps"]) == models_of(plan["detect_boxes"]) == {"student"}
    assert not {"train_teacher", "generate_labels", "infer_view_boxes"} & set(plan)


def test_corrected_labels_come_back_as_a_dataset_and_run_the_retraining_only(done, tmp_path):
    project = copy.copy(done)
    project.config = copy.deepcopy(done.config)
    corrected = tmp_path / "corrected.json"
    corrected.write_text("{}")
    project.config["datasets"]["corrected"] = {
        "kind": "coco",
        "images": "pool",
        "annotations": str(corrected),
    }
    project.config["models"]["student"]["labels"] = "corrected"
    plan = project.plan()
    assert plan["split_data"] == {"datasets/corrected.json"}
    assert plan["check_splits"] == {"datasets/splits/val/corrected.json"}
    for rule in ("retrain_student", "detect_boxes", "infer_view_heatmaps", "merge_views", "evaluate"):
        assert models_of(plan[rule]) == {"student"}
    assert plan["tabulate"] == {"tables/keypoints.csv", "tables/keypoints.md"}
    others = {"describe_dataset", "gather_shards", *ALWAYS}
    assert set(plan) - others == {
        *("split_data", "check_splits", "retrain_student", "detect_boxes", "infer_view_heatmaps"),
        *("merge_views", "evaluate", "tabulate", "plot_training"),
    }


def test_a_table_runs_alone(edited):
    edited.config["tables"]["boxes"]["reference"] = {"box-teacher": 30.5}
    plan = edited.plan()
    assert set(plan) == {"tabulate", "plot_table", *ALWAYS}
    assert plan["tabulate"] == {"tables/boxes.csv", "tables/boxes.md"}


def test_a_plot_runs_alone(edited):
    edited.config["tables"]["boxes"]["plot"]["baseline"] = "box-teacher"
    assert set(edited.plan()) == {"plot_table", *ALWAYS}


def test_another_model_leaves_the_others_alone(edited):
    edited.config["models"]["more"] = {"labelled": "val", "iterations": 7}
    edited.config["evaluate"] = {"on": "labelled"}
    edited.config["tables"] = {"more": {"rows": ["more"]}}
    plan = edited.plan("more")
    assert models_of(plan["train_teacher"]) == {"more"}
    assert "retrain_student" not in plan


def test_an_imported_model_is_not_trained(edited):
    (edited.folder / "zoo.pth").touch()
    edited.config["models"]["zoo"] = {"import": {"format": "torchvision", "checkpoint": "zoo.pth"}}
    edited.config["labels"]["distilled"] = {"teacher": "zoo"}
    edited.config["tables"] = {"zoo": {"rows": ["zoo", "student"]}}
    plan = edited.plan()
    assert plan["import_model"] == {f"models/zoo/{name}" for name in ("model.pth", "config.py", "run.json")}
    assert models_of(plan["retrain_student"]) == {"student"}
    assert models_of(plan["detect_boxes"]) == {"zoo", "student"}
    assert plan["calibrate_threshold"] == {"labels/distilled/thresholds.json"}
    assert "train_teacher" not in plan


def test_a_table_of_imported_models_has_no_training_to_plot(edited):
    (edited.folder / "zoo.pth").touch()
    edited.config["models"]["zoo"] = {"import": {"format": "torchvision", "checkpoint": "zoo.pth"}}
    edited.config["tables"] = {"zoo": {"rows": ["zoo"]}}
    plan = edited.plan()
    assert plan["tabulate"] == {"tables/zoo.csv", "tables/zoo.md"}
    assert "plot_training" not in plan


@pytest.mark.parametrize(
    "edit",
    [
        {"device": "auto"},
        {"threads": 2},
        {"unreadable": 0.5},
        {"keep_heatmaps": "none"},
        {"model": {"config": "keypoint_rcnn_tiny", "iterations": 100, "gpus": 4, "checkpoint_every": 7}},
        {"model": {"config": "keypoint_rcnn_tiny", "iterations": 100, "milestones": [0.7, 0.9]}},
        {"model": {"config": "keypoint_rcnn_tiny", "iterations": 100, "nodes": 2}},
    ],
    ids=lambda edit: next(iter(edit)),
)
def test_how_jobs_run_is_not_what_they_make(edited, edit):
    edited.config |= edit
    assert set(edited.plan()) <= ALWAYS


def test_a_changed_validation_set_retrains_nothing_and_is_checked_again(edited):
    edited.config["datasets"]["val"]["seed"] = 2
    plan = edited.plan()
    assert plan["check_splits"] == {f"datasets/splits/val/{name}.json" for name in ("labelled", "unlabelled")}
    assert models_of(plan["evaluate"]) == {"teacher", "student", "box-teacher", "box-student"}
    assert not {"train_teacher", "retrain_student", "calibrate_threshold"} & set(plan)
    assert not any("/unlabelled/" in path for path in plan["infer_view_heatmaps"])


def test_a_changed_validation_set_hides_no_other_change(edited):
    """With ancient() inputs from the validation set, Snakemake would overlook what is downstream."""
    edited.config["datasets"]["val"]["seed"] = 2
    edited.config["models"]["teacher"]["iterations"] = 50
    plan = edited.plan()
    assert models_of(plan["train_teacher"]) == {"teacher"}
    assert models_of(plan["retrain_student"]) == {"student"}


def test_the_number_of_shards_is_part_of_a_prediction(edited):
    edited.config["shards"] = 1
    plan = edited.plan()
    assert "predictions/teacher/unlabelled/s0160/000.h5" in plan["infer_view_heatmaps"]
    assert "train_teacher" not in plan


def test_code_alone_runs_nothing_again(done):
    for program in (done.folder / "scripts").glob("*.py"):
        program.write_text(program.read_text() + "\n# refactored\n")
    assert done.plan() == {}


def test_a_version_raised_by_hand_runs_its_stage_and_what_follows(done):
    path = done.folder / "rules/common.smk"
    text = path.read_text()
    path.write_text(text.replace('"calibrate": 1', '"calibrate": 2'))
    plan = done.plan()
    path.write_text(text)
    assert len(plan["calibrate_threshold"]) == 2
    assert "merged/teacher/unlabelled/all.json" not in plan.get("gather_shards", set())
    assert "train_teacher" not in plan


def test_a_model_config_counts_by_content_with_its_bases(done):
    keypoints, tiny = (
        done.folder / "config/models" / name for name in ("keypoint_rcnn_tiny.py", "faster_rcnn_tiny.py")
    )
    for path in (keypoints, tiny):
        os.utime(path)
    assert done.plan() == {}
    text = keypoints.read_text()
    keypoints.write_text(text + "\nchanged = True\n")
    assert models_of(done.plan()["train_teacher"]) == {"teacher"}
    keypoints.write_text(text)
    base = tiny.read_text()
    tiny.write_text(base + "\nchanged = True\n")
    assert models_of(done.plan()["train_teacher"]) == {"teacher", "box-teacher"}
    tiny.write_text(base)


def test_images_put_into_a_folder_are_seen(done):
    (done.folder / "pool/new.jpg").touch()
    plan = done.plan()
    assert "datasets/pool.json" in plan["split_data"]
    assert "train_teacher" not in plan
    os.utime(done.folder / "pool", (0, 0))
    assert done.plan() == {}


def test_every_table_is_a_target_and_so_are_the_labels(done, tmp_path):
    project = Project(tmp_path)
    assert set(project.plan("boxes")["tabulate"]) == {"tables/boxes.csv", "tables/boxes.md"}
    assert "plots/boxes.svg" in project.plan("boxes")["plot_table"]
    assert "detect_boxes" not in project.plan("boxes")
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


def test_a_table_cannot_have_the_name_of_a_rule(tmp_path):
    project = Project(tmp_path)
    project.config["tables"]["evaluate"] = project.config["tables"].pop("boxes")
    failed = project.snakemake("-n")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: tables: 'evaluate' is the name of a rule of the workflow;")
    assert failed.stderr.count("\n") == 1


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
