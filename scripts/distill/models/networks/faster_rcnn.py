"""Faster R-CNN with our heads: what config/models has."""

from collections.abc import Mapping
from typing import Any

from mmdet.models.detectors import BaseDetector
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor, nn

from distill.models.networks.kind import Kind
from distill.program import UserError


class FasterRCNN(Kind):
    """SGD, or the config's `optimizer`, at the rate that the study says."""

    can = frozenset({"refine", "background", "freeze_rpn", "weigh"})
    half = "network"
    ours = True

    def settle(self, cfg: Config, categories: list[dict], source: str) -> None:
        cfg.model.roi_head.bbox_head.num_classes = len(categories)

    def optimization(self, cfg: Config, spec: Mapping[str, Any], source: str) -> dict[str, Any]:
        if spec["lr"] == "auto":
            raise UserError(f"{source}: has no learning rate of its own; give the model an `lr`")
        optimizer = cfg.pop("optimizer", None) or dict(type="SGD", momentum=0.9, weight_decay=1e-4)
        rate = spec["lr"] * spec["batch"] / 16
        return dict(optimizer={**optimizer, "lr": rate}, clip_grad=dict(max_norm=35, norm_type=2))

    def freeze_rpn(self, network: BaseDetector) -> None:
        network.rpn_head.requires_grad_(False)

    def last_layers(self, network: BaseDetector) -> list[nn.Module]:
        rpn, head = network.rpn_head, network.roi_head.bbox_head
        return [rpn.rpn_cls, rpn.rpn_reg, head.fc_cls, head.fc_reg]

    def raw(self, network: BaseDetector, inputs: Tensor) -> Any:
        features = network.extract_feat(inputs)
        return features, network.rpn_head(features)

    def refined(
        self, network: BaseDetector, inputs: Tensor, samples: list, regions: list[Tensor]
    ) -> list[InstanceData]:
        return network.roi_head.predict_bbox(
            network.extract_feat(inputs),
            [sample.metainfo for sample in samples],
            [InstanceData(bboxes=boxes) for boxes in regions],
            rcnn_test_cfg=None,
        )
