"""What runs again: a change of the configuration runs what depends on it, and nothing else."""

import re

import pytest

from helpers.stand_in import models_of

ALWAYS = {"study", "report"}  # any change of the configuration is shown in the report


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


def test_more_keypoint_labels_need_predictions_only_beyond_the_margin(edited):
    """Heatmaps are of half as many boxes again as labels are expected."""
    edited.config["labels"]["distilled"] = {"calibrate": {"instances": 1.5}}
    plan = edited.plan()
    assert plan["calibrate_threshold"] == {"labels/distilled/thresholds.json"}
    assert models_of(plan["infer_view_heatmaps"]) == {"student"}
    assert "choose_boxes" not in plan
    edited.config["labels"]["distilled"] = {"calibrate": {"instances": 2}}
    plan = edited.plan()
    assert plan["choose_boxes"] == {
        f"predictions/teacher/unlabelled/boxes/00{shard}.json" for shard in (0, 1)
    }
    again = {path for path in plan["infer_view_heatmaps"] if path.startswith("predictions/teacher/")}
    assert {path.split("/")[2] for path in again} == {"unlabelled"}
    assert models_of(plan["detect_boxes"]) == {"student"}


def test_labels_of_another_teacher_leave_the_predictions_of_the_first_alone(edited):
    models, labels = edited.config["models"], edited.config["labels"]
    models["other"] = {**models["teacher"], "seed": 1}
    labels["more"] = {"teacher": "other", "calibrate": {"instances": 3, "agnostic_nms": 0.8}}
    models["other-student"] = {**models["student"], "labels": "more"}
    edited.config["tables"]["keypoints"]["rows"].append("other-student")
    plan = edited.plan("keypoints")
    assert models_of(plan["train_teacher"]) == models_of(plan["choose_boxes"]) == {"other"}
    assert models_of(plan["infer_view_heatmaps"]) == {"other", "other-student"}
    assert models_of(plan["retrain_student"]) == {"other-student"}


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


def test_predictions_of_other_programs_need_no_teacher(edited):
    """They are read again where they change; the student and what follows runs then, and nothing else."""
    (edited.folder / "yolo.json").write_text("[]")
    edited.config["labels"]["given"] = {"predictions": ["yolo.json", "lost.json"]}
    edited.config["models"]["learner"] = {"labels": "given"}
    edited.config["tables"] = {"given": {"rows": ["learner"]}}
    plan = edited.plan()
    assert plan["merge_predictions"] == {"labels/given/predictions.json"}
    assert plan["generate_labels"] == {"labels/given/annotations.json"}
    assert models_of(plan["retrain_student"]) == {"learner"}
    assert "train_teacher" not in plan
    assert all(path.startswith("predictions/learner/val") for path in plan["infer_view_heatmaps"])
    shown = edited.snakemake("-n", "-p").stdout
    (command,) = re.findall(r"merge_predictions\.py .*", shown)
    assert "--posed" in command
    assert command.split(" -- ")[1].startswith("yolo.json lost.json ")
    assert "--sources out/datasets/pool.json" in command


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


@pytest.mark.parametrize(
    "knob",
    [
        {"init": "teacher"},
        {"init": "teacher", "freeze_rpn": True},
        {"background": "ignore"},
        {"validate": 2, "keep": "best"},
    ],
    ids=lambda knob: "-".join(knob),
)
def test_a_knob_of_the_student_trains_it_alone(edited, knob):
    edited.config["models"]["student"] |= knob
    plan = edited.plan("keypoints")
    assert models_of(plan["retrain_student"]) == {"student"}
    assert models_of(plan["merge_views"]) == {"student"}
    assert not {"train_teacher", "generate_labels"} & set(plan)


def test_another_published_start_trains_the_student_again(edited, tmp_path):
    (tmp_path / "zoo.pth").write_text("weights")
    start = {"format": "torchvision", "checkpoint": str(tmp_path / "zoo.pth")}
    edited.config["models"]["student"]["init"] = start
    plan = edited.plan("keypoints")
    assert models_of(plan["retrain_student"]) == {"student"}
    assert not {"train_teacher", "generate_labels"} & set(plan)


def test_a_longer_student_touches_no_prediction_of_the_teacher(edited):
    edited.config["models"]["student"]["iterations"] = 200
    plan = edited.plan()
    assert models_of(plan["retrain_student"]) == {"student"}
    assert models_of(plan["infer_view_heatmaps"]) == models_of(plan["detect_boxes"]) == {"student"}
    assert not {"train_teacher", "generate_labels", "infer_view_boxes"} & set(plan)


def test_corrected_labels_come_back_as_a_dataset_and_run_the_retraining_only(edited, tmp_path):
    corrected = tmp_path / "corrected.json"
    corrected.write_text("{}")
    edited.config["datasets"]["corrected"] = {
        "kind": "coco",
        "images": "pool",
        "annotations": str(corrected),
    }
    edited.config["models"]["student"]["labels"] = "corrected"
    plan = edited.plan()
    assert plan["split_data"] == {"datasets/corrected.json"}
    assert plan["check_splits"] == {"datasets/splits/val/corrected.json"}
    for rule in ("retrain_student", "detect_boxes", "infer_view_heatmaps", "merge_views", "evaluate"):
        assert models_of(plan[rule]) == {"student"}
    assert plan["tabulate"] == {"tables/keypoints.csv", "tables/keypoints.md"}
    others = {"describe_dataset", "gather_shards", *ALWAYS}
    assert set(plan) - others == {
        *("split_data", "fingerprint_images", "check_splits", "retrain_student", "detect_boxes"),
        *("infer_view_heatmaps", "merge_views", "evaluate", "tabulate", "plot_training"),
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
        {
            "model": {
                **{"config": "keypoint_rcnn_tiny", "iterations": 100, "gpus": 4},
                **{"checkpoint_every": 7, "tracking": ["mlflow"]},
            }
        },
        {"model": {"config": "keypoint_rcnn_tiny", "iterations": 100, "milestones": [0.7, 0.9]}},
        {"model": {"config": "keypoint_rcnn_tiny", "iterations": 100, "nodes": 2}},
    ],
    ids=lambda edit: next(iter(edit)),
)
def test_how_jobs_run_is_not_what_they_make(edited, edit):
    edited.config |= edit
    in_the_report = {"unreadable", "keep_heatmaps"}
    assert set(edited.plan()) <= (ALWAYS if in_the_report & set(edit) else set())


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
