"""What can become a label, and the files of records that it is read from, a block at a time."""

import json

import numpy as np
import pytest

from distill.files import write_json
from distill.labels.candidates import candidate_blocks, candidates
from distill.predictions import boxes as box_math
from distill.predictions import coco_results
from distill.predictions.coco_results import decode, read_lines
from distill.program import UserError
from helpers.merged import make_study


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
