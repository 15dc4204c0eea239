# The tiny Faster R-CNN with a narrow keypoint head. From random weights and a few hundred images,
# its keypoints learn sooner with AdamW than with SGD.
_base_ = "faster_rcnn_tiny.py"

optimizer = dict(type="AdamW", weight_decay=0.01)

model = dict(
    roi_head=dict(
        keypoint_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=2),
            out_channels=64,
            featmap_strides=[4, 8, 16, 32],
        ),
        keypoint_head=dict(
            type="KeypointHead",
            keypoints=17,
            in_channels=64,
            convs=8,
            channels=32,
            norm_cfg=dict(type="GN", num_groups=8),
            loss_weight=2.0,
        ),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=32))),
)
