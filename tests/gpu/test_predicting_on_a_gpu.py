"""What predictions ask of a GPU: how often they wait for it, and any detector of mmdet. `make test-gpu`."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.files import read_json
from distill.models.prediction import predict_boxes
from distill.models.predictor import Predictor
from distill.predictions.views import View
from helpers.arrows import draw_dataset
from helpers.checkpoints import detections, share_in_common
from helpers.detectors import narrow
from helpers.networks import random_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use"),
]
VIEW = View(160)


def waits(run: Callable[[], object]) -> Counter[str]:
    """How often the CPU waits for the GPU, by the file of the line that has it wait."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return Counter(Path(one.filename).name for one in said if "synchronizing CUDA" in str(one.message))


@pytest.mark.parametrize("what", ["heatmaps", "boxes"])
def test_a_batch_more_waits_only_for_what_it_must(tmp_path, what):
    """Unavoidable of a batch of four images: mmengine copies the order of the channels to the GPU for each;
    mmdet's extractor asks which boxes each of its four levels has. Boxes also wait for NMS, whose operators
    are mmdet's and differ by version; of ours, for one copy of what is found."""
    dataset = draw_dataset(tmp_path / "arrows", 12, seed=0, size=(96, 96))
    coco, root = read_json(dataset), dataset.parent / "images"
    model = random_model("keypoint_rcnn_tiny", coco["categories"], tmp_path / "model")
    predictor = Predictor(model, "cuda", batch=4, workers=0)
    boxes = np.array([[5.0, 5, 15, 15], [5, 5, 60, 60]])
    regions = {image["id"]: boxes for image in coco["images"]}

    def run(count: int) -> None:
        given = [regions] if what == "heatmaps" else []
        list(getattr(predictor, what)(root, coco["images"][:count], *given, VIEW))

    run(4)
    more = waits(lambda: run(12))
    more.subtract(waits(lambda: run(8)))
    if what == "heatmaps":
        assert +more <= Counter({"single_level_roi_extractor.py": 4, "data_preprocessor.py": 4})
    else:
        assert more["predictor.py"] <= 1
        assert more["data_preprocessor.py"] <= 4


def test_a_detector_of_mmdet_finds_on_a_gpu_what_it_finds_on_a_cpu(tmp_path, arrows, monkeypatch):
    """Deformable DETR, which needs no NMS and an operator of mmcv's."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    config = str(narrow("deformable_detr", tmp_path))
    model = random_model(config, read_json(arrows)["categories"], tmp_path / "model")
    found = []
    for device in ("cpu", "cuda"):
        predict_boxes(model, arrows, VIEW, (0, 1), tmp_path / f"{device}.json", device=device, batch=4)
        found.append(detections(tmp_path / f"{device}.json"))
    assert len(found[0]) > 50
    assert share_in_common(*found, 0.5, 1e-3)[0] >= 0.97
