"""What published files say in other ways than today's: names of tensors, of classes, pixels from 0 to 1."""

import numpy as np
import pytest
import torch

from distill.models import checkpoints, importing, named_rows
from distill.models import model as models
from distill.models.published.formats import FORMATS, categories
from distill.predictions.fixed_boxes import fixed
from distill.predictions.views import View
from distill.program import UserError

POSE = "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py"
NORMALISE = "dict(type='NormalizeTensor', mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])"


def network(name):
    cfg = models.load_config(name)
    models.drop_pretrained(cfg)
    return cfg, named_rows.shapes(named_rows.of_size(cfg, 1, 17))


def test_a_checkpoint_of_mmpose_before_1_0_is_read(tmp_path):
    """Its head had another name, and its pixels were from 0 to 1."""
    cfg, shapes = network(POSE)
    state = {name.replace("head.", "keypoint_head."): torch.zeros(shape) for name, shape in shapes.items()}
    found, unused, settings = importing.translate(
        state, {"config": NORMALISE}, FORMATS["mmpose"], cfg, tmp_path
    )
    assert found.keys() == shapes.keys()
    assert unused == []
    assert settings["data_preprocessor"]["mean"] == pytest.approx([123.675, 116.28, 103.53])
    assert settings["data_preprocessor"]["std"] == pytest.approx([58.395, 57.12, 57.375])


def test_what_openmmlab_keeps_beside_the_network_is_no_part_of_it(tmp_path):
    state = {name: torch.zeros(3) for name in ("data_preprocessor.mean", "backbone.w", "ema_backbone_w")}
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "x.pth")
    assert checkpoints.read(tmp_path / "x.pth")[0].keys() == {"backbone.w"}


@pytest.mark.parametrize("key", ["classes", "CLASSES"])
def test_classes_are_read_in_capitals_too(key):
    assert categories(2, {"dataset_meta": {key: ("cat", "dog")}}) == ["cat", "dog"]


def test_the_rows_of_a_seesaw_loss_are_behind_those_of_the_categories():
    """It has two of its own; YOLOv3, whose box is before the categories, has several anchors."""
    seesaw = named_rows.Rows(axis=0, each=1, others=2, together=False)
    assert seesaw.of_names(3).flatten().tolist() == [0, 1, 2]
    assert seesaw.of_others(3).tolist() == [3, 4]
    yolo = named_rows.Rows(axis=0, each=3, others=5, together=False)
    assert yolo.of_names(2).tolist() == [[5, 12, 19], [6, 13, 20]]


@pytest.mark.parametrize(
    ("name", "others", "order"),
    [("head.mlp.gau.w", 0, [2, 0]), ("backbone.cpm_stages.0.w", 32, [0, 1]), ("stages.w", 32, [1, 0, 2])],
)
def test_keypoints_that_look_at_each_other_are_not_parted(tmp_path, name, others, order):
    rows = {"tensor": named_rows.Rows(axis=0, each=1, others=others, together=False)}
    state = {"tensor": torch.arange(3 + others), name: torch.zeros(1)}
    with pytest.raises(UserError, match="its 3 keypoints look at each other"):
        importing._select(state, rows, order, 3, tmp_path)


def test_the_keypoints_of_a_dataset_are_selected_where_each_is_by_itself(tmp_path):
    rows = {"tensor": named_rows.Rows(axis=0, each=1, others=0, together=False)}
    state = {"tensor": torch.arange(3)}
    importing._select(state, rows, [2, 0], 3, tmp_path)
    assert state["tensor"].tolist() == [2, 0]


def test_of_boxes_of_one_object_one_is_posed_in():
    """Detectors without NMS, as DETR, give several; of another category they are another object."""
    boxes = np.array([[10.0, 10, 50, 50], [12, 10, 50, 50], [11, 11, 50, 51], [100, 10, 140, 50]])
    found = {"boxes": boxes, "scores": np.array([0.8, 0.9, 0.7, 0.6]), "category_ids": np.array([1, 1, 2, 1])}
    kept, rows = fixed(found, View(200), (200, 200), {"min_score": 0.1, "per_image": 3})
    assert rows.tolist() == [1, 2, 3]
    np.testing.assert_allclose(kept, boxes[rows])
