"""RPN and RoI heads: mmdet's, plus a keypoint branch and generated images without background.

An image's metainfo carries `generated` (its labels come from a teacher) and `background`: False leaves out
everything that matches no instance, both in the RPN and in the box head (Data Distillation, section 4).
`unsure` images have regions of which nobody knows whether they are objects, or objects of which augmentation
has left too little: they are no background either.

Instances may have `weights` (N, 2), of their class (and keypoints) and of their box in the loss; else 1.
"""

from typing import Any

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi, bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor

UNSURE = 0.7  # share of an anchor in such a region, as of a proposal in the box head's assigner


@MODELS.register_module(name="SingleRoIExtractor", force=True)
class FloatRoIExtractor(SingleRoIExtractor):
    """mmdet's, in float32 under autocast too: mmdet gives RoIs the features' type, and bfloat16, of 8 bits,
    moves a side at 1200 pixels by up to 4."""

    def forward(self, feats: tuple[Tensor, ...], rois: Tensor, *args, **kwargs) -> Tensor:
        return super().forward(tuple(level.float() for level in feats), rois, *args, **kwargs)


@MODELS.register_module()
class DistillRPNHead(RPNHead):
    """mmdet's RPN head; anchors that match no instance are in the loss only where the background counts, the
    others as much as their instance does."""

    def _get_targets_single(
        self, flat_anchors, valid_flags, gt_instances, img_meta, gt_instances_ignore=None, **kwargs
    ):
        targets = super()._get_targets_single(
            flat_anchors, valid_flags, gt_instances, img_meta, gt_instances_ignore, **kwargs
        )
        labels, label_weights, _, box_weights, *_, sample = targets
        # Of all anchors, where `targets` counts those within the image.
        negative, positive = labels == self.num_classes, labels != self.num_classes
        if not img_meta.get("background", True):
            label_weights[negative] = 0
        if img_meta.get("unsure") and len(gt_instances_ignore):
            inside = bbox_overlaps(flat_anchors, gt_instances_ignore.bboxes, mode="iof").amax(1)
            label_weights[negative & (inside > UNSURE)] = 0
        if (weights := gt_instances.get("weights")) is not None:
            mine = weights[sample.pos_assigned_gt_inds]
            label_weights[positive] *= mine[:, 0]
            box_weights[positive] *= mine[:, 1:]
        return targets


