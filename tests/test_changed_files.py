"""What runs again where files change, or are missing, that a study is made from."""

import re
from pathlib import Path

import pytest
import yaml

from distill.cluster.jobs import graph_now
from helpers.others import voc, yolo
from helpers.stand_in import models_of


@pytest.mark.parametrize("checkpoint", ["init: lost.pth", "import: {format: mmdet, checkpoint: lost.pth}"])
def test_a_model_that_is_there_does_not_hide_that_its_checkpoint_is_missing(edited, checkpoint):
    """Snakemake would forgive it, and see no other change of that model."""
    model = edited.config["models"]["box-teacher"]
    model |= yaml.safe_load(f"{{{checkpoint}}}")
    done = edited.snakemake("-n")
    key = checkpoint.partition(":")[0]
    assert f"error: models.box-teacher.{key}: lost.pth: no such file" in done.stderr
    (edited.folder / "lost.pth").touch()
    plan = edited.plan()
    (edited.folder / "lost.pth").unlink()
    assert "box-teacher" in models_of(plan["import_model" if key == "import" else "train_teacher"])
    archive = {"url": "https://example.org/w.zip", "md5": "0" * 32, "contents": ["lost.pth"]}
    edited.config["downloads"] = {"weights": archive}
    assert "fetch_archive" in edited.plan("--", "download")  # which gets it


def test_what_lists_the_images_of_others_is_an_input(edited, tmp_path):
    """Folders are, whose time says that something has come into them, and lists."""
    folder, listed = voc(tmp_path / "voc"), yolo(tmp_path / "listed", train="train.txt")
    (tmp_path / "listed/train.txt").write_text("./train/images/0.png\n")
    braces = yolo(tmp_path / "braces", train="set {1}")
    (tmp_path / "braces/train").rename(tmp_path / "braces/set {1}")
    for name, entry in {
        "of-braces": {"kind": "yolo", "annotations": str(braces)},
        "of-voc": {"kind": "voc", "annotations": str(folder), "split": "train"},
        "of-yolo": {"kind": "yolo", "annotations": str(yolo(tmp_path / "yolo"))},
        "of-list": {"kind": "yolo", "annotations": str(listed)},
    }.items():
        edited.config["datasets"][name] = entry
        said = edited.snakemake("-n", "--", f"out/datasets/{name}.json").stdout
        inputs = {
            str(Path(path).relative_to(tmp_path)) for path in re.search("input: (.*)", said)[1].split(", ")
        }
        assert (
            inputs
            == {
                "of-voc": {"voc/Annotations", "voc/JPEGImages", "voc/ImageSets/Main/train.txt"},
                "of-yolo": {"yolo/data.yaml", "yolo/train/images", "yolo/train/labels"},
                "of-braces": {"braces/data.yaml"},
                "of-list": {"listed/data.yaml", "listed/train.txt"},
            }[name]
        )


def test_a_plan_counts_what_a_change_makes_again(edited, monkeypatch):
    monkeypatch.chdir(edited.folder)
    assert not any(edited.plan().values())
    assert not any(job.due for job in graph_now(Path("study.yaml"), []))
    edited.config["models"]["student"]["iterations"] = 200
    planned = edited.plan()
    due = {
        path.removeprefix("out/")
        for job in graph_now(Path("study.yaml"), [])
        if job.due
        for path in job.outputs
    }
    assert due == {path for paths in planned.values() for path in paths}
    assert {"models/student/model.pth", "models/teacher/model.pth"} & due == {"models/student/model.pth"}


def test_what_is_of_poses_is_nothing_to_a_model_of_boxes(edited):
    edited.config["models"]["box-student"]["unposed"] = "drop"
    assert set(edited.plan()) == {"study", "report"}
