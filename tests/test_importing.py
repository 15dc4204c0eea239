"""Published checkpoints: mmdet's agree with mmdet, detectron2's with its meaning; wrong ones are refused."""

import json
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
import torchvision
from checkpoints import COCO, PERSON, scale_like_trained, share_in_common, small_dataset
from conftest import ROOT, training_job
from mmcv.cnn import fuse_conv_bn
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope

from distill.array_pickle import read_arrays
from distill.datasets import build
from distill.files import read_json, write_json
from distill.images import read_image
from distill.inspection.words import describe, resolve
from distill.nn import model as models
from distill.nn.importing import import_model, translate
from distill.nn.prediction import Predictor, infer_boxes
from distill.nn.training import full_config
from distill.nn.zoo import FORMATS
from distill.program import UserError
from distill.views import View

COCO_80 = [{"id": i, "name": name} for i, name in enumerate(COCO) if i and name != "N/A"]


def dataset_of(folder, categories=(PERSON,)):
    write_json(folder / "d.json", {"images": [], "annotations": [], "categories": list(categories)})
    return folder / "d.json"


def imports(folder, config, format, checkpoint, categories=(PERSON,), **options):
    """The folder of the model."""
    spec = {"format": format, "checkpoint": str(checkpoint), **options}
    dataset = dataset_of(folder, categories)
    import_model("zoo", ROOT / f"config/models/{config}.py", spec, dataset, folder / "zoo")
    return folder / "zoo"


# --- mmdet ---


def mmdets_own(backbone):
    """The config in mmdet's model zoo, and its network with random weights."""
    cfg = Config.fromfile(
        f"{mmdet.__path__[0]}/.mim/configs/faster_rcnn/faster-rcnn_{backbone}_fpn_1x_coco.py"
    )
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return cfg, MODELS.build(cfg.model)


@pytest.mark.parametrize(
    ("backbone", "key"),
    [("r101", "config"), ("x101-32x4d", "cfg"), ("r50-caffe", "cfg"), ("r50-caffe", "config")],
)
def test_settings_and_names_are_those_of_mmdets_config(backbone, key):
    """Which mmdet 2 keeps in the checkpoint under `config`, mmdet 3 under `cfg`."""
    theirs, network = mmdets_own(backbone)
    ours = models.load_config(
        ROOT / f"config/models/faster_rcnn_{backbone.split('-c')[0].replace('-', '_')}_fpn.py"
    )
    state = network.state_dict()
    found, unused, _ = translate(state, {key: theirs.pretty_text}, FORMATS["mmdet"], ours, Path("x.pth"))
    assert found.keys() == state.keys()
    assert not unused
    assert ours.model.data_preprocessor == theirs.model.data_preprocessor
    assert ours.model.backbone.style == theirs.model.backbone.style
    for name in ("neck", "test_cfg"):
        assert ours.model[name] == theirs.model[name]


