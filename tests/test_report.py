"""The report: what it shows is what the artifacts say, and nothing outside the file is needed to see it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distill.evaluation.plots import literal
from distill.files import write_json
from distill.report.comparison import Shown, differences
from distill.report.page import Report
from distill.report.wording import duration
from helpers import reported
from helpers.reported import Elements
from helpers.studied import HOSTILE


@pytest.fixture
def study(tmp_path):
    return reported.make(tmp_path)


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


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (75, "1 min 15 s"), (93784, "1 d 2 h"), (3600, "1 h 0 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text
