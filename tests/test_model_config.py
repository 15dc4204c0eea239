"""`config` of a model: names, paths, packages; what its text says; what is tracked of it."""

import os
from pathlib import Path

import pytest

from distill.program import UserError
from distill.study import model_config, reruns
from helpers import ROOT
from helpers.configs import SMALLEST, study_of
from helpers.stand_in import Project

NAMES = sorted(path.stem for path in (ROOT / "config/models").glob("*.py"))
RTMDET = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_config_of_this_project_is_stands_in_its_text(name):
    assert model_config.task(name, ROOT) == ("keypoints" if name.startswith("keypoint") else "boxes")
    assert model_config.is_our_rcnn(name, ROOT)
    assert model_config.packaged(name, ROOT) is None  # trained models are as they were


def test_a_path_starts_from_data_and_takes_the_task_of_its_bases(tmp_path):
    (tmp_path / "mine.py").write_text(f'_base_ = "{ROOT}/config/models/keypoint_rcnn_tiny.py"\n')
    (tmp_path / "boxes.py").write_text(f'_base_ = ["{RTMDET}"]\n')
    text = f"data: {tmp_path}\nmodels: {{a: {{config: mine.py, lr: 0.1}}, b: {{config: boxes.py}}}}"
    text += "\ntables: {t: {rows: [b]}}"
    models = study_of(SMALLEST, text)["models"]
    assert [(m["config"], m["task"]) for m in models.values()] == [
        (f"{tmp_path}/mine.py", "keypoints"),
        (f"{tmp_path}/boxes.py", "boxes"),
    ]
    assert models["b"]["lr"] == "auto"
    assert models["b"]["init"] == "none"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"config": "faster_rcnn_tiniest"}, "did you mean 'faster_rcnn_tiny'"),
        ({"config": "mine.py"}, "models.m.config: there is no file mine.py"),
        (
            {"config": "mmdet::rtmdet/rtmdet_tiny_8xb32_coco.py"},
            "did you mean 'rtmdet_tiny_8xb32-300e_coco.py'",
        ),
        ({"config": "nothing::a.py"}, "the package nothing is not installed"),
        ({"config": "mmdet::../../secret.py"}, "is not installed"),
        ({"config": RTMDET, "freeze_rpn": True}, "freeze_rpn: True: only Faster and Keypoint R-CNN"),
        ({"config": RTMDET, "labels": "distilled", "background": "ignore"}, "background: ignore: only"),
        ({"config": "faster_rcnn_tiny", "lr": "auto"}, "has no learning rate of its own"),
        ({"config": "faster_rcnn_tiny", "freeze_rpn": True}, "init: none has no region proposals to keep"),
        ({"config": "faster_rcnn_tiny", "iterations": 5, "warmup": 5}, "5 is not below iterations, 5"),
    ],
)
def test_mistakes_are_one_line(model, said):
    with pytest.raises(UserError) as error:
        study_of(SMALLEST, f"{{models: {{teacher: {{config: faster_rcnn_tiny}}, m: {model}}}}}")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_boxes_of_a_detector_are_not_averaged():
    with pytest.raises(UserError, match=r"labels\.distilled\.merge\.boxes: average: teacher scores"):
        study_of(SMALLEST, f"{{model: '{RTMDET}', merge: {{boxes: average}}}}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:", "is no config"),
        ("with read_base():\n    from x import *", "read_base"),
        *((f"_base_ = {base}", "no text, and no list") for base in ("f()", "5", "['a.py', 5]", "{[]: 1}")),
        ("_base_ = 'gone.py'", "cannot read"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, text, said):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=said):
        study_of(SMALLEST, f"{{data: {tmp_path}, model: mine.py}}")


def test_a_config_from_outside_counts_by_its_text(tmp_path):
    """The user's files by content, what packages have of it by a digest."""
    project = Project(tmp_path)
    (tmp_path / "base.py").write_text(f'_base_ = "{RTMDET}"\n')
    mine = tmp_path / "mine.py"
    mine.write_text('_base_ = "base.py"\n')
    project.config["models"] = {"teacher": {}, "m": {"config": "mine.py"}}
    project.config["tables"] = {"mine": {"rows": ["m"]}}
    del project.config["labels"]
    target = "out/models/m/model.pth"
    project.run(target)
    for path in (mine, tmp_path / "base.py"):
        os.utime(path)
    assert project.plan(target) == {}
    (tmp_path / "base.py").write_text(f'_base_ = "{RTMDET}"\nmodel = dict(neck=dict(out_channels=8))\n')
    assert set(project.plan(target)) == {"train_teacher"}


def test_a_larger_network_of_a_kind_is_trained_as_the_smaller_one():
    for task in ("faster", "keypoint"):
        lite, lite2 = (
            study_of(SMALLEST, f"model: {{config: {task}_rcnn_{size}}}") for size in ("lite", "lite2")
        )
        assert lite2["views"] == lite["views"]
        for name, model in lite["models"].items():
            assert {**lite2["models"][name], "config": model["config"]} == model


def test_an_update_of_the_package_is_noticed(tmp_path, monkeypatch):
    model = study_of(SMALLEST, f"model: '{RTMDET}'")["models"]["teacher"]
    before = reruns.of_training(model, ROOT, {})
    file = model_config.path_of
    changed = tmp_path / "changed.py"
    changed.write_bytes(file(RTMDET).read_bytes() + b"# changed\n")
    monkeypatch.setattr(
        model_config,
        "path_of",
        lambda config, root=Path(): changed if config == RTMDET else file(config, root),
    )
    assert reruns.of_training(model, ROOT, {}) != before
