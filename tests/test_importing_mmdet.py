"""Checkpoints of mmdet: names and settings are mmdet's, and detections agree with its own."""

from pathlib import Path

import mmdet
import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope

from distill.datasets.images import read_image
from distill.files import read_json
from distill.models import model as models
from distill.models.importing import translate
from distill.models.prediction import predict_boxes
from distill.models.published.formats import FORMATS
from distill.models.weights import read_weights
from distill.predictions.views import View
from helpers import ROOT
from helpers.checkpoints import COCO_80, imports, scale_like_trained, share_in_common, small_dataset
from helpers.options import build


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

    wanted = [
        COCO_80[i] for i in range(79, 0, -1)
    ]  # another order, one category less, and one of no checkpoint
    wanted.insert(7, {"id": 999, "name": "unicorn"})
    model = imports(tmp_path, "faster_rcnn_r50_fpn", "mmdet", tmp_path / "mmdet.pth", wanted)
    view = View(min(pixels.shape[:2]))
    predict_boxes(model, dataset, view, (0, 1), tmp_path / "boxes.json", device="cpu")
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
    meta = read_weights(model / "model.pth")["meta"]
    assert meta["rows"] == [category["name"] for category in COCO_80]
    assert 999 not in {category["id"] for category in meta["categories"]}
