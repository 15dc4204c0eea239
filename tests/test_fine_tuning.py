"""Fine-tuning a published detector: categories of the same name keep their rows, the others start anew."""

import logging
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from distill.files import read_json, write_json
from distill.models import initial, named_rows
from distill.models import model as models
from distill.models.importing import import_model
from distill.models.predictor import Predictor
from distill.models.training import train
from distill.models.weights import read_weights
from distill.predictions.views import View
from distill.program import UserError
from helpers import ROOT
from helpers.checkpoints import COCO
from helpers.detectors import NARROW, narrow
from helpers.networks import training_job

HEAD = "roi_head.bbox_head."


def test_a_detector_of_coco_learns_three_categories(tmp_path, arrows, caplog):
    """One of them COCO's: its scores are the checkpoint's, but for what all are normalised by."""
    torch.manual_seed(0)
    theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "coco.pth")
    coco = read_json(arrows)
    coco["info"]["image_root"] = str(arrows.parent / coco["info"].get("image_root", ""))
    names = ["arrow", "dog", "square"]
    numbers = [*(category["id"] for category in coco["categories"]), 99]
    categories = [{"id": number, "name": name} for number, name in zip(numbers, names, strict=True)]
    annotations = [{k: a[k] for k in a if "keypoint" not in k} for a in coco["annotations"]]
    write_json(tmp_path / "d.json", {**coco, "categories": categories, "annotations": annotations})
    start = {"format": "torchvision", "checkpoint": str(tmp_path / "coco.pth")}
    options = dict(init=start, iterations=1, batch=1, scales=[64], max_side=96, lr=1e-12, amp=False)
    job = training_job(tmp_path, "faster_rcnn_r50_fpn", tmp_path / "d.json", **options)
    with caplog.at_level(logging.INFO, "distill"):
        train(replace(job, init=tmp_path / "coco.pth"))
    assert "categories kept: dog; started anew: arrow, square" in caplog.text

    network, meta, *_ = models.load(tmp_path / "model", torch.device("cpu"))
    assert [category["name"] for category in meta["categories"]] == names
    pixels, roi = torch.randn(1, 3, 128, 160), torch.tensor([[10.0, 20, 110, 90]])
    with torch.inference_mode():
        features = theirs.backbone(pixels)
        pooled = theirs.roi_heads.box_roi_pool(features, [roi], [(128, 160)])
        logits, boxes = theirs.roi_heads.box_predictor(theirs.roi_heads.box_head(pooled))
        head, mine = network.roi_head, network.extract_feat(pixels)
        found = head.bbox_head(head.bbox_roi_extractor(mine[:4], torch.cat([torch.zeros(1, 1), roi], 1)))
    dog = COCO.index("dog")
    close = dict(rtol=1e-3, atol=1e-3)
    assert torch.allclose(found[0][:, 1], logits[:, dog], **close)
    assert torch.allclose(found[0][:, 3], logits[:, 0], **close)  # the background
    assert torch.allclose(found[1].view(-1, 4)[1], boxes.view(-1, 4)[dog], **close)
    likely = [scores.softmax(1)[0] for scores in (found[0], logits)]
    assert torch.allclose(likely[0][1] / likely[0][3], likely[1][dog] / likely[1][0], **close)
    for name in (0, 2):
        assert not torch.isclose(found[0][0, name], logits[0]).any()


HEADS = {  # what one anchor's or one box's numbers look like, and where a category's are in it
    "RetinaHead": (dict(in_channels=8, feat_channels=8), "retina_cls.bias", lambda c: (-1, c), lambda c: c),
    "FCOSHead": (dict(in_channels=8, feat_channels=32), "conv_cls.bias", lambda c: (-1, c), lambda c: c),
    "Shared2FCBBoxHead": (dict(in_channels=8), "fc_cls.bias", lambda c: (-1, c + 1), lambda c: c),
    "YOLOV3Head": (
        dict(in_channels=[8], out_channels=[8], featmap_strides=[8]) | dict(anchor_generator=dict(
            type="YOLOAnchorGenerator", base_sizes=[[(9, 9), (12, 15), (30, 30)]], strides=[8])),
        "convs_pred.0.bias", lambda c: (-1, 5 + c), lambda c: 5 + c,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADS)
def test_rows_of_any_head_are_found_and_move_with_their_category(kind):
    options, tensor, shape, place = HEADS[kind]

    def biases(count):
        head = MODELS.build(dict(type=kind, num_classes=count, **options))
        return {key: value.clone() for key, value in head.state_dict().items()}

    rows = named_rows.find(*({key: value.shape for key, value in biases(n).items()} for n in (2, 3)))
    assert tensor in rows
    before, after = biases(6)[tensor], biases(3)[tensor]
    before, after = torch.arange(1.0, len(before) + 1), -torch.arange(1.0, len(after) + 1)
    assert named_rows.name_count({tensor: before}, rows) == 6
    moved = named_rows.taken(before, after, rows[tensor], (6, 3), [(4, 0), (1, 2)])
    old, mine, new = before.view(shape(6)), after.view(shape(3)), moved.view(shape(3))
    assert torch.equal(new[:, place(0)], old[:, place(4)])
    assert torch.equal(new[:, place(2)], old[:, place(1)])
    assert torch.equal(new[:, place(1)], mine[:, place(1)])
    others = [i for i in range(new.shape[1]) if i not in map(place, range(3))]
    kept = [i for i in range(old.shape[1]) if i not in map(place, range(6))]
    assert torch.equal(new[:, others], old[:, kept])


def tiny(names):
    cfg = models.load_config(ROOT / "config/models/keypoint_rcnn_tiny.py")
    cfg.model.backbone.init_cfg = None
    categories = [{"name": name, "keypoints": ["tip", "left", "right"]} for name in names]
    models.fit_to_dataset(cfg, categories, "d.json")
    return cfg, categories, models.build(cfg)


def test_as_many_categories_of_other_names_do_not_keep_their_rows(tmp_path, caplog):
    _, categories, network = tiny(["arrow", "disc"])
    categories = [{**category, "keypoints": ["right", "left", "tip"]} for category in categories]
    state = {key: torch.randn(value.shape) for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "meta": {"categories": categories}}, tmp_path / "x.pth")
    cfg, categories, network = tiny(["square", "arrow"])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with caplog.at_level(logging.INFO, "distill"):
        initial.load(network, tmp_path / "x.pth", None, cfg, categories)
    assert "categories kept: arrow; started anew: square" in caplog.text
    assert "keypoints kept: tip, left, right; started anew: none" in caplog.text
    after = network.state_dict()
    key = f"{HEAD}fc_cls.weight"
    assert torch.equal(after[key], torch.stack([before[key][0], state[key][0], state[key][2]]))
    key = f"{HEAD}fc_reg.bias"
    assert torch.equal(after[key], torch.cat([before[key][:4], state[key][:4]]))
    key = "roi_head.keypoint_head.deconv.weight"
    assert torch.equal(after[key], state[key][:, [2, 1, 0]])


