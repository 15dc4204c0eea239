"""Any detector of mmdet: its config is settled to the dataset, and it goes the whole way."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS
from torch import nn

from distill.models import model as models
from distill.models.backbone import weights_file
from distill.models.networks import kind_of, own_hooks
from distill.models.networks.detector import Detector
from distill.models.predictor import Predictor
from distill.models.weights import read_weights
from distill.predictions.views import View
from distill.program import UserError
from helpers.arrows import lay_out_arrows
from helpers.checkpoints import imports
from helpers.detectors import NARROW, narrow
from helpers.networks import SPEC, random_model, training_job
from helpers.trial import in_bfloat16, trial
from helpers.workflow import snakemake, succeed

CATEGORIES = [{"id": i, "name": str(i)} for i in range(3)]


def settled(config):
    cfg = models.load_config(config)
    kind_of(cfg).settle(cfg, CATEGORIES, "test")
    return cfg


@pytest.mark.parametrize("name", NARROW)
def test_it_goes_the_whole_way(name, tmp_path, arrows):
    seen = trial(narrow(name, tmp_path), arrows, tmp_path / "trial", scales=[64], max_side=96)
    assert len(seen) == 6
    assert not [f"{check} {text}" for check, text in seen.items() if text.startswith("no")]


def test_every_number_of_categories_is_the_datasets():
    cfg = settled("mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py")
    assert [head.num_classes for head in cfg.model.roi_head.bbox_head] == [3, 3, 3]
    assert not {"mask_head", "mask_roi_extractor"} & cfg.model.roi_head.keys()
    assert cfg.model.data_preprocessor == dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    )


@pytest.mark.parametrize(
    "name", ["ms_rcnn/ms-rcnn_r50-caffe_fpn_1x", "point_rend/point-rend_r50-caffe_fpn_ms-1x"]
)
def test_heads_that_need_masks_go_with_them(name):
    cfg = settled(f"mmdet::{name}_coco.py")
    models.drop_pretrained(cfg)
    parts = {part for part, _ in models.build(cfg).roi_head.named_children()}
    assert parts == {"bbox_roi_extractor", "bbox_head"}


def test_statistics_of_several_processes_are_torchs():
    name = "mask-rcnn_r50_fpn_rpn-2conv_4conv1fc_syncbn-all_32xb2-ssj-90k_coco.py"
    cfg = settled(f"mmdet::simple_copy_paste/{name}")
    assert "MMSyncBN" not in str(cfg.model)
    models.drop_pretrained(cfg)
    layers = [layer for layer in models.build(cfg).modules() if isinstance(layer, nn.SyncBatchNorm)]
    assert len(layers) > 20


def test_weights_of_a_backbone_are_known_by_their_checkpoint():
    """PVT's `init_cfg` has no type."""
    cfg = settled("mmdet::pvt/retinanet_pvtv2-b0_fpn_1x_coco.py")
    with pytest.raises(UserError, match=r"pvt_v2_b0\.pth: no such file"):
        weights_file(cfg.model.backbone.init_cfg)
    models.drop_pretrained(cfg)
    assert cfg.model.backbone.init_cfg is None


def test_layers_of_others_see_plain_tensors():
    """Heads, and convolutions that compute their weights; torch's own are faster with the channels last."""
    cfg = settled("mmdet::detectors/cascade-rcnn_r50-sac_1x_coco.py")
    models.drop_pretrained(cfg)
    network = models.build(cfg)

    def plain(layers):
        return {layer.weight.is_contiguous() for layer in layers if layer.kernel_size != (1, 1)}

    own = [layer for layer in network.backbone.modules() if type(layer).__name__ == "SAConv2d"]
    assert plain(own) == {True}
    assert plain(layer for layer in network.neck.modules() if isinstance(layer, nn.Conv2d)) == {False}
    assert plain(layer for layer in network.rpn_head.modules() if isinstance(layer, nn.Conv2d)) == {True}
    features = network.extract_feat(torch.zeros(1, 3, 128, 128).to(memory_format=torch.channels_last))
    assert all(level.is_contiguous() for level in features)


