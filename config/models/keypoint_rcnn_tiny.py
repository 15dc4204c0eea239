# The tiny Faster R-CNN with a small keypoint head.
_base_ = "faster_rcnn_tiny.py"

model = dict(
    roi_head=dict(
        keypoint_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=1),
            out_channels=64,
            featmap_strides=[4, 8, 16, 32],
        ),
        keypoint_head=dict(
            type="KeypointHead",
            keypoints=17,
            in_channels=64,
            convs=3,
            channels=64,
            norm_cfg=dict(type="GN", num_groups=8),
        ),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=32))),
)
