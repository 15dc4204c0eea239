"""The report: what it shows is what the artifacts say, and nothing outside the file is needed to see it."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.evaluation import tables
from distill.evaluation.metrics import USUAL
from distill.evaluation.plots import literal
from distill.files import read_json, write_json
from distill.report.chain import chains
from distill.report.comparison import Shown, differences
from distill.report.page import Report
from distill.report.wording import duration, parse_table
from helpers.options import table_spec
from helpers.person import dataset, person
from helpers.studied import HOSTILE, write_evaluation


@pytest.fixture
def study(tmp_path: Path) -> tuple[dict, Path]:
    """A study of three images and two models: the student is right on images 1 and 2, the teacher on 3."""
    pictures, results = tmp_path / "pictures", tmp_path / "results"
    pictures.mkdir()
    truth = dataset(pictures, [person(i) | {"id": i, "iscrowd": 0} for i in (1, 2, 3)])
    for number, image in enumerate(truth["images"]):
        cv2.imwrite(str(pictures / image["file_name"]), np.full((48, 64, 3), 60 * number, np.uint8))
    write_json(results / "datasets/val.json", truth)
    write_json(results / "datasets/labelled.json", truth)
    write_json(results / "datasets/unlabelled.json", truth | {"annotations": [], "categories": []})
    found = {"teacher": {1: 15, 2: 30, 3: 0}, "student": {1: 0, 2: 0, 3: 30}}  # pixels beside the truth
    scored = [20, 40, 0.9, 20, 40, 0.8, 40, 40, 0.7]
    aps = {}
    for model, shifts in found.items():
        merged = [person(i, 0.9, shift, scored) for i, shift in shifts.items()]
        write_json(results / f"merged/{model}/val/plain.json", merged)
        ap = {"teacher": 0.301, "student": 0.452}[model]
        aps[model] = ap
        history = "iteration,lr,loss,labelled,generated,ratio\n10,0.1,2.5,6,4,1.5\n20,0.1,1.5,12,8,1.5\n"
        (results / f"models/{model}").mkdir(parents=True)
        (results / f"models/{model}/history.csv").write_text(history)
        write_json(results / f"models/{model}/run.json", {"seed": 0, "seconds": 75, "commit": "abcdef"})
    write_json(results / "merged/teacher/unlabelled/all.json", [person(1, 0.8), person(2, 0.3)])
    kept = [person(1, 0.8) | {"id": 1, "keypoint_scores": [0.9, 0.8, 0.1]}]
    write_json(results / "labels/distilled/annotations.json", truth | {"annotations": kept})
    counts = {"threshold": 0.8, "aimed": 3, "met": 1, "candidates": 2, "short": True}
    means = {"mean_labelled": 1.0, "mean_met": 1 / 3}
    thresholds = {"instances": {"1": {"name": "person", **counts, **means}}, "keypoints": None, "images": {}}
    write_json(results / "labels/distilled/thresholds.json", thresholds)
    (results / "tables").mkdir()
    (results / "tables/main.md").write_text("| row | AP |\n| --- | ---: |\n| student | 45.2 |\n\nPercent.\n")
    model = {
        "config": "keypoint_rcnn_tiny",
        "task": "keypoints",
        "labelled": "labelled",
        "validation": "val",
        "iterations": 20,
        "init": "none",
    }
    resolved = {
        "seeds": [0],
        "views": {"plain": ["s0200"], "all": ["s0200", "s0200-flip"]},
        "models": {
            "teacher": model | {"labels": None},
            "student": model | {"labels": "distilled", "ratio": [6, 4]},
        },
        "labels": {
            "distilled": {
                **dict(teacher="teacher", teachers=["teacher"], together="teacher"),
                **dict(dataset="unlabelled", labelled="labelled", views="all", merged="all"),
                "calibrate": {"instances": 1.0},
            }
        },
        "datasets": {name: {"kind": "coco"} for name in ("labelled", "unlabelled", "val", "corrected")},
        "selected": {},
        "evaluate": {"on": ["val"], "views": ["plain"]},
        "tables": {"main": {"rows": []}},
    }
    for model, ap in aps.items():
        evaluate(resolved, results, model, ap)
    return resolved, results


def evaluate(study: dict, results: Path, model: str, ap: float) -> None:
    """Gives the table a row, and that an evaluation."""
    path = results / f"evaluation/{model}/val/plain.json"
    write_evaluation(path, ap)
    row = {"name": model, "models": [model], "views": "plain", "evaluations": [str(path)]}
    study["tables"]["main"]["rows"].append(row)


class Elements(HTMLParser):
    """All start tags of a page, its text, and whether tags nest."""

    VOID = frozenset({"meta", "input", "br", "link", "img"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text = ""
        self.charts: set[str] = set()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open[-1:] == ["text"]:
            self.charts.add(data)


def test_page_shows_the_artifacts_and_needs_no_other_file(study):
    resolved, results = study
    page = Report(resolved, results).render()
    parsed = Elements(page)
    text = re.sub(r"\s+", " ", parsed.text)
    assert "The student reaches 45.2 AP on val; its teacher 30.1 (+15.1)." in text
    for shown in ("seen under 2 views", "aimed at 3", "too few candidates: all taken", "6 : 4", "1 min 15 s"):
        assert shown in text
    assert "better on 2 images, worse on 1, the same on 0" in text
    assert "1 label on 3 images, 2 of which got none" in text
    ids = {attributes["id"] for _, attributes in parsed.found if "id" in attributes}
    links = [v for _, attributes in parsed.found for k, v in attributes.items() if k in ("href", "src")]
    assert all(link.startswith("data:image/jpeg;base64,") or link[1:] in ids for link in links)
    assert "url(http" not in page
    assert "@import" not in page
    assert sum(link.startswith("data:") for link in links) == 3  # each image once, however often it is shown
    assert [attributes for tag, attributes in parsed.found if tag == "script"] == [
        {}
    ]  # no file's name is one
    assert "b <script>.png" in parsed.text


def test_a_name_is_text_wherever_it_stands(hostile_page):
    """Of a category, keypoint, file, row or axis: no element, attribute, formula or pattern comes of it."""
    parsed = Elements(hostile_page.read_text(encoding="utf-8"))
    tags = [tag for tag, _ in parsed.found]
    assert (tags.count("script"), tags.count("style"), tags.count("img")) == (1, 1, 0)
    assert not [key for _, attributes in parsed.found for key in attributes if key.startswith("on")]
    spoken = [attributes["aria-label"] for _, attributes in parsed.found if "aria-label" in attributes]
    drawn = {key: literal(name).replace("\\$", "$") for key, name in HOSTILE.items()}
    assert f"Histogram of the scores of {HOSTILE['arrow']} with the calibrated threshold" in spoken
    assert f"AP by {HOSTILE['number of views']}" in spoken
    assert HOSTILE["0006.png"] in spoken
    across = drawn["number of views"]
    assert parsed.charts >= {drawn[name] for name in ("arrow", "disc", "student (plain)")}
    assert parsed.charts >= {across, f"AP by {across}"}
    assert parsed.text.count(HOSTILE["student (plain)"]) > 2  # in the table and in legends
    assert parsed.text.count(HOSTILE["disc"]) > 10


def test_a_second_round_is_compared_with_both_teachers(study):
    resolved, results = study
    resolved["models"]["second"] = resolved["models"]["student"] | {"labels": "again"}
    student = dict(teacher="student", teachers=["student"], together="student")
    resolved["labels"]["again"] = resolved["labels"]["distilled"] | student
    evaluate(resolved, results, "second", 0.5)
    text = re.sub(r"\s+", " ", Elements(Report(resolved, results).render()).text)
    assert "50.0 AP on val; its teacher 45.2 (+4.8), the first teacher 30.1 (+19.9)." in text


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
        evaluate(resolved, results, f"{name}", ap)
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
    assert report.headline()["teachers"] == [("its teacher", pytest.approx(40))]
    (comparison,) = report.comparisons()
    assert comparison["student"] == "student"


def test_page_is_deterministic(study):
    assert Report(*study).render() == Report(*study).render()


def test_sections_without_artifacts_are_left_out(study):
    resolved, results = study
    for path in sorted(results.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    text = Elements(Report(resolved, results).render()).text
    assert "has not been evaluated" in text
    assert "Generated labels" not in text


def test_images_that_cannot_be_read_are_left_out(study):
    resolved, results = study
    for path in (results.parent / "pictures").iterdir():
        path.write_bytes(b"no image")
    page = Report(resolved, results).render()
    assert "data:image" not in page
    assert "The images could not be read" in page


def test_a_student_of_corrected_labels_is_the_student(study):
    resolved, results = study
    resolved["models"]["student"]["labels"] = "corrected"
    write_json(results / "datasets/corrected.json", json.loads((results / "datasets/val.json").read_text()))
    report = Report(resolved, results)
    assert report.headline()["student"] == pytest.approx(45.2)
    assert "corrected" in [row["name"] for row in report.dataset_rows()]


def test_the_page_says_how_labels_came_about(study):
    resolved, results = study
    entry = resolved["labels"]["distilled"]
    page = " ".join(Report(resolved, results).render().split())
    assert "an unlabelled image gets as many instances on average as a labelled one has" in page
    assert "No person drew these: they are what the student learns from" in page
    entry["calibrate"]["instances"] = 0.5
    assert "gets 0.5 × as many on average" in " ".join(Report(resolved, results).render().split())
    entry["calibrate"]["instances"] = None
    entry |= {"teacher": None, "teachers": [], "predictions": ["drawn.json"]}
    page = " ".join(Report(resolved, results).render().split())
    assert "nothing is calibrated" in page
    assert "No person drew these" not in page


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
    [(_, teacher)] = report.headline()["teachers"]
    assert (teacher, report.headline()["student"]) == pytest.approx((20, 20))
    assert (report.headline()["over"], report.headline()["validation"]) == ("2 seeds", "val")
    assert [card["value"] for card in chains(report)[0]][1::3] == ["20.0", "20.0"]
    assert list(report.shown_labels.items()) == [("distilled", "distilled-seed0")]


def test_program_writes_the_page(study):
    resolved, results = study
    write_json(results / "study.json", resolved)
    program = Path(__file__).parent.parent / "scripts/write_report.py"
    options = ["--study", results / "study.json", "--results", results, "--output", results / "report.html"]
    subprocess.run([sys.executable, program, *options], check=True, capture_output=True)
    assert (results / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_differences_put_the_greatest_gain_first(study):
    _, results = study
    truth = json.loads((results / "datasets/val.json").read_text())
    shown = [Shown.of(results / f"merged/{model}/val/plain.json", truth) for model in ("teacher", "student")]
    changes = differences(truth, *shown)
    assert [change > 0 for _, change in changes] == [True, True, False]
    assert changes[-1][0]["id"] == 3


@pytest.mark.parametrize("name", ["a|b", "a\nb", "\\", "\\|", "a\\\\|\\", "<b>|</b>", "|", "\\<"])
def test_table_is_read_as_it_was_written(name):
    rows = [{"name": row, "views": "plain", "evaluations": [row]} for row in (name, "student")]
    metrics = dict.fromkeys(USUAL["boxes"], 0.5)
    evaluations = {name: {"boxes": metrics | {"AP": 0.25}}, "student": {"boxes": metrics}}
    spec = table_spec(rows=rows, task="boxes", gains={"student": {"over": name}})
    table = parse_table(tables.markdown(tables.build(spec, evaluations)))
    assert [name for name, _ in table["header"]][:4] == ["row", "views", "seeds", "AP"]
    line = name.replace("\n", " ")
    assert [[cell["text"] for cell in row][:4] for row in table["rows"]] == [
        *([line, "plain", "1", "25.0"], ["student", "plain", "1", "50.0"])
    ]
    assert [row[3]["bar"] for row in table["rows"]] == [0.5, 1]
    assert table["notes"] == [f"Percent; gain in AP: student over {line}."]
    assert parse_table("") == {"header": [], "rows": [], "notes": []}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (75, "1 min 15 s"), (93784, "1 d 2 h"), (3600, "1 h 0 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text
