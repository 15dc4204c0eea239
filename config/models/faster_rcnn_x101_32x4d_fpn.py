# Faster R-CNN, ResNeXt-101 32×4d FPN.
_base_ = "faster_rcnn_r50_fpn.py"

backbone = dict(
    type="ResNeXt",
    depth=101,
    groups=32,
    base_width=4,
    init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://resnext101_32x4d"),
)
model = dict(backbone=backbone)