def test_a_checkpoint_that_names_nothing_is_of_the_same_categories_if_as_many(tmp_path, caplog):
    cfg, categories, network = tiny(["square", "arrow"])
    state = {key: torch.ones_like(value) * len(key) for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / "x.pth")
    initial.load(network, tmp_path / "x.pth", None, cfg, categories)
    assert all(torch.equal(value.float(), state[key].float()) for key, value in network.state_dict().items())
    three = tiny(["square", "arrow", "disc"])
    with caplog.at_level(logging.INFO, "distill"):
        initial.load(three[2], tmp_path / "x.pth", None, three[0], three[1])
    assert "categories kept: none; started anew: square, arrow, disc" in caplog.text
    spec = {"format": "mmdet", "checkpoint": "x.pth", "categories": ["a", "square", "b"]}
    with pytest.raises(UserError, match="has 2 categories, and 3 names; give init"):
        initial.load(three[2], tmp_path / "x.pth", spec, three[0], three[1])
    spec["categories"] = ["disc", "a"]
    initial.load(three[2], tmp_path / "x.pth", spec, three[0], three[1])
    key = f"{HEAD}fc_cls.weight"
    assert torch.equal(three[2].state_dict()[key][2:], state[key][[0, 2]])


NAMES = ["bird", "cat", "dog", "cow", "bear", "kite"]


@pytest.fixture(scope="module", params=NARROW)
def zoo(request, tmp_path_factory):
    """A detector of six categories as mmdet publishes it, with random weights: its config and its file."""
    folder = tmp_path_factory.mktemp(request.param)
    config = narrow(request.param, folder)
    cfg = models.load_config(config)
    models.fit_to_dataset(cfg, [{"name": name} for name in NAMES], "zoo")
    torch.manual_seed(0)
    network = models.build(cfg)
    state = {
        key: value + torch.rand(value.shape).to(value) / 10 for key, value in network.state_dict().items()
    }
    content = {"state_dict": state, "meta": {"dataset_meta": {"classes": tuple(NAMES)}}}
    torch.save(content, folder / "zoo.pth")
    return config, folder / "zoo.pth"


def test_any_detector_is_imported_and_keeps_its_own_categories(zoo, tmp_path, arrows, caplog):
    config, path = zoo
    categories = [{"id": i, "name": name} for i, name in ((7, "dog"), (3, "arrow"), (5, "bird"))]
    coco = read_json(arrows)
    root = arrows.parent / coco["info"].get("image_root", "")
    write_json(tmp_path / "d.json", {"images": [], "annotations": [], "categories": categories})
    spec = {"format": "mmdet", "checkpoint": str(path)}
    import_model("zoo", config, spec, tmp_path / "d.json", tmp_path / "zoo")
    assert f"{path}: does not know arrow; the model predicts the others" in caplog.text
    state = torch.load(path)["state_dict"]
    for key, value in read_weights(tmp_path / "zoo/model.pth")["state_dict"].items():
        assert torch.equal(value, state[key]), key
    predictor = Predictor(tmp_path / "zoo", "cpu", workers=0)
    # What the network finds in an image is chance; this is one of each.
    each = InstanceData(bboxes=torch.zeros(6, 4), scores=torch.arange(6) / 10, labels=torch.arange(6))
    with patch.object(predictor.kind, "boxes", lambda network, inputs, samples: [each]):
        ((_, found),) = predictor.boxes(root, coco["images"][:1], View(64))
    assert found["category_ids"].tolist() == [5, 7]
    assert found["scores"].tolist() == pytest.approx([0, 0.2])


def test_any_detector_starts_from_one_of_other_categories(zoo, caplog):
    config, path = zoo
    cfg = models.load_config(config)
    categories = [{"name": name} for name in ("arrow", "kite")]
    models.fit_to_dataset(cfg, categories, "mine")
    network = models.build(cfg)
    with caplog.at_level(logging.INFO, "distill"):
        spec = {"format": "mmdet", "checkpoint": str(path)}
        initial.load(network, path, spec, models.load_config(config), categories)
    count = len(network.state_dict())
    assert f"{count} of the model's {count} tensors fit; the others" in caplog.text
    assert "categories kept: kite; started anew: arrow" in caplog.text