def test_detections_are_those_of_mmdet(tmp_path):
    """The same weights in mmdet's network of its own config, with its own preprocessing and test."""
    root = tmp_path / "figures"
    coco = build("figures", {"kind": "figures", "images": 3, "seed": 5}, {}, root)
    dataset = small_dataset(tmp_path / "data", coco, root, 1, COCO_80)
    image = read_json(dataset)["images"][0]
    pixels = read_image(dataset.parent / image["file_name"], (image["width"], image["height"]))
    cfg, network = mmdets_own("r50-caffe")
    size = {"img_shape": pixels.shape[:2], "ori_shape": pixels.shape[:2], "scale_factor": (1, 1)}
    batch = {
        "inputs": [torch.from_numpy(pixels.copy()).permute(2, 0, 1)],
        "data_samples": [DetDataSample(metainfo=size)],
    }
    head = "roi_head.bbox_head."
    spread = {"rpn_head.rpn_cls": 2, "rpn_head.rpn_reg": 0.3, head + "fc_cls": 2.5, head + "fc_reg": 1}
    scale_like_trained(network, spread, lambda: network.test_step(batch))
    meta = {"CLASSES": tuple(category["name"] for category in COCO_80), "config": cfg.pretty_text}
    torch.save({"meta": meta, "state_dict": network.state_dict()}, tmp_path / "mmdet.pth")
    # Laid out and folded as ours: such a network blows up the rounding of sums in another order.
    fuse_conv_bn(network.to(memory_format=torch.channels_last))
    with torch.inference_mode():
        found = network.test_step(batch)[0].pred_instances

    wanted = [COCO_80[i] for i in range(79, 0, -1)]  # another order, and one category less
    model = imports(tmp_path, "faster_rcnn_r50_fpn", "mmdet", tmp_path / "mmdet.pth", wanted)
    view = View(min(pixels.shape[:2]))
    infer_boxes(model, dataset, view, (0, 1), tmp_path / "boxes.json", device="cpu")
    ours = read_json(tmp_path / "boxes.json")["predictions"]
    for record in ours:
        x, y, w, h = record["bbox"]
        record["box"] = [x, y, x + w, y + h]
    theirs = [
        {"image_id": image["id"], "category_id": COCO_80[label]["id"], "box": box, "score": score}
        for label, box, score in zip(
            found.labels.tolist(), found.bboxes.tolist(), found.scores.tolist(), strict=True
        )
    ]
    kept = [record for record in theirs if record["category_id"] != COCO_80[0]["id"]]
    assert len(kept) > 50
    assert share_in_common(kept, ours, pixels=0.01, score=1e-4)[0] >= 0.99


# --- detectron2 ---


@cache
def detectron2_arrays(depth=50, groups=1, keypoints=False):
    """Random arrays of the names and shapes of detectron2's models: ResNet or ResNeXt, FPN, RPN, heads."""
    random, arrays = np.random.default_rng(0), {}

    def layer(name, *shape, bias=True, norm=False):
        spread = np.float32(np.prod(shape[1:]) ** -0.5)
        arrays[f"{name}.weight"] = random.standard_normal(shape, np.float32) * spread
        if bias:
            arrays[f"{name}.bias"] = random.normal(0, 0.1, shape[0]).astype(np.float32)
        if norm:
            for key in ("weight", "bias", "running_mean", "running_var"):
                values = random.uniform(0.5, 1, shape[0]) * (1 if key in ("weight", "running_var") else 0.1)
                arrays[f"{name}.norm.{key}"] = values.astype(np.float32)

    trunk = "backbone.bottom_up."
    layer(f"{trunk}stem.conv1", 64, 3, 7, 7, bias=False, norm=True)
    wide, before = (1 if groups == 1 else 4), 64
    for stage, blocks in enumerate({50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth]):
        inner, out = wide * 64 * 2**stage, 256 * 2**stage
        for block in range(blocks):
            name = f"{trunk}res{stage + 2}.{block}"
            if block == 0:
                layer(f"{name}.shortcut", out, before, 1, 1, bias=False, norm=True)
            layer(f"{name}.conv1", inner, before, 1, 1, bias=False, norm=True)
            layer(f"{name}.conv2", inner, inner // groups, 3, 3, bias=False, norm=True)
            layer(f"{name}.conv3", out, inner, 1, 1, bias=False, norm=True)
            before = out
        layer(f"backbone.fpn_lateral{stage + 2}", 256, out, 1, 1)
        layer(f"backbone.fpn_output{stage + 2}", 256, 256, 3, 3)
    layer("proposal_generator.rpn_head.conv", 256, 256, 3, 3)
    layer("proposal_generator.rpn_head.objectness_logits", 3, 256, 1, 1)
    layer("proposal_generator.rpn_head.anchor_deltas", 12, 256, 1, 1)
    for level in range(5):
        arrays[f"proposal_generator.anchor_generator.cell_anchors.{level}"] = np.zeros((3, 4), np.float32)
    layer("roi_heads.box_head.fc1", 1024, 256 * 49)
    layer("roi_heads.box_head.fc2", 1024, 1024)
    classes = 1 if keypoints else 80
    layer("roi_heads.box_predictor.cls_score", classes + 1, 1024)
    layer("roi_heads.box_predictor.bbox_pred", 4 * classes, 1024)
    if keypoints:
        for number in range(8):
            layer(f"roi_heads.keypoint_head.conv_fcn{number + 1}", 512, 512 if number else 256, 3, 3)
        layer("roi_heads.keypoint_head.score_lowres", 512, 17, 4, 4)
        arrays["roi_heads.keypoint_head.score_lowres.bias"] = np.zeros(17, np.float32)
    return arrays


def published(path, arrays, protocol=4):
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}, protocol))
    return path


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


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_of_arrays_is_read(tmp_path, protocol):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((), np.int64)}
    found = read_arrays(published(tmp_path / "x.pkl", arrays, protocol))
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[key], arrays[key]) for key in arrays)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"a": Evil()}}, r"it holds builtins\.exec; only arrays are read"),
        ({"model": {"a": np.array([Evil()])}}, r"it holds builtins\.exec"),
        ({"model": {"a": np.array(["text"])}}, "'a' is not an array of numbers"),
        ({"blobs": {}}, "has no 'model'"),
        ([1], "has no 'model'"),
    ],
)
def test_a_pickle_of_anything_else_is_refused(tmp_path, content, message):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=message) as error:
        read_arrays(tmp_path / "x.pkl")
    assert "\n" not in str(error.value)


