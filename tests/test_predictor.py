"""A model on images: what goes to a device and comes from it, a batch at once, is that of each image."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from distill.datasets.dataset_file import root_of
from distill.files import read_json
from distill.models.prediction import shard
from distill.models.predictor import Predictor
from distill.predictions.views import View
from helpers.networks import random_model

COUNTS = (2, 0, 3)  # instances of each image of a batch


def test_boxes_of_a_batch_are_those_of_its_images():
    """The dataset lacks one of the three categories of the network."""
    model = SimpleNamespace(columns=np.array([0, -1, 1]), category_ids=np.array([3, 7]))
    batch = [
        InstanceData(labels=torch.arange(n) % 3, bboxes=torch.rand(n, 4), scores=torch.rand(n))
        for n in COUNTS
    ]
    found = list(Predictor.found(model, batch))
    assert [mine["category_ids"].tolist() for mine in found] == [[3], [], [3, 7]]
    for mine, given in zip(found, batch, strict=True):
        known = given.labels != 1
        assert np.array_equal(mine["boxes"], given.bboxes[known].double())
        assert np.array_equal(mine["scores"], given.scores[known].double())


def test_refinements_of_a_batch_are_those_of_its_images():
    """Categories in another order than the network's; boxes of each of them, and of none."""
    model = SimpleNamespace(rows=np.array([2, 0]))
    for boxes in (3, 1):
        batch = [InstanceData(bboxes=torch.rand(n, 4 * boxes), scores=torch.rand(n, 4)) for n in COUNTS if n]
        for (sides, scores), given in zip(Predictor.refinements(model, batch), batch, strict=True):
            each = given.bboxes.view(-1, boxes, 4).expand(-1, 3, 4)
            assert np.array_equal(sides, each[:, [2, 0]].double())
            assert np.array_equal(scores, given.scores[:, [2, 0]].double())


def test_regions_of_a_batch_are_those_of_its_images():
    records = [{"id": n, "width": 100 + n, "height": 80} for n in range(len(COUNTS))]
    regions = {n: 80 * np.random.default_rng(n).random((count, 4)) for n, count in enumerate(COUNTS)}
    view = View(160, flip=True)
    rois = Predictor.rois(records, regions, view, torch.zeros(1))
    for image, mine in zip(records, rois, strict=True):
        boxes = view.forward_boxes(regions[image["id"]], (image["width"], image["height"]))
        assert np.array_equal(mine, boxes.astype(np.float32))


def test_a_batch_that_does_not_fit_into_the_memory_comes_in_parts(tmp_path):
    predictor = Predictor(
        random_model("faster_rcnn_tiny", [{"id": 1, "name": "tip"}], tmp_path / "model"), "cpu"
    )
    images = [{"id": i, "width": 40, "height": 30} for i in range(5)]
    pixels = [torch.full((3, 30, 40), i, dtype=torch.uint8) for i in range(5)]

    def each(records, inputs, samples):
        if len(records) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [image["id"] for image in records], len(inputs)

    assert predictor.forward(images, pixels, View(30), each) == [([0, 1], 2), ([2, 3], 2), ([4], 1)]
    with pytest.raises(torch.OutOfMemoryError):
        predictor.forward(images[:1], pixels, View(30), lambda *_: each(images, [], []))


def test_shards_part_a_list():
    items = list(range(10))
    assert [shard(items, s, 4) for s in range(4)] == [[0, 1], [2, 3, 4], [5, 6], [7, 8, 9]]
    assert [shard([1], s, 3) for s in range(3)] == [[], [], [1]]


def test_a_model_predicts_under_views_that_are_named(tmp_path, arrows):
    categories = [{"id": 3, "name": "tip"}, {"id": 7, "name": "tail"}]
    predictor = Predictor(random_model("faster_rcnn_tiny", categories, tmp_path / "model"), "cpu")
    images = sorted(root_of(read_json(arrows), arrows).rglob("*.png"))[:7]
    (_, plain), *_ = predictor.predict(images, ["s0112"])
    assert plain
    assert plain == sorted(plain, key=lambda record: -record["score"])
    assert {record["category_id"] for record in plain} <= {3, 7}
    least = plain[len(plain) // 2]["score"]
    (_, sure), *_ = predictor.predict(images, ["s0112"], least)
    assert sure == [record for record in plain if record["score"] >= least] != plain
