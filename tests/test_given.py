"""Several programs' predictions become one: boxes vote as views do, keypoints are averaged by score."""

import json
import re

import numpy as np
import pytest
import torch
from torchvision.models import detection

from distill.datasets.image_names import Images
from distill.labels.calibrate import calibrate
from distill.predictions import consensus, given, voting
from distill.predictions.boxes import iou, xyxy_to_xywh
from distill.program import UserError
from helpers import ROOT
from helpers.annotated import picture
from helpers.options import calibrate_options, merge_options

POSED = {"id": 1, "name": "hand", "keypoints": ["tip", "left_joint", "right_joint"]}
CATEGORIES = [POSED, {"id": 3, "name": "cup"}]
SIZE = (200, 150)


def dataset(images=4):
    sized = {"width": SIZE[0], "height": SIZE[1]}
    return {"images": [{"id": 10 - i, "file_name": f"{i}.png", **sized} for i in range(images)]}


def planted(rng, images=4, objects=6, posed=True):
    """The objects of each image: (category, x1, y1, x2, y2, (3, 2) keypoints)."""
    found = []
    for image in dataset(images)["images"]:
        for _ in range(objects):
            corner, side = rng.uniform(5, 100, 2), rng.uniform(20, 45, 2)
            found.append((image, int(rng.choice([1, 3])), np.concatenate([corner, corner + side])))
    return found


def said(rng, objects, noise=0.3):
    """COCO results of a program that sees most of the objects, in a random order."""
    records = []
    for image, category, box in objects:
        if rng.random() < 0.2:
            continue
        record = {"file_name": image["file_name"], "category_id": category, "score": round(rng.random(), 3)}
        record["bbox"] = xyxy_to_xywh(np.round(box + rng.normal(0, noise, 4), 2)).tolist()
        if category == 1:
            places = box[:2] + rng.uniform(0.1, 0.9, (3, 2)) * (box[2:] - box[:2])
            record["keypoints"] = np.column_stack([places, rng.uniform(0, 1, 3)]).ravel().round(3).tolist()
        records.append(record)
    return [records[i] for i in rng.permutation(len(records))]


def read(tmp_path, *programs, posed=True):
    images, files = Images(dataset(), []), []
    for i, records in enumerate(programs):
        (tmp_path / f"{i}.json").write_text(json.dumps(records))
        files.append(given.read(tmp_path / f"{i}.json", images, CATEGORIES, posed))
    return files, images


def merged(tmp_path, *programs, posed=True, **options):
    files, images = read(tmp_path, *programs, posed=posed)
    return list(consensus.merge(files, images, CATEGORIES, merge_options(**options)))


def test_one_file_is_taken_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    records = said(rng, planted(rng) * 2)  # each object twice, almost in the same place
    found = merged(tmp_path, records)
    assert len(found) == len(records)
    assert {r["image_id"] for r in found} == {10, 9, 8, 7}
    order = [(10 - r["image_id"], -r["score"]) for r in found]
    assert order == sorted(order)
    for mine in found:
        (theirs,) = (
            r for r in records if r["score"] == mine["score"] and np.allclose(r["bbox"], mine["bbox"])
        )
        assert np.allclose(theirs.get("keypoints", []), mine.get("keypoints", []), atol=0.01)


def annotation_file(**changes):
    """Two images, with other ids than in the dataset, and other categories; a hand, a cup, a crowd."""
    hand = {"id": 1, "image_id": 7, "category_id": 20, "bbox": [10, 10, 30, 40], "iscrowd": 0}
    hand["keypoints"] = [12, 13, 2, 20, 30, 1, 0, 0, 0]
    cup = {"id": 2, "image_id": 8, "category_id": 21, "bbox": [50, 50, 20, 20], "iscrowd": 0}
    crowd = {**cup, "id": 3, "bbox": [0, 0, 200, 150], "iscrowd": 1}
    return {
        "images": [{"id": 7, "file_name": "2.png"}, {"id": 8, "file_name": "0.png"}],
        "categories": [{"id": 20, "name": "hand"}, {"id": 21, "name": "cup"}],
        "annotations": [hand, cup | changes, crowd],
    }


