"""Checkpoints of detectron2 agree with its meaning; wrong ones are refused; categories go by name."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from distill.files import read_json
from distill.inspection.words import describe, resolve
from distill.models import model as models
from distill.models.importing import known_categories, translate
from distill.models.prediction import predict_boxes
from distill.models.predictor import Predictor
from distill.models.published.formats import FORMATS
from distill.models.training_job import full_config
from distill.models.weights import read_weights
from distill.predictions.views import View
from distill.program import UserError
from helpers import ROOT, warm
from helpers.checkpoints import COCO_80, PERSON, detectron2_arrays, imports, published
from helpers.networks import training_job


def test_detectron2s_backbone_is_caffes(tmp_path):
    """Features are those of torchvision's network with the strides where Caffe has them, and of BGR pixels
    without division by a standard deviation."""
    arrays = detectron2_arrays(keypoints=True)
    model = imports(tmp_path, "keypoint_rcnn_r50_fpn", "detectron2", published(tmp_path / "d2.pkl", arrays))
    predictor = Predictor(model, "cpu")
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)  # BGR
    data = predictor.network.data_preprocessor({"inputs": [torch.from_numpy(pixels).permute(2, 0, 1)]})
    reference = torchvision.models.resnet50().eval()
    trunk = r"backbone\.bottom_up\.(?:stem|res(\d)\.(\d+))\.(shortcut|conv\d)\.(norm\.)?(\w+)$"
    state = {}
    for key, array in arrays.items():
        if match := re.match(trunk, key):
            stage, block, layer, norm, kind = match.groups()
            layer = f"downsample.{int(bool(norm))}" if layer == "shortcut" else layer
            layer = layer.replace("conv", "bn") if norm else layer
            block = f"layer{int(stage) - 1}.{block}." if stage else ""
            state[f"{block}{layer}.{kind}"] = torch.from_numpy(array)
    missing = reference.load_state_dict(state, strict=False).missing_keys
    assert all(name.startswith("fc.") or name.endswith("num_batches_tracked") for name in missing)
    x = torch.from_numpy(pixels - np.array([103.53, 116.28, 123.675])).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        ours = predictor.network.backbone(data["inputs"])
        x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(x))))
        for stage, feature in enumerate(ours):
            layer = getattr(reference, f"layer{stage + 1}")
            layer[0].conv1.stride = layer[0].downsample[0].stride
            layer[0].conv2.stride = (1, 1)
            x = layer(x)
            assert torch.allclose(feature, x, rtol=1e-3, atol=1e-3 * float(x.abs().max()))


@pytest.mark.parametrize(
    ("arrays", "config", "style", "std"),
    [
        ((50, 1, False), "faster_rcnn_r50_fpn", "caffe", 1),
        ((101, 32, True), "keypoint_rcnn_x101_32x8d_fpn", "pytorch", 57.375),
    ],
)
def test_every_array_of_detectron2_is_taken_or_reported(arrays, config, style, std):
    tensors = {name: torch.from_numpy(array) for name, array in detectron2_arrays(*arrays).items()}
    cfg = models.load_config(ROOT / f"config/models/{config}.py")
    state, unused, settings = translate(tensors, {}, FORMATS["detectron2"], cfg, Path("zoo.pkl"))
    assert unused == [name for name in tensors if "cell_anchors" in name]
    taken = {id(tensor) for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert taken == {id(tensor) for name, tensor in tensors.items() if name not in unused}
    assert settings["backbone"]["style"] == style
    assert settings["data_preprocessor"]["std"][0] == std


@pytest.mark.parametrize(
    ("arrays", "extra", "config", "message"),
    [
        ((50,), [], "faster_rcnn_r101_fpn", r"\d+ tensors missing \(backbone.layer3.6"),
        ((101,), [], "faster_rcnn_r50_fpn", r"\d+ tensors too many \(backbone.layer3.6"),
        ((50,), [], "faster_rcnn_tiny", "tensors of another shape"),
        ((50,), [], "keypoint_rcnn_r50_fpn", r"18 tensors missing \(roi_head.keypoint_head"),
        ((50,), ["roi_heads.box_head.fc3.bias"], "faster_rcnn_r50_fpn", "1 tensors too many"),
    ],
)
def test_another_architecture_is_refused_in_one_line(arrays, extra, config, message):
    state = {name: torch.from_numpy(array) for name, array in detectron2_arrays(*arrays).items()}
    state |= {name: torch.zeros(3) for name in extra}
    cfg = models.load_config(ROOT / f"config/models/{config}.py")
    with pytest.raises(UserError, match=message) as error:
        translate(state, {}, FORMATS["detectron2"], cfg, Path("zoo.pkl"))
    assert str(error.value).startswith("zoo.pkl: not of this architecture; choose another `config`: ")
    assert "\n" not in str(error.value)


def test_categories_and_keypoints_are_found_by_name(tmp_path):
    path = published(tmp_path / "d2.pkl", detectron2_arrays(keypoints=True))
    config, format = "keypoint_rcnn_r50_fpn", "detectron2"
    with pytest.raises(UserError, match="'figure' is not among the categories"):
        imports(tmp_path, config, format, path, [{**PERSON, "name": "figure"}])
    with pytest.raises(UserError, match="has 17 keypoints, and 2 names"):
        imports(tmp_path, config, format, path, [PERSON], **{"keypoints": ["a", "b"]})
    with pytest.raises(UserError, match="'tail' is not among the keypoints"):
        imports(tmp_path, config, format, path, [{**PERSON, "keypoints": ["nose", "tail"]}])
    with pytest.raises(UserError, match="has no categories; a model needs those of a labelled dataset"):
        imports(tmp_path, config, format, path, [])


def test_a_misspelt_category_is_refused_and_an_unknown_one_is_not_predicted():
    def predicted(*names, named=False):
        wanted = [{"name": name} for name in names]
        found = known_categories(wanted, ["person", "car", "dog"], named, Path("zoo.pth"), Path("d.json"))
        return [category["name"] for category in found]

    with pytest.raises(UserError, match=r"'persn' is not among the categories .*; did you mean 'person'"):
        predicted("dog", "persn")
    assert predicted("dog", "persn", named=True) == ["dog"]  # whoever names them all knows
    assert predicted("car", "cart", "unicorn", "dog") == ["car", "dog"]
    with pytest.raises(UserError, match="'unicorn' is not among the categories"):
        predicted("unicorn")


def test_fewer_keypoints_in_another_order_are_those_of_the_checkpoint(tmp_path):
    arrays = detectron2_arrays(keypoints=True)
    path = published(tmp_path / "d2.pkl", arrays)
    fewer = {**PERSON, "keypoints": ["right_wrist", "nose"]}
    model = imports(tmp_path, "keypoint_rcnn_r50_fpn", "detectron2", path, [fewer])
    deconv = read_weights(model / "model.pth")["state_dict"]["roi_head.keypoint_head.deconv.weight"]
    assert np.array_equal(deconv.numpy(), arrays["roi_heads.keypoint_head.score_lowres.weight"][:, [10, 0]])
    models.load(model, torch.device("cpu"))


def test_fine_tuning_keeps_the_settings_of_an_imported_model(tmp_path, arrows):
    path = published(tmp_path / "d2.pkl", detectron2_arrays())
    model = imports(tmp_path, "faster_rcnn_r50_fpn", "detectron2", path, COCO_80)
    job = training_job(tmp_path, "faster_rcnn_r50_fpn", arrows)
    assert full_config(job, 0)[0].model.data_preprocessor.bgr_to_rgb
    cfg, _ = full_config(replace(job, init=model / "model.pth"), 0)
    assert not cfg.model.data_preprocessor.bgr_to_rgb
    assert cfg.model.backbone.style == "caffe"


def test_by_hand_a_model_imported_again_predicts_the_same(tmp_path, keypoint_model, arrows):
    """By the program, with the names of what the checkpoint predicts; here in the order of the dataset."""
    names = {"categories": ["arrow", "disc"], "keypoints": ["tip", "left", "right"]}
    spec = {"format": "mmdet", "checkpoint": str(keypoint_model / "model.pth"), **names}
    options = ["--name", "zoo", "--config", ROOT / "config/models/keypoint_rcnn_tiny.py"]
    options += ["--labelled", arrows, "--output", tmp_path / "zoo", "--spec"]
    done = warm.run("import_model.py", *options, json.dumps(spec))
    assert done.returncode == 0, done.stderr
    predictions = []
    for model in (keypoint_model, tmp_path / "zoo"):
        predict_boxes(model, arrows, View(96), (0, 1), tmp_path / "boxes.json", device="cpu")
        predictions.append(read_json(tmp_path / "boxes.json")["predictions"])
    assert predictions[0] == predictions[1]
    assert len(predictions[0]) > 10
    said = "\n".join(describe(resolve(tmp_path / "zoo")))
    assert "keypoints model zoo, imported" in said
    assert f"imported from {spec['checkpoint']} (mmdet)" in said
    del spec["categories"]
    weights = read_weights(keypoint_model / "model.pth")["state_dict"]
    torch.save(weights, tmp_path / "bare.pth")  # says nothing of its categories
    failed = warm.run(
        "import_model.py", *options, json.dumps({**spec, "checkpoint": str(tmp_path / "bare.pth")})
    )
    assert failed.returncode == 1
    assert "has 2 categories; name them in its order with import.categories" in failed.stderr.splitlines()[-1]
