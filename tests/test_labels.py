import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from distill.files import write_json
from distill.labels.calibrate import calibrate
from distill.labels.candidates import candidate_blocks, candidates
from distill.labels.generate import generate
from distill.labels.thresholds import read_thresholds
from distill.predictions import boxes as box_math
from distill.predictions import coco_results
from distill.predictions.coco_results import decode, read_lines
from distill.program import UserError
from helpers import warm
from helpers.options import as_json
from helpers.options import calibrate_options as Options

NAMES = ["nose", "left_hand", "right_hand"]


def make_study(tmp_path, posed=True, n=12, seed=0):
    """Random predictions on n images, many of them partly or wholly outside; and a labelled set to aim at."""
    rng = np.random.default_rng(seed)
    category = {"keypoints": NAMES, "flip_pairs": [[1, 2]]} if posed else {}
    categories = [{"id": 3, "name": "cat", **category}, {"id": 7, "name": "dog", **category}]
    images = [
        {"id": i, "file_name": f"{i}.png", "width": 60, "height": 40, "hash": f"{i:032x}"} for i in range(n)
    ]
    dataset = {
        "info": {"description": "pile", "image_root": "some/where", "kind": "folder", "skipped": []},
        "images": images,
        "annotations": [],
        "categories": [],
    }
    labelled = {
        "info": {},
        "images": images[:5],
        "annotations": [
            {"id": i, "image_id": i % 5, "category_id": 3 + 4 * (i % 2), "bbox": [0, 0, 9, 9], "iscrowd": 0}
            | ({"keypoints": [1, 1, 2, 2, 2, 1, 0, 0, 0], "num_keypoints": 2} if posed else {})
            for i in range(8)
        ],
        "categories": categories,
    }
    predictions = []
    for _ in range(80):
        x, y = rng.uniform(-30, 70, 2).round(2)
        record = {
            "image_id": int(rng.integers(0, n - 1)),  # nothing on the last image
            "category_id": int(rng.choice([3, 7])),
            "bbox": [x, y, *rng.uniform(0, 50, 2).round(2)],
            "score": float(rng.integers(1, 12) / 12),
        }
        if posed:
            points = np.c_[rng.uniform(-20, 80, (3, 2)), rng.integers(1, 9, 3) / 8]
            record["keypoints"] = points.ravel().tolist()
            record["keypoint_logits"] = [0.0] * 3
        predictions.append(record)
    merged = tmp_path / "merged.json"
    write_json(merged, predictions)
    return merged, dataset, labelled, predictions


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


@pytest.mark.parametrize("block", [1 << 18, 400])  # some records; images are cut
def test_an_object_gets_one_label_of_all_categories(tmp_path, monkeypatch, block):
    merged, dataset, labelled, predictions = make_study(tmp_path)
    write_json(merged, sorted(predictions, key=lambda p: p["image_id"]))
    monkeypatch.setattr(coco_results, "BLOCK", block)
    files = (merged, dataset, labelled["categories"])
    every = list(candidates(*files, agnostic_nms=None))
    boxes = box_math.xywh_to_xyxy([c["bbox"] for c in every])
    expected = []
    for i in sorted(range(len(every)), key=lambda i: -every[i]["score"]):  # stable: of equals the first
        rivals = [j for j in expected if every[j]["image_id"] == every[i]["image_id"]]
        if not rivals or box_math.iou(boxes[[i]], boxes[rivals]).max() <= 0.05:
            expected.append(i)
    assert 0 < len(expected) < len(every) * 3 / 4
    assert list(candidates(*files, agnostic_nms=0.05)) == [every[i] for i in sorted(expected)]


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


