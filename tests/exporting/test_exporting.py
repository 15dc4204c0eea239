"""Exported models, run by torchvision and ONNX Runtime, find what they find here; others are refused."""

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torchvision.models.detection import (
    FasterRCNN,
    KeypointRCNN,
    fasterrcnn_resnet50_fpn,
    keypointrcnn_resnet50_fpn,
)

from distill.datasets.images import read_image
from distill.files import read_json
from distill.models import config_file
from distill.models import model as models
from distill.models.exports import to_onnx, to_torchvision, torchvision_loader
from distill.models.exports.exporting import export_model
from distill.predictions.heatmaps import decode, softmax2d
from distill.predictions.views import View
from distill.program import UserError
from distill.study.model_config import path_of
from helpers import ROOT
from helpers.checkpoints import share_in_common
from helpers.exported import POSED, Ours, record, retina_net

VIEW = View(192)
BEST = 20  # detections of an image whose keypoints are compared


def changed(model, folder, change):
    """A model whose config was changed, with the same weights."""
    cfg = config_file.read(model / "config.py")
    change(cfg.model)
    folder.mkdir()
    (folder / "model.pth").symlink_to(model / "model.pth")
    config_file.write(folder / "config.py", cfg)
    return folder


def in_torchvision(files):
    """The exported network as a function of pixels, with arrays by name."""
    spec = importlib.util.spec_from_file_location("mine", files[2])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network, maps = module.load(), [torch.zeros(0)]
    posed = network.roi_heads.has_keypoint()
    assert type(network) is (KeypointRCNN if posed else FasterRCNN)
    if posed:
        network.roi_heads.keypoint_predictor.register_forward_hook(lambda *call: maps.append(call[-1]))

    @torch.no_grad()
    def run(pixels):
        (found,) = network([torch.from_numpy(pixels)])
        return {name: value.numpy() for name, value in {**found, "heatmaps": maps[-1]}.items()}

    return run


def in_onnx_runtime(files):
    """The same in ONNX Runtime, without heatmaps."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(files[0], options)
    names = [output.name for output in session.get_outputs()]
    assert names == list(read_json(files[1])["outputs"])
    return lambda pixels: dict(zip(names, session.run(None, {"image": pixels}), strict=True))


OTHERS = {"torchvision": (in_torchvision, ".pth"), "onnx": (in_onnx_runtime, ".onnx")}


def compare(ours, format, folder):
    """Exports a model and asserts that the other side finds the same; returns the exported files."""
    other, ending = OTHERS[format]
    files = export_model(ours.predictor.folder, format, folder / format / f"mine{ending}", ours.view.name)
    about, run, theirs = read_json(files[1]), other(files), []
    for image in ours.images:
        found = run(ours.pixels(image))
        for label, box, score in zip(found["labels"], found["boxes"], found["scores"], strict=True):
            theirs.append(record(image, about["categories"][label], box, score))
        if "keypoints" in about:
            boxes, points = found["boxes"][:BEST].astype(float), found["keypoints"][:BEST, :, :2]
            maps = ours.heatmaps(image, boxes)
            if len(seen := found.get("heatmaps", [])):
                np.testing.assert_allclose(seen[:BEST], maps, atol=1e-3 * np.abs(maps).max())
            far = np.abs(decode(softmax2d(maps), maps, boxes, upsample=True)[0] - points).max(-1)
            assert (far <= 0.1).mean() >= 0.995
    assert len(ours.found) >= 100
    assert len({round(one["score"], 3) for one in ours.found}) > 50
    assert share_in_common(ours.found, theirs)[0] >= 0.995
    return files


@pytest.mark.parametrize(
    ("config", "format"),
    [("faster_rcnn_lite", "onnx"), ("keypoint_rcnn_lite", "torchvision")],
)
def test_the_other_side_finds_the_same(tmp_path, model, figures, config, format):
    compare(Ours(model(config), figures[0], figures[1][:2], VIEW), format, tmp_path)


def threshold(value):
    def change(net):
        net.test_cfg.rcnn.score_thr = value

    return change


def agree(theirs, onnx, pixels):
    """How many objects ONNX Runtime finds, each as torchvision does."""
    wanted, found = theirs(pixels), onnx(pixels)
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], atol=0.02, err_msg=name)
    return len(found["scores"])


def test_a_trained_model_finds_the_same_keypoints_in_images_of_any_size(tmp_path, keypoint_model, arrows):
    """Of other sizes than the view's torchvision and ONNX Runtime agree."""
    coco = read_json(arrows)
    model = changed(keypoint_model, tmp_path / "sure", threshold(0.2))
    ours = Ours(model, Path(coco["info"]["image_root"]), coco["images"], View(112))
    others = [other(compare(ours, format, tmp_path)) for format, (other, _) in OTHERS.items()]
    ours.view = View(150, aspect=1.5)
    assert agree(*others, ours.pixels(coco["images"][1])) > 0
    agree(*others, np.ones((3, 77, 95), np.float32))


def test_a_box_to_train_on_is_resized_with_its_image():
    resizing = torchvision_loader.Resizing(100, 200, [0.0] * 3, [1.0] * 3)
    image, target = resizing.resize(torch.zeros(3, 50, 60), {"boxes": torch.tensor([[5.0, 5, 20, 20]])})
    assert image.shape == (3, 100, 120)
    assert target["boxes"].tolist() == [[10, 10, 40, 40]]


