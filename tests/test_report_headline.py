"""What the report compares a student with, first of all: its teachers, its baseline, on one footing."""

import json
import re

import pytest

from distill.files import read_json, write_json
from distill.report.chain import chains
from distill.report.page import Report
from helpers import reported
from helpers.reported import Elements, evaluate


@pytest.fixture
def study(tmp_path):
    return reported.make(tmp_path)


def test_a_second_round_is_compared_with_both_teachers(study):
    resolved, results = study
    resolved["models"]["second"] = resolved["models"]["student"] | {"labels": "again"}
    student = dict(teacher="student", teachers=["student"], together="student")
    resolved["labels"]["again"] = resolved["labels"]["distilled"] | student
    evaluate(resolved, results, "second", 0.5)
    text = re.sub(r"\s+", " ", Elements(Report(resolved, results).render()).text)
    assert "50.0 AP on val; its teacher 45.2 (+4.8), the first teacher 30.1 (+19.9)." in text


def test_a_student_of_two_teachers_is_compared_with_both(study):
    resolved, results = study
    resolved["models"]["other"] = resolved["models"]["teacher"] | {"config": "faster_rcnn_r50_fpn"}
    evaluate(resolved, results, "other", 0.5)
    resolved["labels"]["distilled"] |= {"teachers": ["teacher", "other"], "together": "teacher+other"}
    text = re.sub(r"\s+", " ", Elements(Report(resolved, results).render()).text)
    assert "45.2 AP on val; its teacher teacher 30.1 (+15.1), its teacher other 50.0 (−4.8)." in text


def test_a_student_of_other_programs_labels_is_compared_with_its_baseline(study):
    resolved, results = study
    entry = resolved["labels"]["distilled"]
    for key in ("teacher", "together"):
        del entry[key]
    entry |= {"teachers": [], "predictions": ["yolo.json"], "posed": True}
    text = re.sub(r"\s+", " ", Elements(Report(resolved, results).render()).text)
    assert "45.2 AP on val; a model of labelled images alone, trained as long, 30.1 (+15.1)." in text
    resolved["models"]["teacher"]["init"] = "pretrained"  # and is no baseline any more
    text = re.sub(r"\s+", " ", Elements(Report(resolved, results).render()).text)
    assert "The student reaches 45.2 AP on val." in text


def test_a_model_trained_as_long_on_labelled_images_alone_stands_beside_the_student(study):
    resolved, results = study
    teacher, student = (resolved["models"][name] for name in ("teacher", "student"))
    student |= {"init": "teacher"}
    alike = {key: student[key] for key in ("init", "iterations", "labelled")}
    for name, ap, options in (
        ("supervised", 0.4, alike),
        ("better", 0.48, alike),
        ("longer", 0.6, alike | {"iterations": 10**6}),
        ("other", 0.65, alike | {"config": "faster_rcnn_r50_fpn"}),
        ("upper", 0.7, alike | {"labelled": "everything"}),
    ):
        resolved["models"][name] = teacher | options
        evaluate(resolved, results, name, ap)
    text = re.sub(r"\s+", " ", Elements(Report(resolved, results).render()).text)
    baseline = "a model of labelled images alone, trained as long, 48.0 (−2.8)."
    assert f"The student reaches 45.2 AP on val; its teacher 30.1 (+15.1), {baseline}" in text


def test_what_no_table_waits_for_is_not_shown(study):
    """It may be of a model that has been trained anew since."""
    resolved, results = study
    del resolved["tables"]["main"]["rows"][0]
    report = Report(resolved, results)
    assert report.ap("teacher") is None
    assert report.comparisons() == []


def test_a_student_of_boxes_is_compared_with_the_boxes_of_its_teacher(study):
    resolved, results = study
    resolved["models"]["student"]["task"] = "boxes"
    for model, own in (("teacher", {}), ("student", {"task": "boxes", "AP": 0.4})):
        path = results / f"evaluation/{model}/val/plain.json"
        write_json(path, read_json(path) | {"boxes": {"AP": 0.4}} | own)
    report = Report(resolved, results)
    assert report.headline()["others"] == [("its teacher", pytest.approx(40))]
    (comparison,) = report.comparisons()
    assert comparison["student"] == "student"


def test_a_student_of_corrected_labels_is_the_student(study):
    resolved, results = study
    resolved["models"]["student"]["labels"] = "corrected"
    write_json(results / "datasets/corrected.json", json.loads((results / "datasets/val.json").read_text()))
    report = Report(resolved, results)
    assert report.headline()["student"] == pytest.approx(45.2)
    assert "corrected" in [row["name"] for row in report.dataset_rows()]


def test_seeds_are_one_family_with_the_mean_of_their_ap(study):
    resolved, results = study
    models, labels = resolved["models"], resolved["labels"]
    resolved["seeds"] = [0, 1]
    for seed in (0, 1):
        for name in ("teacher", "student"):
            made = models[name] | {"labels": models[name]["labels"] and f"distilled-seed{seed}"}
            models[f"{name}-seed{seed}"] = made
            evaluate(resolved, results, f"{name}-seed{seed}", 0.1 + 0.2 * seed)
        teacher = f"teacher-seed{seed}"
        own = {"teacher": teacher, "teachers": [teacher], "together": teacher}
        labels[f"distilled-seed{seed}"] = labels["distilled"] | own
    for name in ("teacher", "student"):
        del models[name]
    del labels["distilled"]
    report = Report(resolved, results)
    [(_, teacher)] = report.headline()["others"]
    assert (teacher, report.headline()["student"]) == pytest.approx((20, 20))
    assert (report.headline()["over"], report.headline()["validation"]) == ("2 seeds", "val")
    assert [card["value"] for card in chains(report)[0]][1::3] == ["20.0", "20.0"]
    assert "Pictures, labels and counts are of the first seed." in Elements(report.render()).text
    (results / "evaluation/student-seed1/val/plain.json").unlink()
    assert Report(resolved, results).headline()["over"] == "1 of 2 seeds"
    assert list(report.shown_labels.items()) == [("distilled", "distilled-seed0")]
