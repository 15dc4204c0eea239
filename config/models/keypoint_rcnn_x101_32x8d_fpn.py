# Keypoint R-CNN on the x101_32x8d backbone.
_base_ = ["faster_rcnn_x101_32x8d_fpn.py", "_base_/keypoint_head.py"]

model = dict(roi_head={{_base_.keypoint_branch}}, train_cfg={{_base_.keypoint_training}})
