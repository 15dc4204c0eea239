# EfficientNet-Lite0 with ImageNet weights under a narrow FPN: as quick on two CPU cores as faster_rcnn_tiny.
_base_ = "faster_rcnn_tiny.py"

model = dict(
    data_preprocessor=dict(mean=[127.0] * 3, std=[128.0] * 3, bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type="EfficientNetLite",
        arch="0",
        norm_eval=True,
        init_cfg=dict(type="Pretrained", checkpoint="efficientnet-lite://0"),
    ),
    neck=dict(in_channels=[24, 40, 112, 320]),
)
optimizer = dict(type="AdamW", weight_decay=0.05)
