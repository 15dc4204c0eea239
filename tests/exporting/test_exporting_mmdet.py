"""Detectors that are exported to mmdet, and run by it, find what they find here."""

import json
import os
import subprocess
import sys

import mmcv
import pytest
from mmengine.config import Config

from distill.models.exports.exporting import export_model
from distill.predictions.views import View
from helpers import SCRIPTS
from helpers.checkpoints import share_in_common
from helpers.exported import Ours, record, retina_net

RUN = """
import json, sys
import distill.models  # stands in for mmcv's compiled operators; its own modules it does not load
from mmdet.apis import inference_detector, init_detector
found = []
for name in ("faster", "retina"):
    model = init_detector(f"{name}.py", f"{name}.pth", device="cpu")
    for path in sys.argv[1:]:
        mine = inference_detector(model, path).pred_instances
        names = [model.dataset_meta["classes"][label] for label in mine.labels]
        found.append([names, mine.bboxes.tolist(), mine.scores.tolist()])
assert "distill.models.heads" not in sys.modules
print(json.dumps(found))
"""


def test_mmdet_finds_the_same(tmp_path, figures, model):
    folders, view = [model("faster_rcnn_tiny"), retina_net(tmp_path)], View(208)
    for folder, name in zip(folders, ("faster", "retina"), strict=True):
        export_model(folder, "mmdet", tmp_path / f"{name}.pth", view.name)
    paths = [str(figures[0] / image["file_name"]) for image in figures[1]]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *paths],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    size = {image["id"]: (image["width"], image["height"]) for image in figures[1]}
    for number, folder in enumerate(folders):
        mine = answers[number * len(paths) :][: len(paths)]
        found = zip(figures[1], mine, strict=True)
        theirs = [record(image, *one) for image, columns in found for one in zip(*columns, strict=True)]
        theirs = [one for one in theirs if one["category_id"] != "coat"]  # which the dataset lacks
        ours = Ours(folder, *figures, view).found
        ours = [{**one, "box": view.inverse_boxes(one["box"], size[one["image_id"]])} for one in ours]
        assert len(ours) > 50
        assert share_in_common(ours, theirs)[0] >= 0.995


@pytest.mark.parametrize("view", [View(208, max_side=300), View(208, max_side=150)])
def test_images_are_resized_as_under_the_view(tmp_path, view):
    export_model(retina_net(tmp_path), "mmdet", tmp_path / "retina.pth", view.name)
    (resize,) = (t for t in Config.fromfile(tmp_path / "retina.py").test_pipeline if t.type == "Resize")
    for size in ((320, 240), (240, 320), (400, 200), (100, 100)):
        assert mmcv.rescale_size(size, resize.scale) == view.size(*size)
