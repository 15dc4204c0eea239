"""A small study as a report reads it, and the page taken apart."""

from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np

from distill.files import write_json
from helpers.options import table_spec
from helpers.person import dataset, person
from helpers.studied import write_evaluation


def make(folder: Path) -> tuple[dict, Path]:
    """A study of three images and two models: the student is right on images 1 and 2, the teacher on 3."""
    pictures, results = folder / "pictures", folder / "results"
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
                **dict(teacher="teacher", teachers=["teacher"], together="teacher", merge={"boxes": "union"}),
                **dict(dataset="unlabelled", labelled="labelled", views="all", merged="all"),
                "calibrate": {"instances": 1.0},
            }
        },
        "datasets": {name: {"kind": "coco"} for name in ("labelled", "unlabelled", "val", "corrected")},
        "selected": {},
        "evaluate": {"on": ["val"], "views": ["plain"]},
        "tables": {"main": table_spec(rows=[], task="keypoints", metrics=["AP"])},
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
