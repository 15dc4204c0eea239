"""Studies of pose estimators: the boxes that they name, and views of their crops."""

import pytest
import yaml

from distill.predictions.views import View
from distill.program import UserError
from distill.study.needs import needs
from distill.study.resolve import resolve
from helpers import ROOT
from helpers.configs import study_of

STUDY = """
datasets:
  labelled: {kind: coco, images: a, annotations: a.json}
  unlabelled: {kind: folder, images: b}
  val: {kind: coco, images: c, annotations: c.json}
models:
  detector: {config: faster_rcnn_tiny}
  teacher: {config: "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py", boxes: detector}
  student: {config: "mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-m_8xb256-420e_coco-256x192.py", boxes: detector, labels: distilled}
"""  # noqa: E501


def test_a_study_of_pose_estimators_names_their_boxes_and_has_views_of_crops():
    study = study_of(STUDY, "seeds: [0, 1]")
    assert study["models"]["teacher-seed1"]["task"] == "keypoints"
    assert study["models"]["teacher-seed1"]["boxes"] == "detector-seed1"
    assert study["labels"]["distilled-seed0"]["views"] == "crops"
    crops = [View.parse(name) for name in study["views"]["crops"]]
    assert len({view.as_crop for view in crops}) == len(crops) == 18
    assert View(200) in crops
    large = study_of(STUDY.replace("faster_rcnn_tiny", "faster_rcnn_r50_fpn"), "")["views"]
    assert set(large["plain"]) < set(large["crops"])  # predicted once
    assert [row["model"] for row in study["tables"]["results"]["rows"]] == ["teacher", "teacher", "student"]
    wanted = needs(study, study["tables"]["results"]["rows"])
    assert {"detector-seed0", "teacher-seed0", "student-seed1"} <= wanted.trainings
    assert ("detector-seed0", "unlabelled", "boxes") in wanted.predictions
    assert not any(model.startswith("detector") and view != "boxes" for model, _, view in wanted.predictions)


def test_an_imported_estimator_is_of_the_seeds_of_its_boxes():
    study = yaml.safe_load(STUDY) | {"seeds": [0, 1]}
    teacher, detector = (study["models"][name] for name in ("teacher", "detector"))
    teacher["import"] = {"format": "mmpose", "checkpoint": "published.pth"}
    assert resolve(study, ROOT)["models"]["teacher-seed1"]["boxes"] == "detector-seed1"
    detector["repeat"] = False
    models = resolve(study, ROOT)["models"]
    assert models["teacher"]["boxes"] == models["student-seed1"]["boxes"] == "detector"
    del detector["repeat"], teacher["import"]
    teacher["repeat"] = False
    with pytest.raises(UserError, match=r"models\.teacher\.repeat: must be true"):
        resolve(study, ROOT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {"teacher": {"boxes": None}}}, "models.teacher.boxes: must name the model"),
        ({"models": {"teacher": {"boxes": "teacher"}}}, "teacher has none, being a pose estimator"),
        ({"models": {"teacher": {"boxes": "detectr"}}}, "no model 'detectr'; did you mean 'detector'"),
        ({"models": {"detector": {"boxes": "teacher"}}}, "detector has boxes of its own"),
        ({"labels": {"distilled": {"views": "all"}}}, "views.all for teacher: s0160 and s0200 are the same"),
        ({"evaluate": {"views": ["plain", "crops"]}, "tables": {"t": {"rows": ["detector"]}}},
         "views.crops for detector: .*padding and turn are for top-down"),
        ({"labels": {"distilled": {"teacher": ["teacher", "other"]}},
          "models": {"other": {"config": "keypoint_rcnn_tiny"}}}, "take teachers of one config"),
        ({"models": {"detector": {"labels": "distilled"}}}, "a cycle"),
        ({"models": {"student": {"augment": {"generated": {"colour": 1, "mixup": 0.5}}}}},
         "models.student.augment: mixup: student is a pose estimator, which sees crops"),
    ],
)  # fmt: skip
def test_mistakes_about_boxes_and_views_of_crops_are_said(change, message):
    config = yaml.safe_load(STUDY)
    for key, entries in change.items():
        for name, entry in entries.items():
            if isinstance(entry, dict):
                config.setdefault(key, {}).setdefault(name, {}).update(entry)
            else:
                config.setdefault(key, {})[name] = entry
    for model in config["models"].values():
        if model.get("boxes", "") is None:
            del model["boxes"]
    with pytest.raises(UserError, match=message):
        resolve(config, ROOT)
