"""RPN and RoI heads: mmdet's, plus a keypoint branch and generated images without background.

An image's metainfo carries `generated` (its labels come from a teacher) and `background`: False leaves out
everything that matches no instance, both in the RPN and in the box head (method §5).
"""

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from torch import Tensor


@MODELS.register_module(name="SingleRoIExtractor", force=True)
class FloatRoIExtractor(SingleRoIExtractor):
    """mmdet's, in float32 under autocast too: mmdet gives RoIs the features' type, and bfloat16, of 8 bits,
    moves a side at 1200 pixels by up to 4."""

    def forward(self, feats: tuple[Tensor, ...], rois: Tensor, *args) -> Tensor:
        return super().forward(tuple(level.float() for level in feats), rois, *args)


@MODELS.register_module()
class DistillRPNHead(RPNHead):
    """mmdet's RPN head; anchors without an instance count only where the background counts."""

    def _get_targets_single(self, flat_anchors, valid_flags, gt_instances, img_meta, *args, **kwargs):
        targets = super()._get_targets_single(
            flat_anchors, valid_flags, gt_instances, img_meta, *args, **kwargs
        )
        if not img_meta.get("background", True):
            label_weights, negative = targets[1], targets[5]
            label_weights[negative] = 0
        return targets


@MODELS.register_module()
class DistillRoIHead(StandardRoIHead):
    """mmdet's box head, and a keypoint head where the config has one.

    `predict` gives boxes only: keypoints are predicted for given boxes under any view by
    `predict_heatmaps` (method §2: the same boxes are the RoIs of every view).
    """

    def __init__(
        self, *args, keypoint_roi_extractor: dict | None = None, keypoint_head: dict | None = None, **kwargs
    ):
        super().__init__(*args, **kwargs)
        self.keypoint_head = None
        if keypoint_head is not None:
            self.keypoint_roi_extractor = MODELS.build(keypoint_roi_extractor)
            self.keypoint_head = MODELS.build(keypoint_head)

    def loss(self, x: tuple[Tensor, ...], rpn_results_list: list, batch_data_samples: SampleList) -> dict:
        """Losses of the box head and the keypoint head on the sampled RoIs of a batch."""
        instances, ignored, metas = unpack_gt_instances(batch_data_samples)
        samples = []
        for proposals, truth, crowd, meta in zip(rpn_results_list, instances, ignored, metas, strict=True):
            proposals.priors = proposals.pop("bboxes")
            assigned = self.bbox_assigner.assign(proposals, truth, crowd)
            sample = self.bbox_sampler.sample(assigned, proposals, truth)
            if not meta.get("background", True):
                sample.neg_inds = sample.neg_inds[:0]
                sample.neg_priors = sample.neg_priors[:0]
            samples.append(sample)
        losses = dict(self.bbox_loss(x, samples)["loss_bbox"])
        if self.keypoint_head is not None:
            losses.update(self.keypoint_loss(x, samples, [truth.keypoints for truth in instances]))
        return losses

    def keypoint_loss(
        self, x: tuple[Tensor, ...], samples: list[SamplingResult], keypoints: list[Tensor]
    ) -> dict:
        """Loss of the keypoint head on the positive RoIs; `keypoints` is (G, K, 3) for each image."""
        boxes = [sample.pos_priors for sample in samples]
        targets = [k[s.pos_assigned_gt_inds] for k, s in zip(keypoints, samples, strict=True)]
        # An RoI without a visible keypoint cannot add to the loss; not pooling it saves its cost.
        useful = [(target[..., 2] > 0).any(1) for target in targets]
        boxes = [box[keep] for box, keep in zip(boxes, useful, strict=True)]
        targets = [target[keep] for target, keep in zip(targets, useful, strict=True)]
        if not any(map(len, boxes)):  # every process must take part in the gradient's reduction
            boxes[0] = x[0].new_tensor([[0.0, 0.0, 16.0, 16.0]])
            targets[0] = x[0].new_zeros((1, *keypoints[0].shape[1:]))
        heatmaps = self.predict_heatmaps(x, bbox2roi(boxes))
        return self.keypoint_head.loss(heatmaps, torch.cat(targets), torch.cat(boxes))

    def predict_heatmaps(self, x: tuple[Tensor, ...], rois: Tensor) -> Tensor:
        """Heatmaps (N, K, 56, 56), logits, of RoIs (N, 5: image, x1, y1, x2, y2) in input pixels."""
        extractor = self.keypoint_roi_extractor
        return self.keypoint_head(extractor(x[: extractor.num_inputs], rois))
