# As faster_rcnn_lite, with EfficientNet-Lite2: half as many weights again.
_base_ = "faster_rcnn_lite.py"

model = dict(
    backbone=dict(arch="2", init_cfg=dict(checkpoint="efficientnet-lite://2")),
    neck=dict(in_channels=[24, 48, 120, 352]),
)
