"""Exported models, run by the programs of others, find what they find here."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn

from distill.datasets.images import read_image
from distill.models import Predictor, config_file
from distill.models import model as models
from distill.models.published.exporting import export_model
from distill.predictions.views import View
from distill.program import UserError
from helpers import SCRIPTS
from helpers.checkpoints import share_in_common
from helpers.detectors import narrow
from helpers.networks import random_model
from helpers.options import generate

CATEGORIES = [{"id": 3, "name": "person"}, {"id": 5, "name": "hat"}]
POSED = [{"id": 1, "name": "person", "keypoints": ["head", "hand", "foot"]}]
VIEW = View(192)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """The folder of a few images of the view's size, and their records."""
    folder = tmp_path_factory.mktemp("figures")
    coco = generate(folder, 4, seed=3, size=(256, 192), style="sketch")
    return folder, coco["images"]


def model_of(config, folder):
    return random_model(config, POSED if config.startswith("keypoint") else CATEGORIES, folder / "model")


def ours_of(model, figures, view=VIEW):
    folder, images = figures
    names = {category["id"]: category["name"] for category in Predictor(model, "cpu").meta["categories"]}
    return [
        {"image_id": image["id"], "category_id": names[category], "box": box, "score": score}
        for image, found in Predictor(model, "cpu").boxes(folder, images, view)
        for box, score, category in zip(
            found["boxes"], found["scores"], found["category_ids"].tolist(), strict=True
        )
    ]


def record(image, name, box, score):
    return {"image_id": image["id"], "category_id": name, "box": np.array(box), "score": float(score)}


def rgb(figures, image):
    """(H, W, 3)."""
    return np.ascontiguousarray(read_image(figures[0] / image["file_name"])[..., ::-1])


def test_torchvision_finds_the_same(tmp_path, figures):
    model = model_of("faster_rcnn_r50_fpn", tmp_path)
    weights, about, code = export_model(model, "torchvision", tmp_path / "mine.pth", VIEW.name)
    spec = importlib.util.spec_from_file_location("mine", code)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.load()
    assert type(network) is FasterRCNN
    names = json.loads(about.read_text())["categories"]
    theirs = []
    for image in figures[1]:
        with torch.no_grad():
            (found,) = network([torch.from_numpy(rgb(figures, image)).permute(2, 0, 1).float() / 255])
        for label, box, score in zip(found["labels"], found["boxes"], found["scores"], strict=True):
            theirs.append(record(image, names[label], box, score))
    ours = ours_of(model, figures)
    assert len(ours) > 100
    assert share_in_common(ours, theirs)[0] >= 0.995
    plain = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    plain.load_state_dict(torch.load(weights, weights_only=True))


RUN = """
import json, sys
import distill.models  # stands in for mmcv's compiled operators; its own modules it does not load
from mmdet.apis import inference_detector, init_detector
found = []
for name in ("faster", "retina"):
    model = init_detector(f"{name}.py", f"{name}.pth", device="cpu")
    for path in sys.argv[1:]:
        mine = inference_detector(model, path).pred_instances
        names = [model.dataset_meta["classes"][label] for label in mine.labels]
        found.append([names, mine.bboxes.tolist(), mine.scores.tolist()])
assert "distill.models.heads" not in sys.modules
print(json.dumps(found))
"""


def retina_net(folder):
    """The folder of a narrow RetinaNet, a detector that has no code of this project."""
    cfg = models.load_config(narrow("retinanet", folder))
    models.fit_to_dataset(cfg, CATEGORIES, "the test")
    models.drop_pretrained(cfg)
    torch.manual_seed(0)
    network = models.build(cfg)
    network.init_weights()
    network.bbox_head.retina_cls.weight.data *= 100
    network.bbox_head.retina_cls.bias.data[:] = torch.linspace(-2, -1, 18)
    network.bbox_head.retina_reg.weight.data *= 10
    folder = folder / "retina"
    meta = {"model": "retina", "categories": CATEGORIES, "iterations": 0, "task": "boxes"}
    models.save(folder / "model.pth", network.state_dict(), meta)
    config_file.write(folder / "config.py", cfg)
    return folder


def test_mmdet_finds_the_same(tmp_path, figures):
    folders, view = [model_of("faster_rcnn_tiny", tmp_path), retina_net(tmp_path)], View(208)
    for model, name in zip(folders, ("faster", "retina"), strict=True):
        export_model(model, "mmdet", tmp_path / f"{name}.pth", view.name)
    paths = [str(figures[0] / image["file_name"]) for image in figures[1]]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *paths],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    size = {image["id"]: (image["width"], image["height"]) for image in figures[1]}
    for number, model in enumerate(folders):
        mine = answers[number * len(paths) :][: len(paths)]
        found = zip(figures[1], mine, strict=True)
        theirs = [record(image, *one) for image, columns in found for one in zip(*columns, strict=True)]
        ours = ours_of(model, figures, view)
        ours = [{**one, "box": view.inverse_boxes(one["box"], size[one["image_id"]])} for one in ours]
        assert len(ours) > 50
        assert share_in_common(ours, theirs)[0] >= 0.995


@pytest.mark.parametrize(
    ("config", "format", "message"),
    [
        ("faster_rcnn_tiny", "torchvision", "for torchvision, Faster R-CNN, R-50 FPN, is exported"),
        ("keypoint_rcnn_tiny", "torchvision", "it has keypoints"),
        ("faster_rcnn_lite", "mmdet", "EfficientNetLite is a part of this project"),
        ("keypoint_rcnn_tiny", "mmdet", "KeypointHead is a part of this project"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(tmp_path, config, format, message):
    with pytest.raises(UserError, match=message) as error:
        export_model(model_of(config, tmp_path), format, tmp_path / "mine.pth", VIEW.name)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("mine*"))


def test_a_view_that_mirrors_is_refused(tmp_path, keypoint_model):
    with pytest.raises(UserError, match="exported for one view, which neither mirrors nor turns"):
        export_model(keypoint_model, "torchvision", tmp_path / "mine.pth", "s0112-flip")