@pytest.mark.parametrize("nms", [None, 0.05])
@pytest.mark.parametrize("limits", [{3: 0.3, 7: 0.8}, {3: np.inf, 7: 0.5}, {3: 0.0, 7: 0.0}])
def test_labels_of_parsing_only_what_can_become_one(tmp_path, monkeypatch, limits, nms):
    merged, dataset, labelled, predictions = make_study(tmp_path)
    write_json(merged, sorted(predictions, key=lambda p: p["image_id"]))
    monkeypatch.setattr(coco_results, "BLOCK", 400)
    files = (merged, dataset, labelled["categories"], nms)
    expected = [c for c in candidates(*files) if c["score"] >= limits[c["category_id"]]]
    found = [record for block in candidate_blocks(*files, limits) for record in block.records()]
    assert len(expected) > 0
    assert found == expected


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


def test_candidates_clip_boxes_and_drop_what_is_left_of_slivers(tmp_path):
    categories = [{"id": 1, "name": "cat", "keypoints": ["nose"]}]
    dataset = {"images": [{"id": 0, "width": 60, "height": 40}]}
    boxes = {
        (10.25, 5, 20.1, 7.3): [10.25, 5, 20.1, 7.3],  # untouched, number by number
        (-5, -6, 20, 20): [0, 0, 15, 14],
        (50, 30, 20, 20): [50, 30, 10, 10],
        (-5, -6, 90, 90): [0, 0, 60, 40],
        (59.5, 5, 20, 20): None,
        (-19.5, 5, 20, 20): None,
        (61, 5, 20, 20): None,
        (5, 5, 0.5, 20): None,
        (5, 5, 20, 0): None,
    }
    path = tmp_path / "merged.json"
    write_json(path, [{"image_id": 0, "category_id": 1, "bbox": list(b), "score": 0.5} for b in boxes])
    assert [c["bbox"] for c in candidates(path, dataset, categories, None)] == [
        b for b in boxes.values() if b
    ]


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


def read_records(path):
    return [record for block in read_lines(path)[1] for record in decode(path, block, dict)]


@pytest.mark.parametrize("records", [[], [{"a": 1}], [{"a": i, "b": [i, {"c": "}"}]} for i in range(5)]])
@pytest.mark.parametrize("size", [1, 20, 1000])
def test_lines_are_read_of_any_layout_in_blocks_of_any_size(tmp_path, monkeypatch, records, size):
    monkeypatch.setattr("distill.predictions.coco_results.BLOCK", size)
    path = tmp_path / "records.json"
    write_json(path, records)
    assert read_records(path) == records
    for indent in (None, 2):
        path.write_text(json.dumps(records, indent=indent))
        assert read_records(path) == records


def test_files_are_strict_json(tmp_path):
    path = tmp_path / "some.json"
    content = {
        "names": 'é \n "',
        "list": [{"a": np.float64(0.1), "b": None, "c": (1, []), 5: 1e-7}],
        "n": 0.1,
    }
    write_json(path, content)
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(content))
    for wrong in (float("nan"), float("-inf"), np.float64("nan")):
        for value in ([{"a": wrong}], {"a": [{"a": [wrong]}]}, {"a": wrong}, wrong):
            with pytest.raises(ValueError, match="not JSON compliant"):
                write_json(path, value)
    assert sorted(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_bytes())["n"] == 0.1


def test_a_file_of_records_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "records.json"
    write_json(path, [{"a": i} for i in range(9)])
    whole = path.read_text()
    for length in range(1, len(whole) - 2):
        path.write_text(whole[:length])
        with pytest.raises(UserError, match=r"cut off|not a JSON file"):
            read_records(path)
    path.write_text('{"annotations": []}')
    with pytest.raises(UserError, match="expected a list"):
        read_records(path)
    with pytest.raises(UserError, match="no such file"):
        read_records(tmp_path / "none.json")


@pytest.mark.parametrize("change", [{"score": float("nan")}, {"bbox": [0, float("inf"), 1, 1]}])
def test_predictions_that_are_not_finite_are_refused(tmp_path, change):
    merged, dataset, labelled, predictions = make_study(tmp_path)
    merged.write_text(json.dumps([{**predictions[0], **change}]))
    with pytest.raises(UserError, match="not finite"):
        list(candidates(merged, dataset, labelled["categories"], None))


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
        "error: --options: needs keypoints, score_floor, agnostic_nms, ignore too;"
    )