def test_a_damaged_pickle_is_refused(tmp_path):
    path = published(tmp_path / "x.pkl", {"a": np.zeros(99)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="not a pickle of arrays"):
        read_arrays(path)


# --- checkpoints that hold more than tensors ---


@pytest.mark.parametrize("zipped", [True, False])
def test_of_mmengines_own_checkpoint_the_tensors_are_read_and_nothing_is_run(tmp_path, zipped):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "run",)

    hub = MessageHub("a training")
    hub.update_scalar("loss", 1.5)  # a HistoryBuffer, which refers to its own methods
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).half().state_dict()
    content = {"meta": {"dataset_meta": {"classes": ("a", "b")}}, "state_dict": state}
    content |= {"message_hub": hub.state_dict(), "trap": Trap()}
    torch.save(content, tmp_path / "epoch_1.pth", _use_new_zipfile_serialization=zipped)
    found = models.read_weights(tmp_path / "epoch_1.pth")
    assert not (tmp_path / "run").exists()
    assert found["meta"] == content["meta"]
    assert found["state_dict"].keys() == state.keys()
    assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in state.items())


# --- what is refused ---


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


def test_fewer_keypoints_in_another_order_are_those_of_the_checkpoint(tmp_path):
    arrays = detectron2_arrays(keypoints=True)
    path = published(tmp_path / "d2.pkl", arrays)
    fewer = {**PERSON, "keypoints": ["right_wrist", "nose"]}
    model = imports(tmp_path, "keypoint_rcnn_r50_fpn", "detectron2", path, [fewer])
    deconv = models.read_weights(model / "model.pth")["state_dict"]["roi_head.keypoint_head.deconv.weight"]
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
    command = [sys.executable, ROOT / "scripts/import_model.py", "--name", "zoo", "--spec", json.dumps(spec)]
    command += ["--config", ROOT / "config/models/keypoint_rcnn_tiny.py", "--labelled", arrows]
    subprocess.run([*command, "--output", tmp_path / "zoo"], check=True)
    predictions = []
    for model in (keypoint_model, tmp_path / "zoo"):
        infer_boxes(model, arrows, View(96), (0, 1), tmp_path / "boxes.json", device="cpu")
        predictions.append(read_json(tmp_path / "boxes.json")["predictions"])
    assert predictions[0] == predictions[1]
    assert len(predictions[0]) > 10
    said = "\n".join(describe(resolve(tmp_path / "zoo")))
    assert "keypoints model zoo, imported" in said
    assert f"imported from {spec['checkpoint']} (mmdet)" in said
    del spec["categories"]
    command[command.index("--spec") + 1] = json.dumps(spec)
    failed = subprocess.run([*command, "--output", tmp_path / "no"], capture_output=True, text=True)
    assert failed.returncode == 1
    assert "has 2 categories; name them in its order with import.categories" in failed.stderr.splitlines()[-1]
