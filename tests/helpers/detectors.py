"""Detectors of mmdet so narrow that a step of them takes a tenth of a second: configs as users write them."""

from pathlib import Path

RESNET = "backbone=dict(depth=18, base_channels=8, stem_channels=8, norm_eval=False, frozen_stages=-1)"
FPN = f"{RESNET}, neck=dict(in_channels=[8, 16, 32, 64], out_channels=16)"
NARROW = {
    "rtmdet": (
        "rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
        "backbone=dict(deepen_factor=0.1, widen_factor=0.125),"
        " neck=dict(in_channels=[32, 64, 128], out_channels=16),"
        " bbox_head=dict(in_channels=16, feat_channels=16)",
    ),
    "yolox": (
        "yolox/yolox_tiny_8xb8-300e_coco.py",
        "backbone=dict(deepen_factor=0.1, widen_factor=0.125),"
        " neck=dict(in_channels=[32, 64, 128], out_channels=16),"
        " bbox_head=dict(in_channels=16, feat_channels=16)",
    ),
    "retinanet": (
        "retinanet/retinanet_r18_fpn_1x_coco.py",
        f"{FPN}, bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1)",
    ),
    "deformable_detr": (
        "deformable_detr/deformable-detr_r50_16xb2-50e_coco.py",
        f"num_queries=20, {RESNET}, neck=dict(in_channels=[16, 32, 64]),"
        " encoder=dict(num_layers=1), decoder=dict(num_layers=1),"
        " test_cfg=dict(max_per_img=20)",
    ),
    "cascade_rcnn": (
        "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
        f"{FPN}, rpn_head=dict(in_channels=16, feat_channels=16), roi_head=dict("
        "bbox_roi_extractor=dict(out_channels=16), bbox_head=[dict(type='Shared2FCBBoxHead', in_channels=16,"
        " fc_out_channels=32, roi_feat_size=7, num_classes=80, reg_class_agnostic=True, bbox_coder=dict("
        "type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),"
        " loss_cls=dict(type='CrossEntropyLoss'), loss_bbox=dict(type='SmoothL1Loss'))] * 3)",
    ),
}


def narrow(name: str, folder: Path) -> Path:
    """The config, written into a folder."""
    base, model = NARROW[name]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(f'_base_ = "mmdet::{base}"\nmodel = dict({model})\n')
    return path
