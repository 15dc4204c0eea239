import copy
import json
import subprocess
import sys

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from distill.datasets.keypoint_meta import COCO_KEYPOINTS
from distill.evaluation.average_precision import METRICS, evaluate
from distill.files import write_json
from distill.program import UserError
from helpers import SCRIPTS

BOXES = [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}]  # out of order: COCOeval sorts ids


def annotation(number, image, category, bbox, crowd=0, **more):
    area = bbox[2] * bbox[3]
    return dict(
        id=number, image_id=image, category_id=category, bbox=list(bbox), area=area, iscrowd=crowd, **more
    )


def dataset_of(annotations, categories=BOXES, n=4):
    images = [{"id": i, "file_name": f"{i}.png", "width": 640, "height": 480} for i in range(n)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def perfect(dataset, score=0.9):
    keys = ("image_id", "category_id", "bbox", "keypoints")
    real = [a for a in dataset["annotations"] if not a["iscrowd"]]
    return [{k: a[k] for k in keys if k in a} | {"score": score} for a in real]


SMALL, MEDIUM, LARGE = (0, 0, 20, 20), (50, 50, 50, 60), (200, 100, 150, 200)


def mixed():
    return dataset_of(
        [
            annotation(number, image, category, bbox)
            for number, (image, category, bbox) in enumerate(
                [(i, c, b) for i in range(4) for c in (2, 5) for b in (SMALL, MEDIUM, LARGE)], 1
            )
        ]
    )


def test_perfect_predictions():
    metrics = evaluate(mixed(), perfect(mixed()))
    assert metrics["task"] == "boxes"
    assert all(metrics[name] == 1 for name in METRICS["boxes"] if name != "AR1")
    assert metrics["AR1"] == pytest.approx(1 / 3)  # three of a kind in each image
    assert metrics["per_category"] == {"cat": 1, "dog": 1}
    more = ["precision", "resampled", "per_category"]
    assert metrics["boxes"] == {n: metrics[n] for n in [*METRICS["boxes"], *more]}
    assert (metrics["images"], metrics["predictions"]) == (4, 24)
    assert "keypoints" not in metrics


@pytest.mark.parametrize("first", [2**53, 2**63 - 10])
def test_ids_that_no_double_holds_exactly(first):
    def moved(records, *keys):
        return [{**record, **{key: first + record[key] for key in keys}} for record in records]

    dataset = mixed()
    found = [p | {"score": 0.5 + p["image_id"] / 10} for p in perfect(dataset)][: -len(BOXES)]
    large = {
        **dataset,
        "images": moved(dataset["images"], "id"),
        "categories": moved(dataset["categories"], "id"),
        "annotations": moved(dataset["annotations"], "id", "image_id", "category_id"),
    }
    assert evaluate(large, moved(found, "image_id", "category_id")) == evaluate(dataset, found)


def test_half_of_the_objects_found():
    dataset = mixed()
    found = [p for p in perfect(dataset) if p["image_id"] < 2]
    metrics = evaluate(dataset, found)
    # Precision 1 up to recall 1/2, then 0: 51 of COCO's 101 recall points.
    assert metrics["AP"] == metrics["AP50"] == metrics["APS"] == pytest.approx(51 / 101)
    assert metrics["AR100"] == pytest.approx(0.5)
    assert metrics["precision"] == dict.fromkeys(("0.5", "0.75"), [1] * 51 + [0] * 50)


def test_one_category_found_and_one_never_seen():
    dataset = mixed()
    dataset["categories"] = [*BOXES, {"id": 9, "name": "owl"}]
    found = [p for p in perfect(dataset) if p["category_id"] == 5]
    metrics = evaluate(dataset, found)
    assert metrics["AP"] == 0.5
    assert metrics["per_category"] == {"cat": 0, "dog": 1, "owl": None}


def test_loose_boxes_count_at_low_iou_only():
    dataset = dataset_of([annotation(1, 0, 2, (100, 100, 100, 100))])
    loose = {"image_id": 0, "category_id": 2, "bbox": [100, 100, 100, 62], "score": 0.5}  # IoU 0.62
    metrics = evaluate(dataset, [loose])
    assert (metrics["AP50"], metrics["AP75"]) == (pytest.approx(1), 0)
    assert metrics["AP"] == pytest.approx(3 / 10)  # 0.50, 0.55, 0.60 of ten thresholds
    assert (metrics["APS"], metrics["APM"], metrics["APL"]) == (None, None, metrics["AP"])


def test_detections_in_a_crowd_are_ignored():
    dataset = dataset_of([annotation(1, 0, 2, MEDIUM)])
    inside = {"image_id": 0, "category_id": 2, "bbox": [250, 150, 30, 30], "score": 0.99}
    found = [*perfect(dataset, 0.5), inside]
    assert evaluate(dataset, found)["AP"] == pytest.approx(0.5)  # a false positive ranks first
    dataset["annotations"].append(annotation(2, 0, 2, LARGE, crowd=1))
    assert evaluate(dataset, found)["AP"] == pytest.approx(1)


def test_no_predictions_and_no_objects():
    assert evaluate(mixed(), [])["AP"] == 0
    nothing = evaluate(dataset_of([]), [])
    assert all(nothing[name] is None for name in METRICS["boxes"])
    assert json.dumps(nothing, allow_nan=False)


def pose(rng, image, number, category=1, names=COCO_KEYPOINTS):
    x, y, w, h = rng.uniform([10, 10, 40, 40], [300, 200, 300, 250])
    v = rng.integers(0, 3, len(names))
    points = np.c_[rng.uniform(x, x + w, len(names)), rng.uniform(y, y + h, len(names)), v] * (v > 0)[:, None]
    more = {"keypoints": points.ravel().tolist(), "num_keypoints": int((v > 0).sum())}
    return annotation(number, image, category, (x, y, w, h), crowd=int(rng.random() < 0.1), **more)


def poses(seed, categories):
    rng = np.random.default_rng(seed)
    owners = [int(rng.choice([c["id"] for c in categories])) for _ in range(30)]
    names = categories[0]["keypoints"]
    return dataset_of([pose(rng, i % 8, i + 1, c, names) for i, c in enumerate(owners)], categories, n=8)


def disturbed(dataset, seed):
    """Predictions near the truth, some far off, some missing, some invented."""
    rng = np.random.default_rng(seed)
    found = []
    for a in dataset["annotations"]:
        for _ in range(rng.integers(0, 3)):
            noise = rng.choice([1.0, 5.0, 30.0])
            p = {"image_id": a["image_id"], "category_id": a["category_id"], "score": float(rng.random())}
            p["bbox"] = (np.array(a["bbox"]) + rng.normal(0, noise, 4)).clip(1).tolist()
            if "keypoints" in a:
                p["keypoints"] = (a["keypoints"] + rng.normal(0, noise, len(a["keypoints"]))).tolist()
            found.append(p)
    return found


PERSON = [{"id": 1, "name": "person", "keypoints": list(COCO_KEYPOINTS)}]
MOUSE = [
    {"id": i, "name": name, "keypoints": ["nose", "left_paw", "tail"], "sigmas": [0.02, 0.1, 0.3]}
    for i, name in ((4, "top"), (1, "side"))
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["boxes", "person", "mouse"])
def test_equals_a_direct_call_of_pycocotools(tmp_path, kind, seed, capsys):
    dataset = mixed() if kind == "boxes" else poses(seed, PERSON if kind == "person" else MOUSE)
    found = disturbed(dataset, seed)
    before = copy.deepcopy((dataset, found))
    metrics = evaluate(dataset, found)
    assert (dataset, found) == before
    assert capsys.readouterr().out == ""

    write_json(tmp_path / "truth.json", dataset)
    write_json(tmp_path / "found.json", found)
    for task in ["boxes"] if kind == "boxes" else ["boxes", "keypoints"]:
        truth = COCO(str(tmp_path / "truth.json"))
        direct = COCOeval(
            truth, truth.loadRes(str(tmp_path / "found.json")), "bbox" if task == "boxes" else task
        )
        if kind == "mouse":
            direct.params.kpt_oks_sigmas = np.array([0.02, 0.1, 0.3])
        direct.evaluate()
        direct.accumulate()
        direct.summarize()
        stats = [-1 if metrics[task][name] is None else metrics[task][name] for name in METRICS[task]]
        assert stats == pytest.approx(direct.stats, rel=0, abs=1e-12)
        assert 0 < metrics[task]["AP"] < 1
        each = [ap for ap in metrics[task]["per_category"].values() if ap is not None]
        assert np.mean(each) == pytest.approx(metrics[task]["AP"])
    assert metrics["task"] == task
    assert metrics["AP"] == metrics[task]["AP"]


def test_perfect_keypoints_with_wrong_boxes():
    dataset = poses(0, PERSON)
    found = [p | {"bbox": [0, 0, 1, 1]} for p in perfect(dataset)]
    metrics = evaluate(dataset, found)
    assert (metrics["AP"], metrics["keypoints"]["AP"], metrics["boxes"]["AP"]) == (1, 1, 0)
    assert metrics["keypoints"]["per_category"] == {"person": 1}


def test_keypoints_only_of_categories_that_have_them():
    dataset = poses(0, PERSON)
    dataset["categories"] = [*PERSON, {"id": 9, "name": "ball"}]
    dataset["annotations"].append(annotation(99, 0, 9, (5, 5, 50, 50)))
    metrics = evaluate(dataset, perfect(dataset))
    assert metrics["keypoints"]["AP"] == metrics["boxes"]["AP"] == 1
    assert set(metrics["keypoints"]["per_category"]) == {"person"}
    assert set(metrics["boxes"]["per_category"]) == {"person", "ball"}


def test_task():
    dataset = poses(0, PERSON)
    boxes = [{k: v for k, v in p.items() if k != "keypoints"} for p in perfect(dataset)]
    assert evaluate(dataset, boxes)["task"] == "boxes"
    assert evaluate(dataset, [])["task"] == "keypoints"
    assert evaluate(dataset, [])["keypoints"]["AP"] == 0
    assert evaluate(dataset, [], "boxes")["task"] == "boxes"


def test_refused():
    dataset, found = poses(0, PERSON), perfect(poses(0, PERSON))
    for change, message in [
        ({"image_id": 77}, "image 77"),
        ({"category_id": 8}, "category 8"),
        ({"keypoints": [1, 1, 1]}, "1 keypoints, the dataset 17"),
        ({"keypoints": None}, "0 keypoints, the dataset 17"),
    ]:
        with pytest.raises(UserError, match=message):
            evaluate(dataset, [*found, {**found[0], **change}])
    with pytest.raises(UserError, match="no category of the dataset has keypoints"):
        evaluate(mixed(), [found[0] | {"category_id": 2}])
    with pytest.raises(UserError, match="no categories"):
        evaluate(dataset_of([], []), [])


def test_program(tmp_path):
    write_json(tmp_path / "val.json", mixed())
    write_json(tmp_path / "merged.json", perfect(mixed()))
    output = tmp_path / "evaluation/teacher-seed0/val/plain~own.json"
    command = [sys.executable, SCRIPTS / "evaluate.py", "--dataset", tmp_path / "val.json"]
    command += ["--predictions", tmp_path / "merged.json", "--output", output]
    subprocess.run(command, check=True, capture_output=True)
    result = json.loads(output.read_text())
    assert {k: result[k] for k in ("model", "dataset", "views", "task", "images", "AP")} == {
        "model": "teacher-seed0",
        "dataset": "val",
        "views": "plain~own",
        "task": "boxes",
        "images": 4,
        "AP": 1.0,
    }
