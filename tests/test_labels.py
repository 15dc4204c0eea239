"""Generated labels: as many as were calibrated, in a file that pycocotools reads."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from distill.files import write_json
from distill.labels.calibrate import calibrate
from distill.labels.generate import generate
from distill.labels.thresholds import read_thresholds
from distill.program import UserError
from helpers import warm
from helpers.merged import make_study
from helpers.options import as_json
from helpers.options import calibrate_options as Options


@pytest.mark.parametrize("posed", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(per="all"),
        Options(instances=0.5, keypoints=0.5),
        Options(instances=None),
        Options(agnostic_nms=0.3),
    ],
)
def test_met_counts_are_the_counts_written_and_pycocotools_reads_them(tmp_path, posed, options):
    merged, dataset, labelled, _ = make_study(tmp_path, posed)
    thresholds = json.loads(json.dumps(calibrate(merged, dataset, labelled, options)))
    output = tmp_path / "annotations.json"
    generate(merged, dataset, labelled, thresholds, output)

    coco = COCO(str(output))
    assert coco.getImgIds() == [image["id"] for image in dataset["images"]]
    for key, entry in thresholds["instances"].items():
        found = coco.loadAnns(coco.getAnnIds(catIds=[int(key)]))
        assert len(found) == entry["met"] > 0
        assert min(a["score"] for a in found) >= entry["threshold"]
    annotations = coco.dataset["annotations"]
    assert [a["id"] for a in annotations] == list(range(1, len(annotations) + 1))
    for a in annotations:
        x, y, w, h = a["bbox"]
        assert x >= 0
        assert y >= 0
        assert x + w <= 60 + 1e-9
        assert y + h <= 40 + 1e-9
        assert w >= 1
        assert h >= 1
        assert a["area"] == pytest.approx(w * h, abs=0.01)
        assert a["iscrowd"] == 0
    if posed:
        keypoints = np.array([a["keypoints"] for a in annotations]).reshape(-1, 3, 3)
        visible = keypoints[..., 2] == 2
        scores = np.array([a["keypoint_scores"] for a in annotations])
        assert visible.sum() == thresholds["keypoints"]["met"] > 0
        assert visible.sum(1).tolist() == [a["num_keypoints"] for a in annotations]
        assert (scores[visible] >= thresholds["keypoints"]["threshold"]).all()
        assert not keypoints[~visible].any()
        assert (keypoints[..., :2].min((0, 1)) >= 0).all()
        assert (keypoints[..., :2].max((0, 1)) <= (60, 40)).all()
    else:
        assert thresholds["keypoints"] is None
        assert "keypoints" not in annotations[0]


@pytest.mark.parametrize("per", ["category", "all"])
def test_what_is_nearly_a_label_is_ignored_and_labels_stay_the_same(tmp_path, per):
    """Of 1.5 times as many, those that are no labels are crowd regions; brute force says how many."""
    merged, dataset, labelled, predictions = make_study(tmp_path)
    write_json(merged, [{**p, "score": 0.01 + n / 99} for n, p in enumerate(predictions)])  # without ties
    found = {}
    for ignore in (None, 1.5):
        options = Options(per=per, ignore=ignore)
        thresholds = json.loads(json.dumps(calibrate(merged, dataset, labelled, options)))
        write_json(tmp_path / "thresholds.json", thresholds)
        generate(
            merged, dataset, labelled, read_thresholds(tmp_path / "thresholds.json"), tmp_path / "a.json"
        )
        found[ignore] = json.loads((tmp_path / "a.json").read_text())["annotations"]
    more = calibrate(merged, dataset, labelled, Options(per=per, instances=1.5))["instances"]
    labels = [a for a in found[1.5] if not a["iscrowd"]]
    assert [{**a, "id": 0} for a in labels] == [{**a, "id": 0} for a in found[None]]
    band = [a for a in found[1.5] if a["iscrowd"]]
    assert len(band) == sum(entry["met"] for entry in more.values()) - len(labels) > 5
    assert not any(v for a in band for v in a["keypoints"])
    for key, entry in thresholds["instances"].items():
        assert entry["ignored_from"] == more[key]["threshold"] < entry["threshold"]
        scores = [a["score"] for a in band if a["category_id"] == int(key)]
        assert all(entry["ignored_from"] <= score < entry["threshold"] for score in scores)


def test_a_category_without_labels_takes_none_from_others(tmp_path):
    """A teacher that knows trucks where only cars are labelled."""
    categories = [{"id": 1, "name": "car"}, {"id": 2, "name": "truck"}]
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 50, "height": 50} for n in range(4)]
    box = {"bbox": [5, 5, 20, 20], "iscrowd": 0}
    labelled = {
        "images": images,
        "categories": categories,
        "annotations": [{**box, "id": n, "image_id": n, "category_id": 1, "area": 400} for n in range(4)],
    }
    scores = {1: 0.8, 2: 0.9}
    both = [
        {**box, "image_id": n, "category_id": c, "score": score}
        for n in range(4)
        for c, score in scores.items()
    ]
    write_json(tmp_path / "merged.json", both)
    dataset = {"images": images, "annotations": [], "categories": categories, "info": {}}
    found = calibrate(tmp_path / "merged.json", dataset, labelled, Options(agnostic_nms=0.7))
    assert {key: entry["met"] for key, entry in found["instances"].items()} == {"1": 4, "2": 0}
    generate(tmp_path / "merged.json", dataset, labelled, found, tmp_path / "labels.json")
    written = json.loads((tmp_path / "labels.json").read_text())["annotations"]
    assert [a["category_id"] for a in written] == [1] * 4


def test_file_as_a_whole(tmp_path):
    merged, dataset, labelled, _ = make_study(tmp_path)
    thresholds = calibrate(merged, dataset, labelled, Options())
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    generate(merged, dataset, labelled, thresholds, first)
    generate(merged, dataset, labelled, thresholds, second)
    assert first.read_bytes() == second.read_bytes()
    content = json.loads(first.read_text())
    assert content["info"]["image_root"] == "some/where"
    assert content["info"]["kind"] == "labels"
    assert content["images"] == dataset["images"]
    assert content["categories"] == labelled["categories"]


@pytest.mark.parametrize("threshold", [0.5, None])
def test_keypoints_become_visible_only_above_the_threshold_and_inside(tmp_path, threshold):
    merged, dataset, labelled, _ = make_study(tmp_path)
    points = [10, 20, 0.5, 11, 21, 0.49, 60.5, 20, 0.9]
    bbox = [0, 0, 20, 20]
    record = {"image_id": 0, "category_id": 3, "bbox": bbox, "score": 0.5, "keypoints": points}
    write_json(merged, [record])
    entry = {"threshold": 0.5, "met": 1}
    thresholds = {
        "instances": {"3": entry, "7": {"threshold": None, "met": 0}},
        "keypoints": {"threshold": threshold},
    }
    generate(merged, dataset, labelled, thresholds, tmp_path / "a.json")
    (annotation,) = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert annotation["keypoints"] == ([10, 20, 2] if threshold else [0, 0, 0]) + [0] * 6
    assert annotation["num_keypoints"] == (1 if threshold else 0)
    assert annotation["keypoint_scores"] == [0.5, 0.49, 0]


def test_thresholds_of_other_predictions_are_refused_and_nothing_is_written(tmp_path):
    merged, dataset, labelled, predictions = make_study(tmp_path)
    thresholds = calibrate(merged, dataset, labelled, Options())
    best = max(predictions, key=lambda p: p["score"])
    write_json(merged, [*predictions, {**best, "bbox": [1, 1, 9, 9], "score": 1.0}])
    with pytest.raises(UserError, match="instead of the calibrated"):
        generate(merged, dataset, labelled, thresholds, tmp_path / "a.json")
    thresholds["instances"].pop("7")
    with pytest.raises(UserError, match="other categories"):
        generate(merged, dataset, labelled, thresholds, tmp_path / "a.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["merged.json"]


def test_no_predictions_at_all(tmp_path):
    merged, dataset, labelled, _ = make_study(tmp_path)
    write_json(merged, [])
    thresholds = calibrate(merged, dataset, labelled, Options())
    generate(merged, dataset, labelled, thresholds, tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["annotations"], content["images"]) == ([], dataset["images"])


def test_programs(tmp_path):
    merged, dataset, labelled, _ = make_study(tmp_path)
    paths = {name: tmp_path / f"{name}.json" for name in ("dataset", "labelled", "thresholds", "annotations")}
    write_json(paths["dataset"], dataset)
    write_json(paths["labelled"], labelled)
    inputs = ["--merged", merged, "--dataset", paths["dataset"], "--labelled", paths["labelled"]]

    options = ["--output", paths["thresholds"], "--options"]
    assert warm.run("calibrate_threshold.py", *inputs, *options, as_json(Options(per="all"))).returncode == 0
    expected = calibrate(merged, dataset, labelled, Options(per="all"))
    assert json.loads(paths["thresholds"].read_text()) == expected
    more = ["--thresholds", paths["thresholds"], "--output", paths["annotations"]]
    assert warm.run("generate_labels.py", *inputs, *more).returncode == 0
    met = sum(entry["met"] for entry in expected["instances"].values())
    assert len(json.loads(paths["annotations"].read_text())["annotations"]) == met
    refused = warm.run("calibrate_threshold.py", *inputs, *options, '{"per": "all", "instances": 2}')
    assert refused.stderr.startswith(
        "error: --options: needs aim, keypoints, score_floor, agnostic_nms, ignore, rare too;"
    )