@MODELS.register_module()
class DistillRoIHead(StandardRoIHead):
    """mmdet's box head, and a keypoint head where the config has one.

    `predict` gives boxes only: keypoints are predicted for given boxes under any view by
    `predict_heatmaps`, since the same boxes are the RoIs of every view (Data Distillation, section 4).
    """

    def __init__(
        self, *args, keypoint_roi_extractor: dict | None = None, keypoint_head: dict | None = None, **kwargs
    ):
        super().__init__(*args, **kwargs)
        self.keypoint_head: Any = None  # or a module of the config's kind
        if keypoint_head is not None:
            self.keypoint_roi_extractor = MODELS.build(keypoint_roi_extractor)
            self.keypoint_head = MODELS.build(keypoint_head)

    def loss(self, x: tuple[Tensor, ...], rpn_results_list: list, batch_data_samples: SampleList) -> dict:
        """Losses of the box head and the keypoint head on the sampled RoIs of a batch."""
        instances, ignored, metas = unpack_gt_instances(batch_data_samples)
        samples = []
        for proposals, truth, crowd, meta in zip(rpn_results_list, instances, ignored, metas, strict=True):
            proposals.priors = proposals.pop("bboxes")
            assigned = self._assign(proposals, truth, crowd, meta.get("unsure", False))
            sample = self.bbox_sampler.sample(assigned, proposals, truth)
            if not meta.get("background", True):
                sample.neg_inds = sample.neg_inds[:0]
                sample.neg_priors = sample.neg_priors[:0]
            samples.append(sample)
        weights = instance_weights(instances, samples)
        found = (
            self.bbox_loss(x, samples) if weights is None else self.weighted_bbox_loss(x, samples, weights)
        )
        losses = dict(found["loss_bbox"])
        if "loss_cls" not in losses:  # without any RoI; every process must take part in the reduction
            losses["loss_cls"] = found["cls_score"].sum() * 0
        if self.keypoint_head is not None:
            keypoints = [truth.keypoints for truth in instances]
            losses.update(self.keypoint_loss(x, samples, keypoints, weights))
        return losses

    def _assign(
        self, proposals: InstanceData, truth: InstanceData, ignored: InstanceData, unsure: bool
    ) -> AssignResult:
        """mmdet's assignment. In an unsure image the ignored regions take away background only: they may be
        the object of a label once more, as a candidate of another category."""
        if not (unsure and len(ignored)):
            return self.bbox_assigner.assign(proposals, truth, ignored)
        assigned = self.bbox_assigner.assign(proposals, truth)
        inside = bbox_overlaps(proposals.priors, ignored.bboxes, mode="iof").amax(1)
        assigned.gt_inds[(assigned.gt_inds == 0) & (inside > UNSURE)] = -1
        return assigned

    def weighted_bbox_loss(
        self, x: tuple[Tensor, ...], samples: list[SamplingResult], weights: list[Tensor]
    ) -> dict:
        """mmdet's `bbox_loss`, with the positive RoIs of each image weighted by (P, 2), of class and box."""
        rois = bbox2roi([sample.priors for sample in samples])
        found = self._bbox_forward(x, rois)
        labels, label_weights, boxes, box_weights = self.bbox_head.get_targets(samples, self.train_cfg)
        start = 0
        for sample, mine in zip(samples, weights, strict=True):
            positive = slice(start, start + len(mine))
            label_weights[positive] *= mine[:, 0]
            box_weights[positive] *= mine[:, 1:]
            start += len(sample.priors)
        outputs = found["cls_score"], found["bbox_pred"], rois
        losses = self.bbox_head.loss(*outputs, labels, label_weights, boxes, box_weights)
        return {**found, "loss_bbox": losses}

    def keypoint_loss(
        self,
        x: tuple[Tensor, ...],
        samples: list[SamplingResult],
        keypoints: list[Tensor],
        weights: list[Tensor] | None = None,
    ) -> dict:
        """Loss of the keypoint head on the positive RoIs.

        x: feature maps, the finest first.
        samples: of the box head, for each image.
        keypoints: (G, K, 3) x, y, visibility of the instances of each image.
        weights: (P, 2) of the positive RoIs of each image, the first of which counts; None: 1.
        """
        boxes = [sample.pos_priors for sample in samples]
        targets = [k[s.pos_assigned_gt_inds] for k, s in zip(keypoints, samples, strict=True)]
        # An RoI without a visible keypoint adds nothing to the loss, so it is not pooled.
        useful = [(target[..., 2] > 0).any(1) for target in targets]
        boxes = [box[keep] for box, keep in zip(boxes, useful, strict=True)]
        targets = [target[keep] for target, keep in zip(targets, useful, strict=True)]
        counting = None
        if weights is not None:
            counting = torch.cat([w[keep, 0] for w, keep in zip(weights, useful, strict=True)])
        if not any(map(len, boxes)):  # every process must take part in the gradient's reduction
            boxes[0] = x[0].new_tensor([[0.0, 0.0, 16.0, 16.0]])
            targets[0] = x[0].new_zeros((1, *keypoints[0].shape[1:]))
            counting = None
        heatmaps = self.predict_heatmaps(x, bbox2roi(boxes))
        return self.keypoint_head.loss(heatmaps, torch.cat(targets), torch.cat(boxes), counting)

    def predict_heatmaps(self, x: tuple[Tensor, ...], rois: Tensor) -> Tensor:
        """Heatmaps (N, K, 56, 56), logits, of RoIs (N, 5: image, x1, y1, x2, y2) in input pixels."""
        extractor = self.keypoint_roi_extractor
        return self.keypoint_head(extractor(x[: extractor.num_inputs], rois))


def instance_weights(instances: list, samples: list[SamplingResult]) -> list[Tensor] | None:
    """(P, 2) weights of the positive RoIs of each image; None where no instance of the batch has any.

    instances: mmdet's, of each image. samples: of the box head.
    """
    given = [truth.get("weights") for truth in instances]
    if all(weights is None for weights in given):
        return None
    return [
        sample.pos_priors.new_ones((len(sample.pos_priors), 2))
        if weights is None
        else weights[sample.pos_assigned_gt_inds]
        for weights, sample in zip(given, samples, strict=True)
    ]
