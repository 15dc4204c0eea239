"""How many operators a batch of predictions takes beside the layers of the network: what bounds a fast GPU.

python tests/bench/bench_operators.py

Each operator is a kernel that the CPU starts; views of memory are none. Counted on a CPU, from pixels to
boxes as `Predictor` runs them, with random weights of the tiny networks, which have all parts of the large
ones: what one more image in a batch adds is what is done image by image, the rest is done for the batch as a
whole. RoIAlign is one operator, as on a GPU. Copies to a GPU, which a CPU does not make, come to it: two an
image, of its pixels and of the order of its channels. Then: how long 100 boxes take to become records.
"""

import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from measure import best_seconds, report
from mmengine.logging import MMLogger
from torch.utils._python_dispatch import TorchDispatchMode

from distill.datasets.figures import CATEGORY
from distill.models.operators import roi_align
from distill.models.prediction import results
from distill.models.predictor import Predictor
from distill.predictions.views import View
from helpers.networks import random_model
from helpers.options import generate

VIEW = View(320, flip=True)
MANY = 16
BOXES = np.array([[10.0, 10, 150, 150]] * 5)
PARTS = {
    "extract_feat": "backbone and FPN",
    "rpn_head.predict": "RPN",
    "roi_head.predict": "box head",
    "roi_head.predict_heatmaps": "keypoint head, 5 boxes",
}


class Count(TorchDispatchMode):
    """Counts operators that compute something, by the part of the network that they are of."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.part = "pixels in, boxes out"
        for path, part in PARTS.items():
            name, _, method = path.rpartition(".")
            self.watch(network.get_submodule(name), method, part)

    def watch(self, owner: torch.nn.Module, method: str, part: str) -> None:
        function = getattr(type(owner), method)

        def counted(*args, **kwargs):
            before, self.part = self.part, part
            result = function(owner, *args, **kwargs)
            self.part = before
            return result

        setattr(owner, method, counted)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[self.part] += not function.is_view
        return function(*args, **(kwargs or {}))


def operators(predictor: Predictor, task: str, root: Path, images: list[dict]) -> Counter[str]:
    """Of one batch."""
    regions = {image["id"]: BOXES for image in images}
    with Count(predictor.network) as count:
        if task == "boxes":
            list(predictor.boxes(root, images, VIEW))
        else:
            list(predictor.heatmaps(root, images, regions, VIEW))
    return count.counts


def records() -> float:
    """Milliseconds of CPU time for 100 boxes, the best of some rounds."""
    random = np.random.default_rng(0)
    columns = random.integers(1, 81, 100), 500 * random.random((100, 4)), random.random(100)
    (seconds,) = best_seconds(lambda: [results(7, *columns) for _ in range(300)], clock=time.process_time)
    return round(1000 * seconds / 300, 3)


def main() -> None:
    MMLogger.get_instance("bench", log_level="ERROR")  # mmengine lists every weight that it draws
    # As on a GPU; ours, for CPUs, goes through the sizes of boxes.
    roi_align.roi_align = lambda features, rois, scale, size, *how: torch.ops.torchvision.roi_align(
        features, rois, scale, *size, *how
    )
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        drawn = generate(root, 3 * MANY, seed=0, size=(256, 192), style="sketch")["images"]
        images = [image for image in drawn if image["width"] == 256][:MANY]  # of one shape, so of one batch
        for task, name in (("boxes", "faster_rcnn_tiny"), ("heatmaps", "keypoint_rcnn_tiny")):
            model = random_model(name, [CATEGORY], root / name)
            predictor = Predictor(model, "cpu", batch=MANY, workers=0)
            predictor.check_finite = lambda view: None  # asked at the first batch and at the end alone
            one, many = (operators(predictor, task, root, images[:n]) for n in (1, MANY))
            for part, count in one.items():
                each = (many[part] - count) / (MANY - 1)
                counts = {"a batch": f"{count - each:.0f}", "an image": f"{each:.1f}"}
                rows.append({"prediction": task, "part": part, **counts})
    report("operators", rows)
    report("records", [{"boxes": 100, "ms": records()}])


if __name__ == "__main__":
    main()
