# The keypoint branch of Mask R-CNN: RoIAlign 14×14, 8 convolutions of 512, 56×56 heatmaps
# (arXiv 1703.06870, section 5). The number of keypoints comes from the dataset.
keypoint_branch = dict(
    keypoint_roi_extractor=dict(
        type="SingleRoIExtractor",
        roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
        out_channels=256,
        featmap_strides=[4, 8, 16, 32],
    ),
    keypoint_head=dict(type="KeypointHead", keypoints=17, in_channels=256, convs=8, channels=512),
    # detectron2's configs/Base-Keypoint-RCNN-FPN.yaml: keypoint AP is worse with plain L1, box AP with 1000
    # proposals. Detectron had 2000 for the two images of a GPU together.
    bbox_head=dict(loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.5, loss_weight=1.0)),
)
keypoint_training = dict(rpn_proposal=dict(max_per_img=1500))
