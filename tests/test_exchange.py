"""Labels into other tools: what these need is there."""

from copy import deepcopy
from xml.etree import ElementTree

import pytest

from distill.labels import yolo_export
from distill.labels.exchange import to_cvat, to_label_studio
from distill.program import UserError
from helpers.annotated import Coco
from helpers.answers import LABELS, corrected


def test_cvat_gets_what_its_reader_requires(labels):
    files = to_cvat(labels)
    boxes, poses = files["instances_default.json"], files["person_keypoints_default.json"]
    assert [c["name"] for c in boxes["categories"]] == ["disc"]
    assert [c["name"] for c in poses["categories"]] == ["arrow"]
    assert len(boxes["annotations"]) + len(poses["annotations"]) == len(labels["annotations"])
    known = {a["id"]: {"instance": a["id"], "score": a["score"]} for a in labels["annotations"]}
    for annotation in (*boxes["annotations"], *poses["annotations"]):
        assert annotation["segmentation"] == []  # without this key it refuses the annotation
        assert annotation["attributes"] == known[annotation["id"]]
    assert all(len(a["keypoints"]) == 9 for a in poses["annotations"])
    assert boxes["images"] == labels["images"]


def test_cvat_gets_no_category_0_and_boxes_where_nothing_was_posed(labels):
    """It drops the labels of category 0; a teacher of boxes leaves keypoints out."""
    plain = deepcopy(labels)
    names = {category["id"]: category["name"] for category in labels["categories"]}
    plain["categories"][0]["id"], old = 0, plain["categories"][0]["id"]
    for annotation in plain["annotations"]:
        annotation["category_id"] = annotation["category_id"] if annotation["category_id"] != old else 0
        for key in ("keypoints", "num_keypoints", "keypoint_scores"):
            annotation.pop(key, None)
    files = to_cvat(plain)
    assert files.keys() == {"instances_default.json", "labels.json"}
    assert [label["type"] for label in files["labels.json"]] == ["rectangle", "rectangle"]
    written = files["instances_default.json"]
    theirs = {category["id"]: category["name"] for category in written["categories"]}
    assert 0 not in theirs
    assert {a["id"]: theirs[a["category_id"]] for a in written["annotations"]} == {
        a["id"]: names[a["category_id"]] for a in labels["annotations"]
    }
    tasks = to_label_studio(plain, prefix="")["tasks.json"]
    assert sum(len(task["predictions"][0]["result"]) for task in tasks) == len(labels["annotations"])


def test_cvat_gets_a_skeleton_to_draw(labels):
    arrow, disc = to_cvat(labels)["labels.json"]
    assert (arrow["type"], disc["type"]) == ("skeleton", "rectangle")
    assert [part["name"] for part in arrow["sublabels"]] == ["tip", "left", "right"]
    drawn = ElementTree.fromstring(f"<svg>{arrow['svg']}</svg>")
    nodes = {c.get("data-label-name"): (float(c.get("cx")), float(c.get("cy"))) for c in drawn.iter("circle")}
    assert nodes["tip"][1] < nodes["left"][1]  # as they are on average in the boxes
    assert nodes["left"][0] < nodes["tip"][0] < nodes["right"][0]
    edges = [(line.get("data-node-from"), line.get("data-node-to")) for line in drawn.iter("line")]
    assert edges == [("1", "2"), ("1", "3")]
    assert {"score", "instance"} == {attribute["name"] for attribute in arrow["attributes"]}


