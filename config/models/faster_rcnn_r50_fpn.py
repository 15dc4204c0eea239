# Faster R-CNN, ResNet-50 FPN (method §2). Categories come from the dataset.
_base_ = "mmdet::_base_/models/faster-rcnn_r50_fpn.py"

model = dict(
    rpn_head=dict(type="DistillRPNHead"),
    roi_head=dict(type="DistillRoIHead"),
    # Proposals on crowd regions are no background (Detectron, CROWD_FILTER_THRESH 0.7).
    train_cfg=dict(rcnn=dict(assigner=dict(ignore_iof_thr=0.7))),
)
