"""Keypoint R-CNN: Faster R-CNN with a heatmap for each keypoint in each box."""

from collections.abc import Callable

from mmdet.models.detectors import BaseDetector
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor, nn

from distill.datasets.coco import Coco
from distill.datasets.keypoint_meta import keypoint_meta
from distill.models.networks.faster_rcnn import FasterRCNN
from distill.program import UserError


class KeypointRCNN(FasterRCNN):
    """Its boxes are those of its Faster R-CNN; keypoints are predicted in given ones, under any view."""

    task = "keypoints"
    can = FasterRCNN.can | {"heatmaps"}

    def settle(self, cfg: Config, categories: list[dict], source: str) -> None:
        super().settle(cfg, categories, source)
        counts = {len(category["keypoints"]) for category in categories if category.get("keypoints")}
        if len(counts) != 1:
            raise UserError(f"{source}: a keypoint model needs categories with one set of keypoints")
        cfg.model.roi_head.keypoint_head.keypoints = counts.pop()

    def keypoints(self, cfg: Config, coco: Coco) -> tuple[int, list[int] | None]:
        meta = keypoint_meta(coco)
        return cfg.model.roi_head.keypoint_head.keypoints, list(meta.flip_indices) if meta else None

    def last_layers(self, network: BaseDetector) -> list[nn.Module]:
        return [*super().last_layers(network), network.roi_head.keypoint_head.deconv]

    def heatmaps(self, network: BaseDetector, inputs: Tensor, regions: list[Tensor]) -> Tensor:
        return network.roi_head.predict_heatmaps(network.extract_feat(inputs), bbox2roi(regions))

    def both(
        self,
        network: BaseDetector,
        inputs: Tensor,
        samples: list,
        choose: Callable[[list[InstanceData]], list[Tensor]],
    ) -> Tensor:
        features = network.extract_feat(inputs)
        proposals = network.rpn_head.predict(features, samples, rescale=False)
        found = network.roi_head.predict(features, proposals, samples, rescale=False)
        return network.roi_head.predict_heatmaps(features, bbox2roi(choose(found)))