def test_images_of_other_sizes_are_resized_as_here(tmp_path, keypoint_model, arrows):
    """But for OpenCV's whole numbers. Sides that torchvision would cut off move boxes by up to a pixel."""
    coco, view = read_json(arrows), View(101)
    sides = [sorted((image["width"], image["height"])) for image in coco["images"]]
    resized = [long * view.scale / short for short, long in sides]
    images = [image for image, side in zip(coco["images"], resized, strict=True) if side % 1 >= 0.5]
    model = changed(keypoint_model, tmp_path / "sure", threshold(0.2))
    ours = Ours(model, Path(coco["info"]["image_root"]), images, view)
    for format, (other, ending) in OTHERS.items():
        files = export_model(model, format, tmp_path / format / f"mine{ending}", view.name)
        about, run, theirs = read_json(files[1]), other(files), []
        for image in images:
            pixels = read_image(ours.folder / image["file_name"])[..., ::-1].transpose(2, 0, 1)
            found = run(np.ascontiguousarray(pixels, np.float32) / 255)
            boxes = view.forward_boxes(found["boxes"].astype(float), (image["width"], image["height"]))
            for label, box, score in zip(found["labels"], boxes, found["scores"], strict=True):
                theirs.append(record(image, about["categories"][label], box, score))
        assert share_in_common(ours.found, theirs, pixels=0.5, score=0.01)[0] >= 0.9
    assert len(ours.found) >= 100


def test_where_nothing_is_nothing_is_found(tmp_path, keypoint_model):
    model = changed(keypoint_model, tmp_path / "never", threshold(1.0))
    others = [
        other(export_model(model, format, tmp_path / format / f"mine{ending}", "s0112"))
        for format, (other, ending) in OTHERS.items()
    ]
    assert agree(*others, np.ones((3, 77, 95), np.float32)) == 0


def test_a_resnet_50_is_torchvisions_own(tmp_path, model, figures):
    ours = Ours(model("faster_rcnn_r50_fpn"), figures[0], figures[1][:1], VIEW)
    weights = compare(ours, "torchvision", tmp_path)[0]
    plain = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    plain.load_state_dict(torch.load(weights, weights_only=True))


@pytest.mark.parametrize(
    "config",
    ["faster_rcnn_lite2", "keypoint_rcnn_r50_fpn", "faster_rcnn_r101_fpn", "keypoint_rcnn_x101_32x4d_fpn"],
)
def test_others_have_all_their_tensors_in_torchvision(config):
    """That they also compute the same, exporting sees to."""
    cfg = models.load_config(path_of(config, ROOT))
    models.drop_pretrained(cfg)
    models.fit_to_dataset(cfg, POSED, "the test")
    with torch.device("cpu" if "lite" in config else "meta"):  # mmdet's EfficientNet asks for values
        network = models.build(cfg)
        settings = to_torchvision.settings_of(cfg, network, {"categories": POSED}, VIEW)
        expected = torchvision_loader.build(settings).state_dict()
        assert shapes(to_torchvision.renamed(network.state_dict(), expected, cfg)) == shapes(expected)
        if config == "keypoint_rcnn_r50_fpn":
            own = keypointrcnn_resnet50_fpn(weights_backbone=None, num_classes=2, num_keypoints=3)
            assert shapes(own.state_dict()) == shapes(expected)


def shapes(state):
    return {name: tuple(value.shape) for name, value in state.items()}


def softly(net):
    net.test_cfg.rcnn.nms.type = "soft_nms"


def dilated(net):
    net.backbone.dilations = (1, 1, 1, 2)


def as_it_is(net):
    pass


@pytest.mark.parametrize(
    ("config", "change", "file", "message"),
    [
        ("retina", as_it_is, "mine.pth torchvision", "R-CNNs of config/models are exported; this is another"),
        ("faster_rcnn_tiny", softly, "mine.pth torchvision", "another network .its NMS"),
        ("faster_rcnn_tiny", dilated, "mine.onnx onnx", "of the same weights, computes something else"),
        ("faster_rcnn_tiny", as_it_is, "mine.json torchvision", "for torchvision name the file ….pth"),
        ("faster_rcnn_lite", as_it_is, "mine.pth mmdet", "EfficientNetLite is a part of this project"),
        ("retina", as_it_is, "mine.pth mmpose", "no pose estimator that sees one box at a time"),
        ("keypoint", as_it_is, "mine.pth mmdet", "KeypointHead is a part of this project"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(
    request, tmp_path, model, config, change, file, message
):
    match config:
        case "retina":
            folder = retina_net(tmp_path)
        case "keypoint":
            folder = request.getfixturevalue("keypoint_model")
        case _:
            folder = model(config)
    folder, (name, format) = changed(folder, tmp_path / "changed", change), file.split()
    with pytest.raises(UserError, match=message) as error:
        export_model(folder, format, tmp_path / name, VIEW.name)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("mine*"))


def test_a_model_is_not_exported_over_itself_or_over_other_files(model, tmp_path):
    folder = model("faster_rcnn_tiny")
    before = (folder / "model.pth").read_bytes()
    with pytest.raises(UserError, match="is the folder of a model"):
        export_model(folder, "torchvision", folder / "model.pth", VIEW.name)
    assert (folder / "model.pth").read_bytes() == before
    (tmp_path / "student.py").write_text("mine")
    with pytest.raises(UserError, match=r"student\.py: is of something else, and would be replaced"):
        export_model(folder, "torchvision", tmp_path / "student.pth", VIEW.name)
    assert (tmp_path / "student.py").read_text() == "mine"


def test_a_missing_package_is_one_line(tmp_path, model, monkeypatch):
    monkeypatch.setattr(to_onnx, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="missing: pip install onnx"):
        export_model(model("faster_rcnn_tiny"), "onnx", tmp_path / "mine.onnx", VIEW.name)


def test_a_view_that_mirrors_is_refused(tmp_path, keypoint_model):
    with pytest.raises(UserError, match="exported for one view, which neither mirrors nor turns"):
        export_model(keypoint_model, "torchvision", tmp_path / "mine.pth", "s0112-flip")
