# The keypoint branch of Mask R-CNN: RoIAlign 14×14, 8 convolutions of 512, 56×56 heatmaps (method §2).
# The number of keypoints comes from the dataset.
keypoint_branch = dict(
    keypoint_roi_extractor=dict(
        type="SingleRoIExtractor",
        roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
        out_channels=256,
        featmap_strides=[4, 8, 16, 32],
    ),
    keypoint_head=dict(type="KeypointHead", keypoints=17, in_channels=256, convs=8, channels=512),
)