def test_images_say_what_networks_of_corners_ask(tmp_path, arrows):
    """CenterNet and CornerNet subtract the border of what they take for a crop."""
    predictor = Predictor(random_model("faster_rcnn_tiny", CATEGORIES, tmp_path / "model"), "cpu")
    seen = []
    image = {"id": 1, "width": 40, "height": 30}
    predictor.forward(
        [image], [torch.zeros(3, 30, 40, dtype=torch.uint8)], View(30), lambda *a: seen.append(a)
    )
    ((_, _, (sample,)),) = seen
    assert sample.metainfo["border"] == (0, 30, 0, 40)


def test_nothing_is_drawn_or_downloaded_beside_the_samples():
    cfg = settled("mmdet::detectors/detectors_htc-r50_1x_coco.py")  # weights in a backbone in the neck
    assert "https://" not in str(cfg.model.neck)
    assert "torchvision://" not in str(cfg.model.neck)
    cfg = settled("mmdet::yolox/yolox_s_8xb8-300e_coco.py")  # images resized together, every 10 iterations
    assert "batch_augments" not in cfg.model.data_preprocessor


def test_what_no_checkpoint_holds_cannot_be_resumed():
    path = "mmdet::dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py"
    with pytest.raises(UserError, match="Dynamic R-CNN cannot be resumed exactly"):
        Detector().optimization(models.load_config(path), {"lr": "auto", "batch": 8}, path)


def test_detectors_made_of_detectors_are_refused():
    with pytest.raises(UserError, match="SoftTeacher is made of other detectors"):
        settled("mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py")


def test_its_own_optimizer_is_kept():
    cfg = models.load_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    assert Detector().optimization(cfg, {"lr": "auto", "batch": 8}, "test") == dict(
        optimizer=dict(type="AdamW", lr=0.0001 * 8 / 16, weight_decay=0.0001),
        clip_grad=dict(max_norm=0.1, norm_type=2),
        paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
    )
    rate = Detector().optimization(cfg, {"lr": 0.002, "batch": 8}, "test")["optimizer"]["lr"]
    assert rate == 0.001
    cfg = models.load_config("mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py")  # of 8 GPUs with 32 images each
    rate = Detector().optimization(cfg, {"lr": "auto", "batch": 16}, "test")["optimizer"]["lr"]
    assert rate == pytest.approx(0.004 * 16 / 256)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optim_wrapper = dict(_delete_=True)", "has no `optim_wrapper`"),
        ("optim_wrapper = dict(accumulative_counts=2)", "accumulative_counts"),
        (
            "auto_scale_lr = dict(_delete_=True)",
            "has no auto_scale_lr.base_batch_size; give",
        ),
        ("custom_hooks = [dict(type='MeanTeacherHook')]", "its hook MeanTeacherHook is not known"),
        ("model = dict(backbone=dict(type='subprocess.Popen'))", "is not the name of a part"),
        ("1 / 0", "cannot read the model config"),
    ],
)
def test_what_it_cannot_be_trained_by_is_one_line(tmp_path, text, said):
    path = tmp_path / "mine.py"
    path.write_text(f"_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'\n{text}\n")

    def settle():
        cfg = settled(path)
        Detector().optimization(cfg, {"lr": "auto", "batch": 8}, str(path))
        Detector().hooks(cfg, 10, str(path))

    with pytest.raises(UserError) as error:
        settle()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_hooks_that_count_epochs_count_iterations():
    cfg = models.load_config("mmdet::yolox/yolox_s_8xb8-300e_coco.py")
    assert own_hooks.translated(cfg, 1000, "test") == [dict(type="UseL1", begin=950)]
    cfg = Config(dict(custom_hooks=[dict(type="SetEpochInfoHook")], train_cfg=dict(max_epochs=12)))
    assert own_hooks.translated(cfg, 1200, "test") == [dict(type="TellEpoch", iterations=100.0)]
    cfg = models.load_config("mmdet::tood/tood_r50_fpn_1x_coco.py")  # another assigner from epoch 4 of 12 on
    (count,) = own_hooks.translated(cfg, 1200, "test")
    runner = SimpleNamespace(message_hub=MessageHub("epochs"))
    HOOKS.build(count).before_train_iter(runner, 399)
    assert runner.message_hub.get_info("epoch") == 3
    HOOKS.build(count).before_train_iter(runner, 400)
    assert runner.message_hub.get_info("epoch") == 4


def test_what_a_detector_cannot_do_is_one_line():
    with pytest.raises(UserError, match="model m: freeze_rpn is for the R-CNNs of config/models alone"):
        Detector().check({**SPEC, "freeze_rpn": True}, "m")


