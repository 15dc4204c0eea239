# Faster R-CNN, ResNet-101 FPN.
_base_ = "faster_rcnn_r50_fpn.py"

backbone = dict(depth=101, init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet101"))
model = dict(backbone=backbone)