def test_label_studio_gets_tasks_in_percent(labels):
    exported = to_label_studio(labels, prefix="/data/local-files/?d=some folder/")
    annotation = next(a for a in labels["annotations"] if a.get("num_keypoints"))
    image = next(i for i in labels["images"] if i["id"] == annotation["image_id"])
    (task,) = (t for t in exported["tasks.json"] if t["data"]["file_name"] == image["file_name"])
    assert task["data"]["image"] == f"/data/local-files/?d=some folder/{image['file_name']}"
    regions = {region["id"]: region for region in task["predictions"][0]["result"]}
    box = regions[f"instance{annotation['id']}"]
    assert box["value"]["x"] * image["width"] / 100 == pytest.approx(annotation["bbox"][0])
    assert box["value"]["height"] * image["height"] / 100 == pytest.approx(annotation["bbox"][3])
    assert box["score"] == annotation["score"]
    types = [region["type"] for region in regions.values()]
    assert types == sorted(types)  # keypoints first: what comes later lies below, where no click gets
    points = [r for r in regions.values() if r.get("parentID") == box["id"]]
    assert len(points) == annotation["num_keypoints"]
    interface = ElementTree.fromstring(exported["interface.xml"])
    for control in interface.iter("RectangleLabels"):
        assert [label.get("value") for label in control] == ["arrow", "disc"]
    names = {interface.find(tag).get("name") for tag in ("RectangleLabels", "KeyPointLabels", "Image")}
    assert {r["from_name"] for r in regions.values()} | {r["to_name"] for r in regions.values()} <= names


def test_the_ignored_are_no_labels_that_come_home(caplog):
    """They are shown to nobody: neither have they keypoints to keep, nor does an answer lack them."""
    labels = deepcopy(LABELS)
    ignored = {"id": 9, "image_id": 1, "category_id": 3, "bbox": [36, 10, 40, 50], "iscrowd": 1}
    labels["annotations"].append({**ignored, "keypoints": [0] * 6, "num_keypoints": 0})
    moved = {"image_id": 5, "category_id": 3, "bbox": [30, 10, 40, 50]}  # nearer to the ignored one
    image, hand = {"id": 5, "file_name": "1.png"}, {"id": 3, "name": "hand"}
    answer = {"images": [image], "annotations": [moved], "categories": [hand]}
    (mine,) = (a for a in corrected(labels, [answer])["annotations"] if a["image_id"] == 1)
    assert mine["keypoints"] == labels["annotations"][0]["keypoints"]
    assert "came back as they were" not in caplog.text
    moved["bbox"] = labels["annotations"][0]["bbox"]
    corrected(labels, [answer])
    assert "1 of 1 images came back as they were" in caplog.text


def test_yolo_gets_what_is_seen_of_boxes_over_the_edge(tmp_path):
    part = Coco(tmp_path / "coco", images=1).build()
    width, height = (part["images"][0][side] for side in ("width", "height"))
    part["annotations"][0]["bbox"] = [width - 10, -5, 30, 25]
    yolo_export.export(part, part, part, (6, 4), tmp_path / "out")
    (label,) = (tmp_path / "out/labels/val").iterdir()
    line = [float(word) for word in label.read_text().splitlines()[0].split()[1:5]]
    assert line == pytest.approx([1 - 5 / width, 10 / height, 10 / width, 20 / height], abs=1e-5)


def test_yolo_gets_one_order_of_keypoints(tmp_path):
    part = Coco(tmp_path / "coco", images=2).build()
    val = deepcopy(part)
    posed = next(category for category in val["categories"] if category.get("keypoints"))
    posed["keypoints"] = posed["keypoints"][::-1]
    with pytest.raises(UserError, match=f"val: {posed['name']} has other keypoints than the labelled"):
        yolo_export.export(part, part, val, (6, 4), tmp_path / "out")


def test_corrections_of_an_earlier_round_stay():
    hand, box = {"id": 3, "name": "hand"}, {"image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 40]}
    first, second = (
        {"images": [{"id": 1, "file_name": name}], "annotations": [box], "categories": [hand]}
        for name in ("1.png", "2.png")
    )
    twice = corrected(corrected(deepcopy(LABELS), [first]), [second])
    assert [(a["image_id"], a["bbox"]) for a in twice["annotations"]] == [(1, box["bbox"]), (2, box["bbox"])]