def test_annotations_are_predictions_of_score_1(tmp_path):
    cup, hand = merged(tmp_path, annotation_file())
    assert (cup["image_id"], cup["category_id"], cup["bbox"], cup["score"]) == (10, 3, [50, 50, 20, 20], 1)
    assert (hand["image_id"], hand["category_id"], hand["score"]) == (8, 1, 1)
    assert hand["keypoints"] == [12, 13, 1, 20, 30, 1, 0, 0, 0]


def test_annotations_with_a_score_have_visible_keypoints_or_scored_ones(tmp_path):
    """As labels of this project, and as other programs write them."""
    file = annotation_file()
    given = file["annotations"][0] | {"score": 0.7}
    for flags, expected in (([2, 1, 0], [1, 1, 0]), ([0.9, 0.5, 0], [0.9, 0.5, 0])):
        keypoints = [value for v, x in zip(flags, (12, 20, 0), strict=True) for value in (x, x, v)]
        [hand] = merged(tmp_path, {**file, "annotations": [given | {"keypoints": keypoints}]})
        assert (hand["score"], hand["keypoints"][2::3]) == (0.7, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 9}, "record 1 (from 0): image_id 9 is none of the 2 images of the file"),
        ({"image_id": [9]}, "record 1 (from 0): image_id [9] is none of the 2 images of the file"),
        ({"category_id": 3}, "record 1 (from 0): category_id 3 is none of the 2 categories of the file"),
        ({"bbox": [0, 0, -5, 5]}, "record 1 (from 0): bbox [0, 0, -5, 5] has a negative size"),
        ({"keypoints": [1, 2, "x"]}, "record 1 (from 0): expected `float`, got `str`"),
        ({"score": 3}, "record 1 (from 0): score 3 is not from 0 to 1"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        merged(tmp_path, annotation_file(**changes))


@pytest.mark.parametrize("rule", voting.RULES)
def test_several_are_merged_as_by_brute_force(tmp_path, rule):
    rng = np.random.default_rng(1)
    objects = planted(rng)
    programs = [said(rng, objects) for _ in range(3)]
    found = merged(tmp_path, *programs, score=rule, beta=2.0)
    union = [record for records in programs for record in records]
    for image in dataset()["images"]:
        mine = [r for r in found if r["image_id"] == image["id"]]
        theirs = [r for r in union if r["file_name"] == image["file_name"]]
        boxes = np.array([r["bbox"] for r in theirs])
        boxes[:, 2:] += boxes[:, :2]
        boxes = boxes.clip(0, np.tile(SIZE, 2))
        scores, categories = (np.array([r[key] for r in theirs]) for key in ("score", "category_id"))
        options = dict(nms=0.5, vote=0.8, rule=rule, beta=2.0, max_per_image=100)
        voted = voting.vote(boxes, scores, categories, **options)
        assert np.allclose([r["bbox"] for r in mine], xyxy_to_xywh(voted[0]), atol=2e-3)
        assert np.allclose([r["score"] for r in mine], voted[1], atol=1e-6)
        overlap = iou(boxes, boxes)
        survivors = []
        for row in np.argsort(-scores, kind="stable"):
            same = [r for r in survivors if categories[r] == categories[row]]
            if all(overlap[row, r] <= 0.5 for r in same):
                survivors.append(row)
        assert len(survivors) == len(mine)
        for row in survivors:
            if categories[row] == 1:
                voters = [v for v in range(len(boxes)) if overlap[row, v] >= 0.8 and categories[v] == 1]
                points = np.array([theirs[v]["keypoints"] for v in voters]).reshape(-1, 3, 3)
                weight = points[..., 2:]
                place = (weight * points[..., :2]).sum(0) / weight.sum(0)
                wanted = np.column_stack([place, weight.mean(0)]).ravel()
                assert any(
                    np.allclose(r["keypoints"], wanted, atol=6e-3) for r in mine if r["category_id"] == 1
                )


def test_a_keypoint_that_nobody_trusts_stays_where_the_best_has_it(tmp_path):
    record = {"image_id": 10, "category_id": 1, "bbox": [10, 10, 50, 50]}
    one = {**record, "score": 0.9, "keypoints": [20, 20, 0, 30, 30, 0.2, 40, 40, 0.5]}
    two = {**record, "score": 0.8, "keypoints": [50, 50, 0, 40, 40, 0.6, 40, 50, 0.5]}
    (found,) = merged(tmp_path, [two], [one])
    assert found["keypoints"] == [20, 20, 0, 37.5, 37.5, 0.4, 40, 45, 0.5]


def test_kinds_are_not_mixed(tmp_path):
    rng = np.random.default_rng(2)
    posed = said(rng, planted(rng))
    bare = [{key: r[key] for key in r if key != "keypoints"} for r in posed]
    with pytest.raises(UserError, match="with keypoints and without cannot be merged"):
        merged(tmp_path, posed, bare, posed=False)
    assert all("keypoints" not in r for r in merged(tmp_path, bare, bare, posed=False))


def test_calibration_takes_them_for_a_teachers(tmp_path):
    rng = np.random.default_rng(3)
    objects = planted(rng)
    records = merged(tmp_path, said(rng, objects), said(rng, objects))
    (tmp_path / "merged.json").write_text(json.dumps(records))
    labelled = {
        "images": [{"id": i} for i in range(2)],
        "categories": CATEGORIES,
        "annotations": [
            {"category_id": c, "keypoints": [1, 1, 2, 0, 0, 0, 3, 3, 1] if c == 1 else []} for c in (1, 1, 3)
        ],
    }
    found = calibrate(tmp_path / "merged.json", dataset(), labelled, calibrate_options())
    assert [entry["met"] for entry in found["instances"].values()] == [4, 2]
    assert found["keypoints"]["met"] == 8


def test_the_lines_of_the_page_write_such_a_file(tmp_path, monkeypatch):
    """With random weights in the place of torchvision's."""
    page = (ROOT / "docs/predictions.md").read_text()
    (lines,) = re.findall(r"^## With torchvision\n\n```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for i in range(2):
        picture(tmp_path / f"images/{i}.jpg", i, SIZE)

    def tiny(weights):
        return detection.fasterrcnn_mobilenet_v3_large_320_fpn(
            weights_backbone=None, num_classes=3, box_score_thresh=0.0, box_detections_per_img=5, min_size=64
        )

    monkeypatch.setattr(detection, "fasterrcnn_resnet50_fpn_v2", tiny)
    weights = detection.FasterRCNN_ResNet50_FPN_V2_Weights.DEFAULT
    monkeypatch.setitem(weights.meta, "categories", ["__background__", "hand", "cup"])
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(lines, {})
    named = [{**image, "file_name": f"{i}.jpg"} for i, image in enumerate(dataset(2)["images"])]
    images = Images({"images": named}, [])
    found = given.read(tmp_path / "torchvision.json", images, CATEGORIES, False)
    assert 0 < len(found.score) <= 10
    assert set(found.category.tolist()) <= {1, 3}
    assert set(found.place.tolist()) == {0, 1}


def test_two_files_are_not_one_image(tmp_path):
    """A dataset of one folder alone, and what a program said of two."""
    records = [
        {"file_name": name, "category_id": 3, "bbox": [1, 1, 9, 9], "score": 0.5}
        for name in ("a/9.png", "b/9.png")
    ]
    images = Images({"images": [{"id": 1, "file_name": "9.png", "width": 64, "height": 48}]}, [])
    (tmp_path / "x.json").write_text(json.dumps(records))
    with pytest.raises(UserError, match=r"file_name 'b/9.png' and 'a/9.png' would be one image of the data"):
        given.read(tmp_path / "x.json", images, CATEGORIES, False)


def test_an_id_that_a_union_has_changed_is_neither(tmp_path):
    def part(folder, ids):
        images = [
            {"id": i, "file_name": f"{folder}/{n}.png", "hash": f"{folder}{n}"} for n, i in enumerate(ids)
        ]
        return {"images": images, "info": {"kind": "coco"}}

    union = Images(
        {"images": part("a", [1, 2])["images"] + part("b", [3, 4])["images"]},
        [part("a", [1, 2]), part("b", [1, 2])],
    )
    assert [union.row(key) for key in (3, 4, "a/1.png", "b/0.png")] == [2, 3, 1, 2]
    swapped = [{"id": 101, "file_name": "000102.jpg"}, {"id": 102, "file_name": "000101.jpg"}]
    theirs, folder = part("a", [1]), {"images": part("b", [3])["images"], "info": {"kind": "folder"}}
    theirs["images"] += swapped  # whose ids the user's file says
    joined = {"images": theirs["images"] + folder["images"], "info": {"numbered": True}}
    assert Images(joined, [theirs, folder]).row(101) == 1
    with pytest.raises(
        UserError, match="2 is the id of two images, of datasets that have become one; give file"
    ):
        union.row(2)
