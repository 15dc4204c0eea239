"""Which boxes get heatmaps: enough for every label, and few more."""

import numpy as np
import pytest

from distill.files import read_json, write_json
from distill.labels.calibrate import calibrate
from distill.labels.generate import generate
from distill.labels.heatmap_boxes import choose, least_scores
from distill.study.needs import Margin, margins
from helpers.configs import SMALLEST, study_of
from helpers.options import calibrate_options as Options

NAMES = ("left_eye", "right_eye")
CATEGORIES = [{"id": c, "name": f"animal {c}", "keypoints": NAMES} for c in (2, 5, 9)]


@pytest.fixture
def boxes(tmp_path):
    """Boxes of 40 unlabelled images in two shards, many of them bad; the dataset; the labelled one, which has
    1.5 of category 2 an image, 0.5 of category 5 and none of category 9."""
    rng = np.random.default_rng(0)
    images = [{"id": n, "width": 100, "height": 80} for n in range(40)]
    paths = [tmp_path / f"{shard}.json" for shard in ("000", "001")]
    for path, some in zip(paths, (images[:25], images[25:]), strict=True):
        records = [
            {
                "image_id": image["id"],
                "category_id": int(rng.choice([2, 5, 9])),
                "bbox": [10 + 8 * int(rng.integers(5)), 10, 30, 40],
                "score": round(float(rng.beta(0.4, 1)), 2),  # with ties
                "keypoints": [20, 20, float(rng.random()), 30, 20, float(rng.random())],
            }
            for image in some
            for _ in range(12)
        ]
        write_json(path, records)
    labelled = {
        "images": images[:10],
        "annotations": [
            {"image_id": n % 10, "category_id": 2 if n < 15 else 5, "keypoints": [1, 1, 2, 1, 1, 2]}
            for n in range(20)
        ],
        "categories": CATEGORIES,
    }
    return paths, {"images": images, "info": {}, "licenses": []}, labelled


def test_twice_as_many_boxes_as_labels_are_expected(boxes):
    paths, dataset, labelled = boxes
    least = least_scores(paths, dataset, [labelled], 2)
    kept = [record for path in paths for record in choose(path, least)]
    counts = np.bincount([record["category_id"] for record in kept], minlength=10)
    assert counts[2] == pytest.approx(2 * 60, abs=5)  # scores tie
    assert 2 * 20 - 5 <= counts[5] <= 2 * 80  # or those that one threshold for all lets through
    assert counts[9] == 0
    assert len(kept) < 480 / 2


def test_boxes_suffice_for_all_that_labels_aim_at(boxes):
    paths, dataset, labelled = boxes
    fewer = {**labelled, "annotations": labelled["annotations"][:8]}
    one = least_scores(paths, dataset, [labelled], 1)
    assert least_scores(paths, dataset, [fewer, labelled], 1) == one
    assert least_scores(paths, dataset, [fewer], 1)[2] > one[2]


@pytest.mark.parametrize("per", ["category", "all"])
@pytest.mark.parametrize("instances", [0.5, 1, 1.7, 2])
@pytest.mark.parametrize("nms", [None, 0.4])
def test_labels_are_those_of_all_boxes(boxes, tmp_path, per, instances, nms):
    paths, dataset, labelled = boxes
    least = least_scores(paths, dataset, [labelled], 2, [0.4])
    outputs = []
    for read in (read_json, lambda path: choose(path, least)):
        merged = tmp_path / "merged.json"
        write_json(merged, [record for path in paths for record in read(path)])
        found = calibrate(merged, dataset, labelled, Options(instances=instances, per=per, agnostic_nms=nms))
        generate(merged, dataset, labelled, found, tmp_path / "labels.json")
        outputs.append(read_json(tmp_path / "labels.json")["annotations"])
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 30


PAIR = ("teacher", "unlabelled")


def margins_of(extra=""):
    return margins(study_of(SMALLEST, extra))


def test_the_margin_reaches_as_far_as_any_label_set_does():
    model, aims = "model: keypoint_rcnn_tiny", ("labelled",)
    assert margins_of(model) == {PAIR: Margin(1.5, aims)}
    assert margins_of(f"{model}\nfixed_boxes: {{per_label: 4}}") == {PAIR: Margin(4, aims)}
    assert margins_of(f"{model}\ncalibrate: {{instances: 1.4}}") == {PAIR: Margin(1.5, aims)}
    more = "labels: {distilled: {}, more: {calibrate: {instances: 3}}}"
    assert margins_of(f"{model}\n{more}") == {PAIR: Margin(3, aims)}
    band = "calibrate: {instances: 2, ignore: 1.25}"
    assert margins_of(f"{model}\n{band}") == {PAIR: Margin(2.5, aims)}
    both = "labels: {distilled: {}, more: {calibrate: {agnostic_nms: 0.7}}}"
    assert margins_of(f"{model}\n{both}") == {PAIR: Margin(1.5, aims, (0.7,))}


@pytest.mark.parametrize(
    ("part", "margin"),
    [
        ("fraction: 0.5", {PAIR: Margin(1.5, ("labelled",))}),
        ("range: [0, 0.5]", {}),  # their scores may be lower than those of the others
        ("exclude: labelled, images: 9", {}),
    ],
)
def test_a_subset_that_shares_predictions_has_the_boxes_of_all(part, margin):
    extra = f"""
model: keypoint_rcnn_tiny
datasets:
  labelled: {{kind: coco, images: a, annotations: a.json}}
  unlabelled: {{kind: folder, images: b}}
  half: {{kind: subset, of: unlabelled, {part}, share_predictions: true}}
  val: {{kind: coco, images: c, annotations: c.json}}
models: {{teacher: {{}}, student: {{labels: few}}}}
labels: {{few: {{dataset: half}}}}
"""
    assert margins_of(extra) == margin


@pytest.mark.parametrize(
    "extra",
    [
        "model: faster_rcnn_tiny",
        "model: keypoint_rcnn_tiny\nfixed_boxes: {per_label: null}",
        "model: keypoint_rcnn_tiny\nlabels: {distilled: {}, every: {calibrate: {instances: null}}}",
        "model: keypoint_rcnn_tiny\nlabels: {distilled: {dataset: val}}",
    ],
)
def test_all_boxes_get_heatmaps_where_all_may_count(extra):
    assert margins_of(extra) == {}
