# Keypoint R-CNN on the r101 backbone.
_base_ = ["faster_rcnn_r101_fpn.py", "_base_/keypoint_head.py"]

model = dict(roi_head={{_base_.keypoint_branch}}, train_cfg={{_base_.keypoint_training}})
