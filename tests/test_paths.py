"""Names and paths with anything in them, by the real Snakemake: they are arguments, never commands."""

import json
import os
import re

from helpers import ROOT
from helpers.stand_in import STAND_IN, Project

TRAP = "$(touch hacked) `touch hacked` ; touch hacked # \" '"
RECORD = """
import json
with open("calls.jsonl", "a") as calls:
    calls.write(json.dumps(argv) + "\\n")
"""
STUDY = {
    "results": f"my results {TRAP} *?[a]~\\é=,:&|<>!",
    "data": f"data {TRAP}",
    "device": "cpu",
    "threads": 1,
    "model": {"config": "keypoint_rcnn_tiny", "iterations": 10, "init": f"-w {TRAP}.pth"},
    "datasets": {
        "pool": {"kind": "folder", "images": f"pool {TRAP}"},
        "labelled": {"kind": "coco", "images": "{}", "annotations": f"-a {TRAP}.json"},
        "unlabelled": {"kind": "subset", "of": "pool", "fraction": 0.5},
        "part": {"kind": "subset", "of": "unlabelled", "fraction": 0.5, "share_predictions": True},
        "val": {"kind": "figures", "images": 4},
    },
    "views": {"plain": [{"scale": 200}], "all": [{"scale": 200}, {"scale": 160}]},
    "models": {
        "zoo": {
            "config": "faster_rcnn_tiny",
            "import": {"format": "mmdet", "checkpoint": f"-c {TRAP}.pth", "categories": [TRAP]},
        },
        "teacher": {"init": {"format": "mmdet", "checkpoint": f"-c {TRAP}.pth"}},
        "student": {"labels": "distilled"},
    },
    "labels": {"distilled": {}, "boxes": {"teacher": "zoo", "dataset": "part"}},
    "tables": {
        "keypoints": {"rows": ["teacher", {"model": "student", "name": TRAP, "x": 1}], "plot": {"x": TRAP}},
        "boxes": {"rows": ["zoo"]},
    },
}


def test_what_a_path_holds_is_never_run(tmp_path):
    """All rules run but those that download; each program is given the paths that Snakemake knows."""
    project = Project(tmp_path)
    for program in (tmp_path / "scripts").glob("*.py"):
        program.write_text(STAND_IN + RECORD)
    data, results = tmp_path / STUDY["data"], STUDY["results"]
    (data / STUDY["datasets"]["pool"]["images"]).mkdir(parents=True)
    inputs = [
        data / STUDY["datasets"]["labelled"]["annotations"],
        tmp_path / STUDY["model"]["init"],
        tmp_path / STUDY["models"]["zoo"]["import"]["checkpoint"],
    ]
    for path in inputs:
        path.touch()
    before = set(os.listdir(tmp_path))
    project.run("all", "labels", "views", config=STUDY)
    made = {results, "calls.jsonl", "study.yaml", ".snakemake"}
    assert set(os.listdir(tmp_path)) == before | made
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    paths = [word[word.index(results) :] for call in calls for word in call if results in word]
    assert len(paths) > 100
    assert all((tmp_path / path).parent.is_dir() for path in paths)
    starts = (STUDY["model"]["init"], STUDY["models"]["teacher"]["init"]["checkpoint"])
    assert [sum(f"--init={path}" in call for call in calls) for path in starts] == [1, 1]
    options = [json.loads(word) for call in calls for word in call if word.startswith("{")]
    assert [spec["categories"] for spec in options if "categories" in spec] == [[TRAP]]
    assert {"x": TRAP} in options
    assert project.plan("all", "labels", "views", config=STUDY) == {}


def test_every_value_of_a_command_is_quoted():
    """Those that are not are words and numbers of the workflow itself."""
    for path in (ROOT / "rules").glob("*.smk"):
        commands = re.findall(r"^ +shell:\n((?: +[\"'].*\n)+)", path.read_text(), re.M)
        values = {value for command in commands for value in re.findall(r"\{([^}]*)\}", command)}
        bare = {value for value in values if not value.endswith(":q")}
        assert bare <= {
            "threads",
            "params.threads",
            "params.launcher",
            "params.amp",
            "params.size",
            "params.posed",
        }, path