def test_heads_are_in_float32(tmp_path, arrows):
    """Features are of bfloat16, whose 8 bits are seen in them; what heads make of these is not."""
    from dataclasses import replace

    from distill.models.training import train

    job = training_job(tmp_path, "faster_rcnn_tiny", arrows, iterations=1, lr="auto", scales=[64])
    job = replace(job, config=narrow("retinanet", tmp_path))
    train(job)
    seen = {}
    with in_bfloat16():
        for amp in (False, True):
            network = Predictor(job.output, "cpu", amp=amp).network
            types = seen[amp] = {}
            for name, layer in network.named_modules():
                if isinstance(layer, nn.Conv2d):
                    part = types.setdefault(name.partition(".")[0], set())
                    layer.register_forward_hook(lambda *io, part=part: part.add(io[2].dtype))
            with torch.no_grad():
                network.bbox_head(network.extract_feat(torch.randn(1, 3, 64, 64)))
    full, half = {torch.float32}, {torch.bfloat16}
    assert seen[False] == {"backbone": full, "neck": full, "bbox_head": full}
    assert seen[True] == {"backbone": half, "neck": half, "bbox_head": full}


@pytest.mark.parametrize("name", ["rtmdet", "cascade_rcnn"])
def test_a_published_one_is_imported_with_its_rows(tmp_path, arrows, name):
    """The categories that the dataset knows too are found as before, the others not."""
    config, theirs = str(narrow(name, tmp_path)), [{"id": n, "name": each} for n, each in enumerate("abc")]
    random_model(config, theirs, tmp_path / "own")
    state = read_weights(tmp_path / "own/model.pth")["state_dict"]
    torch.save({"meta": {"CLASSES": tuple("abc")}, "state_dict": state}, tmp_path / "published.pth")
    wanted = [{"id": 30, "name": "c"}, {"id": 20, "name": "nobody's"}, {"id": 10, "name": "a"}]
    imported = imports(tmp_path, config, "mmdet", tmp_path / "published.pth", wanted)

    def found(folder):
        predictor, images = Predictor(folder, "cpu", workers=0), json.loads(arrows.read_text())["images"]
        each = [boxes for _, boxes in predictor.boxes(arrows.parent / "images", images, View(64))]
        return {key: np.concatenate([boxes[key] for boxes in each]) for key in each[0]}

    own, ours = found(tmp_path / "own"), found(imported)
    known = own["category_ids"] != 1
    assert 2 < known.sum() < len(known)
    assert ours["category_ids"].tolist() == [[10, 0, 30][i] for i in own["category_ids"][known]]
    for key in ("boxes", "scores"):
        assert (ours[key] == own[key][known]).all()


STUDY = """
results: out
device: cpu
threads: 1
model: {config: mine.py, iterations: 4, batch: 2, scales: [64], max_side: 96, warmup: 1}
datasets:
  labelled: {kind: coco, images: labelled/images, annotations: labelled/labelled.json}
  unlabelled: {kind: folder, images: unlabelled/images}
  val: {kind: coco, images: val/images, annotations: val/val.json}
views:
  plain: [{scale: 64}]
  all: {scales: [64], flip: true}
models:
  teacher: {}
  student: {config: faster_rcnn_tiny, labels: distilled, lr: 0.02, init: none}
labels:
  distilled: {calibrate: {score_floor: 0.001}}
tables:
  boxes: {rows: [teacher, student]}
"""


def test_a_study_of_a_users_detector(tmp_path):
    """A teacher of mmdet, a student of ours: one table."""
    lay_out_arrows(tmp_path, yaml.safe_load(STUDY), warmed=True, labelled=8, unlabelled=4, val=4)
    narrow("cascade_rcnn", tmp_path).rename(tmp_path / "mine.py")
    succeed(tmp_path, "--cores", "1", "--show-failed-logs", "boxes")
    run = json.loads((tmp_path / "out/models/teacher/run.json").read_text())
    assert run["spec"]["lr"] == "auto"
    assert "CascadeRoIHead" in (tmp_path / "out/models/teacher/config.py").read_text()
    assert json.loads((tmp_path / "out/labels/distilled/annotations.json").read_text())["annotations"]
    assert "student" in (tmp_path / "out/tables/boxes.md").read_text()
    done = snakemake(tmp_path, "-n", "boxes")
    assert "Nothing to be done" in done.stdout + done.stderr
