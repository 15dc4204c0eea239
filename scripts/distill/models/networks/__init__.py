"""What this project asks of a network, for each kind of network that it trains and predicts with.

Training and prediction know no network: they ask its kind (`kind_of`), which knows the parts that such a
network has. A kind is a class without state; `Kind` is the protocol, and what is the same of all.

- `detector`: any detector of mmdet. It is trained and predicts boxes; nothing is known of its heads.
- `faster_rcnn`: with our heads, whose proposals can be given (`refine`), frozen, or kept off the background.
- `keypoint_rcnn`: the same with heatmaps of keypoints in given boxes.
- `topdown`: any pose estimator of mmpose that gives heatmaps of crops, the boxes of another model.
"""

from mmengine.config import Config

from distill.models.networks.detector import Detector
from distill.models.networks.faster_rcnn import FasterRCNN
from distill.models.networks.keypoint_rcnn import KeypointRCNN
from distill.models.networks.kind import Kind
from distill.models.networks.topdown import TopDown, is_topdown
from distill.program import UserError


def kind_of(cfg: Config) -> Kind:
    """The kind of a config's network, by what it is built of. Raises UserError where it has none."""
    if not isinstance(cfg.get("model"), dict):
        raise UserError(f"{cfg.filename}: has no `model`; it is not the config of a network")
    roi_head = cfg.model.get("roi_head")
    if isinstance(roi_head, dict) and roi_head.get("type") == "DistillRoIHead":
        return FasterRCNN() if roi_head.get("keypoint_head") is None else KeypointRCNN()
    return TopDown() if is_topdown(cfg) else Detector()
