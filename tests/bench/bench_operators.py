"""How many operators a batch of predictions takes beside the layers of the network: what bounds a fast GPU.

python tests/bench/bench_operators.py

Each operator is a kernel that the CPU starts; views of memory are none. Counted on a CPU, with random weights
of the tiny networks, which have all the parts of the large ones: what one more image in a batch adds is what
mmdet does image by image, the rest is done for the batch as a whole. Then: how long 100 boxes take to become
records.
"""

import time

import numpy as np
import torch
from measure import ROOT, best_seconds, report
from mmdet.structures import DetDataSample
from torch.utils._python_dispatch import TorchDispatchMode

from distill.models import model as models
from distill.models.prediction import results
from helpers.checkpoints import scale_like_trained

SIDE = 320
SPREAD = {"rpn_head.rpn_cls": 2, "rpn_head.rpn_reg": 0.3}
SPREAD |= {"roi_head.bbox_head.fc_reg": 1, "roi_head.bbox_head.fc_cls": 2.5}


class Count(TorchDispatchMode):
    """Counts operators that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


def network(name: str) -> torch.nn.Module:
    cfg = models.load_config(ROOT / f"config/models/{name}.py")
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    built = models.build(cfg).eval()
    built.init_weights()
    scale_like_trained(built, SPREAD, lambda: built.predict(*batch(1), rescale=False))
    return built


def batch(images: int) -> tuple[torch.Tensor, list[DetDataSample]]:
    shape = {"img_shape": (SIDE, SIDE), "ori_shape": (SIDE, SIDE), "scale_factor": (1, 1)}
    pixels = torch.randn(images, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return pixels, [DetDataSample(metainfo=shape) for _ in range(images)]


@torch.inference_mode()
def operators(built: torch.nn.Module, images: int) -> dict[str, int]:
    pixels, samples = batch(images)
    counts = {}
    with Count() as count:
        features = built.extract_feat(pixels)
    counts["backbone and FPN"] = count.count
    with Count() as count:
        proposals = built.rpn_head.predict(features, samples, rescale=False)
    counts["RPN"] = count.count
    with Count() as count:
        built.roi_head.predict(features, proposals, samples, rescale=False)
    counts["box head"] = count.count
    if built.roi_head.keypoint_head is not None:
        rois = torch.tensor([[i, 10.0, 10, 200, 200] for i in range(images) for _ in range(5)])
        with Count() as count:
            built.roi_head.predict_heatmaps(features, rois)
        counts["keypoint head, 5 boxes"] = count.count
    return counts


def records() -> float:
    """Milliseconds of CPU time for 100 boxes, the best of some rounds."""
    random = np.random.default_rng(0)
    columns = random.integers(1, 81, 100), 500 * random.random((100, 4)), random.random(100)
    (seconds,) = best_seconds(lambda: [results(7, *columns) for _ in range(300)], clock=time.process_time)
    return round(1000 * seconds / 300, 3)


def main() -> None:
    rows = []
    for name in ("faster_rcnn_tiny", "keypoint_rcnn_tiny"):
        built = network(name)
        one, many = operators(built, 1), operators(built, 16)
        for part, count in one.items():
            each = (many[part] - count) / 15
            counts = {"a batch": f"{count - each:.0f}", "an image": f"{each:.0f}"}
            rows.append({"network": name, "part": part, **counts})
    report("operators", rows)
    report("records", [{"boxes": 100, "ms": records()}])


if __name__ == "__main__":
    main()
