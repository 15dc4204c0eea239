# A narrow ResNet-18 Faster R-CNN from random weights, which two CPU cores train in minutes.
_base_ = "faster_rcnn_r50_fpn.py"

width = 32
fpn = 64

model = dict(
    backbone=dict(
        depth=18,
        base_channels=width,
        stem_channels=width,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[width, 2 * width, 4 * width, 8 * width], out_channels=fpn),
    rpn_head=dict(in_channels=fpn, feat_channels=fpn, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=fpn, roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(in_channels=fpn, fc_out_channels=256),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=300, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=200)),
)
