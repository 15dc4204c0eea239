"""Every model config builds and runs forward and backward; any number of categories and keypoints fits."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from distill.models import model as models
from distill.models.backbone import address
from distill.models.efficientnet_lite import SCHEME
from distill.study.pretrained import published, weights_of
from helpers import ROOT

CONFIGS = sorted(path.stem for path in (ROOT / "config/models").glob("*.py"))


def sample(keypoints):
    instances = InstanceData(
        bboxes=torch.tensor([[4.0, 4, 40, 50], [20, 10, 60, 60]]), labels=torch.tensor([0, 2])
    )
    if keypoints:
        points = torch.full((2, keypoints, 3), 2.0)
        points[..., :2] = 30
        instances.keypoints = points
    sample = DetDataSample(gt_instances=instances, ignored_instances=InstanceData(bboxes=torch.zeros(0, 4)))
    sample.set_metainfo(
        {"img_shape": (64, 64), "ori_shape": (64, 64), "scale_factor": (1, 1), "generated": False}
    )
    return sample


@pytest.mark.parametrize("config", CONFIGS)
def test_forward_and_backward(config):
    cfg = models.load_config(ROOT / f"config/models/{config}.py")
    categories = [{"id": i, "name": str(i), "keypoints": ["a", "b", "c", "d", "e"]} for i in range(3)]
    models.fit_to_dataset(cfg, categories, "test")
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    network = models.build(cfg)
    keypoints = 5 if models.has_keypoints(cfg) else 0
    data = network.data_preprocessor(
        {
            "inputs": [torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)],
            "data_samples": [sample(keypoints)],
        },
        True,
    )
    losses = network.loss(data["inputs"], data["data_samples"])
    total, _ = network.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert ("loss_keypoint" in losses) == config.startswith("keypoint")
    still = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not still


def test_names_of_the_design_are_all_there():
    names = [
        f"{task}_rcnn_{size}"
        for task in ("faster", "keypoint")
        for size in (
            "r50_fpn",
            "r101_fpn",
            "x101_32x4d_fpn",
            "x101_32x8d_fpn",
            "x101_64x4d_fpn",
            "tiny",
            "lite",
            "lite2",
        )
    ]
    assert sorted(names) == CONFIGS


def test_keypoint_head_is_the_papers():
    cfg = models.load_config(ROOT / "config/models/keypoint_rcnn_r50_fpn.py")
    head = models.build(cfg).roi_head
    assert head.keypoint_roi_extractor.roi_layers[0].output_size == (14, 14)
    convs = [m for m in head.keypoint_head.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [512] * 8
    assert head.keypoint_head(torch.zeros(1, 256, 14, 14)).shape == (1, 17, 56, 56)


@pytest.mark.parametrize("config", [name for name in CONFIGS if name.endswith("_fpn")])
def test_box_loss_and_proposals_of_keypoint_models_are_those_of_the_published_baselines(config):
    """detectron2's configs/Base-Keypoint-RCNN-FPN.yaml; of box models, mmdet's own."""
    model = models.load_config(ROOT / f"config/models/{config}.py").model
    keypoints = config.startswith("keypoint")
    assert model.train_cfg.rpn_proposal.max_per_img == (1500 if keypoints else 1000)
    loss = models.build(models.load_config(ROOT / f"config/models/{config}.py")).roi_head.bbox_head.loss_bbox
    assert type(loss).__name__ == ("SmoothL1Loss" if keypoints else "L1Loss")
    assert not keypoints or (loss.beta, loss.loss_weight) == (0.5, 1.0)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_weights_that_download_gets_are_those_that_mmengine_means(config):
    cfg = models.load_config(ROOT / f"config/models/{config}.py")
    files = weights_of([{"config": config, "init": "pretrained"}], ROOT)
    if cfg.model.backbone.init_cfg is None or cfg.model.backbone.init_cfg.checkpoint.startswith(SCHEME):
        assert not files
        return
    (entry,) = (published(ROOT)[file] for file in files)
    assert entry["url"] == address(cfg.model.backbone.init_cfg.checkpoint)
    # The first digits of its SHA-256 are in the name of each.
    assert entry["sha256"].startswith(entry["url"].removesuffix(".pth").rpartition("-")[2])
