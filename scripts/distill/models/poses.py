"""Instances as training samples of top-down pose estimators: one for each, in mmpose's terms.

mmpose counts keypoints from the centre of the image's first pixel, this project from its corner.
"""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import DATASETS, TRANSFORMS

from distill.datasets.coco import Coco
from distill.models.data import CocoJson, counts


def learned_instances(coco: Coco) -> int:
    """How many instances of a dataset are trained on: those with a visible keypoint."""
    return sum(counts(a.get("iscrowd", 0), a.get("keypoints"), True) for a in coco["annotations"])


@DATASETS.register_module()
class PoseInstances(CocoJson):
    """The instances of a dataset artifact with a visible keypoint; an item is asked for as of CocoJson."""

    def __init__(self, ann_file: str, **kwargs) -> None:
        super().__init__(ann_file=ann_file, **{**kwargs, "posed": True})

    def load_data_list(self) -> list[dict]:
        records = [
            {**record, "instances": [instance]}
            for record in super().load_data_list()
            for instance in record["instances"]
            if self._counts(instance)
        ]
        self.tall = np.zeros(len(records), bool)  # crops are of one shape
        return records


@TRANSFORMS.register_module()
class LoadPose(BaseTransform):
    """The one instance of a sample, as mmpose's transforms take it.

    flip_indices: (K,), what mirroring makes of each keypoint.

    Adds bbox (1, 4) x1, y1, x2, y2, bbox_score (1,), keypoints (1, K, 2), keypoints_visible (1, K), 0 or 1.
    """

    def __init__(self, flip_indices: list[int]) -> None:
        self.flip_indices = flip_indices

    def transform(self, results: dict) -> dict:
        (instance,) = results["instances"]
        points = np.array(instance["keypoints"], np.float32).reshape(1, -1, 3)
        results["bbox"] = np.array([instance["bbox"]], np.float32)
        results["bbox_score"] = np.ones(1, np.float32)
        results["keypoints"] = points[..., :2] - np.float32(0.5)
        results["keypoints_visible"] = (points[..., 2] > 0).astype(np.float32)
        results["flip_indices"] = self.flip_indices
        return results
