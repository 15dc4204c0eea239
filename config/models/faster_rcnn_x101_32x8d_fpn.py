# Faster R-CNN, ResNeXt-101 32×8d FPN: Detectron's, with its normalisation of the pixels.
_base_ = "faster_rcnn_r50_fpn.py"

backbone = dict(
    type="ResNeXt",
    depth=101,
    groups=32,
    base_width=8,
    init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://detectron2/resnext101_32x8d"),
)
data_preprocessor = dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=False)
model = dict(backbone=backbone, data_preprocessor=data_preprocessor)
