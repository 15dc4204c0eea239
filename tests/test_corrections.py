"""What comes back from other tools: corrections are kept, and nothing is lost on the way."""

import json
from copy import deepcopy

import numpy as np
import pytest
import yaml

from distill.datasets.coco_check import load_coco
from distill.files import write_json
from distill.labels.exchange import to_cvat, to_label_studio
from distill.program import UserError
from helpers import warm
from helpers.answers import corrected


def geometry(labels: dict) -> list:
    """What a person can correct, by image and category."""
    files = {image["id"]: image["file_name"] for image in labels["images"]}
    return sorted(
        (
            files[a["image_id"]],
            a["category_id"],
            *(round(v, 3) for v in (*a["bbox"], *a.get("keypoints", ()))),
        )
        for a in labels["annotations"]
    )


def as_tasks(exported: dict) -> list:
    """What Label Studio exports once a person has accepted every prediction."""
    tasks = deepcopy(exported["tasks.json"])
    for number, task in enumerate(tasks, 1):
        task |= {"id": number, "annotations": [{"result": task["predictions"][0]["result"]}]}
    return tasks


def as_cvat(labels: dict) -> list:
    """What CVAT exports: a skeleton's box is that of its visible points, attributes are text."""
    files = deepcopy(to_cvat(labels))
    answers = [files["instances_default.json"], files["person_keypoints_default.json"]]
    for annotation in (a for answer in answers for a in answer["annotations"]):
        annotation["attributes"] = {key: str(value) for key, value in annotation["attributes"].items()}
        if "keypoints" in annotation:
            points = np.reshape(annotation["keypoints"], (-1, 3))
            seen = points[points[:, 2] > 0, :2]
            low, high = (seen.min(0), seen.max(0)) if len(seen) else (np.zeros(2), np.zeros(2))
            annotation["bbox"] = [*low.tolist(), *(high - low).tolist()]
    return answers


def as_fiftyone(labels: dict) -> dict:
    """What FiftyOne exports of a field of detections: keypoints and their names are gone."""
    answer = deepcopy(labels)
    for category in answer["categories"]:
        category.pop("keypoints", None)
    for annotation in answer["annotations"]:
        annotation.pop("keypoints", None)
    return answer


def test_what_nobody_changed_comes_back_the_same(labels):
    tasks = as_tasks(to_label_studio(labels, prefix=""))
    for answers in ([tasks], as_cvat(labels), [as_fiftyone(labels)]):
        assert geometry(corrected(labels, answers)) == geometry(labels)


def test_a_skeleton_of_cvat_takes_its_box_along(labels):
    boxes, poses = as_cvat(labels)
    moved, stretched, hidden, *_ = poses["annotations"]
    before = {a["id"]: a for a in labels["annotations"]}
    was = {n: list(before[a["id"]]["bbox"]) for n, a in enumerate((moved, stretched, hidden))}
    for place in (0, 3, 6):
        moved["keypoints"][place] += 5.0
    x, y, w, h = was[1]
    stretched["keypoints"][:3] = [x + w + 7, y + 1, 2]
    hidden["keypoints"], hidden["bbox"] = [0] * 9, [0, 0, 0, 0]  # all of them switched off
    poses["annotations"].append({**moved, "id": 999, "attributes": {}, "bbox": [1, 2, 3, 4]})
    result = corrected(labels, [boxes, poses])
    ours = [
        a for a in result["annotations"] if a["image_id"] in {i["image_id"] for i in poses["annotations"]}
    ]

    def box_of(points: list) -> list:
        return [a["bbox"] for a in ours if a.get("keypoints") == pytest.approx(points)]

    first, drawn = box_of(moved["keypoints"])
    assert first == pytest.approx([was[0][0] + 5, *was[0][1:]])
    assert drawn == [1, 2, 3, 4]  # new: all that CVAT says of it
    assert box_of(stretched["keypoints"]) == [pytest.approx([x, y, w + 7, h])]
    assert was[2] in box_of([0] * 9)


def test_boxes_of_fiftyone_keep_their_keypoints(labels):
    answer = as_fiftyone(labels)
    chosen, removed, *_ = (a for a in answer["annotations"] if a.get("num_keypoints"))
    chosen["bbox"][2] += 1
    answer["annotations"].remove(removed)
    answer["annotations"].append({**removed, "bbox": [0, 0, 1, 1]})
    result = corrected(labels, [answer])["annotations"]
    points = {a["id"]: a["keypoints"] for a in labels["annotations"] if "keypoints" in a}
    assert [a["keypoints"] for a in result if a["bbox"] == chosen["bbox"]] == [points[chosen["id"]]]
    assert [a.get("keypoints") for a in result if a["bbox"] == [0, 0, 1, 1]] == [None]
    assert points[removed["id"]] not in [a.get("keypoints") for a in result]


def test_a_new_box_of_fiftyone_does_not_take_its_neighbours_keypoints(labels):
    answer = as_fiftyone(labels)
    old = next(a for a in answer["annotations"] if a.get("num_keypoints"))
    x, y, w, h = old["bbox"]
    new = {**old, "id": 999, "bbox": [x + w / 5, y, w, h]}
    answer["annotations"].insert(0, new)
    result = corrected(labels, [answer])["annotations"]
    points = {tuple(a["bbox"]): a.get("keypoints") for a in result if a["image_id"] == old["image_id"]}
    assert points[tuple(new["bbox"])] is None
    assert points[x, y, w, h] == next(a["keypoints"] for a in labels["annotations"] if a["id"] == old["id"])


def test_label_studio_corrections(labels):
    tasks = as_tasks(to_label_studio(labels, prefix=""))
    ids = {image["file_name"]: image["id"] for image in labels["images"]}
    emptied, moved, skipped, *_ = tasks
    emptied["annotations"][0]["result"] = []
    moved["annotations"].insert(0, {"result": [], "was_cancelled": True})
    width, height = (
        next(i for i in labels["images"] if i["file_name"] == moved["data"]["file_name"])[k]
        for k in ("width", "height")
    )
    new = {"type": "rectanglelabels", "id": "new", "value": {"x": 50, "y": 25, "width": 10, "height": 20}}
    new["value"] |= {"rotation": 0, "rectanglelabels": ["arrow"]}
    tip = {"type": "keypointlabels", "id": "tip", "value": {"x": 55, "y": 30, "keypointlabels": ["tip"]}}
    moved["annotations"][-1]["result"] = [new, tip]  # drawn by hand: without a parent
    skipped["annotations"] = []
    result = corrected(labels, [tasks])

    def of(task: dict) -> list:
        return [a for a in result["annotations"] if a["image_id"] == ids[task["data"]["file_name"]]]

    assert of(emptied) == []
    (only,) = of(moved)
    assert only["bbox"] == pytest.approx([width / 2, height / 4, width / 10, height / 5])
    assert only["keypoints"] == pytest.approx([0.55 * width, 0.3 * height, 2, 0, 0, 0, 0, 0, 0])
    assert only["num_keypoints"] == 1
    assert "score" not in only
    before = [a for a in labels["annotations"] if a["image_id"] == ids[skipped["data"]["file_name"]]]
    assert [a["score"] for a in of(skipped)] == [a["score"] for a in before]  # nobody has seen it


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 200.0, 315.0])
def test_a_turned_box_of_label_studio_is_the_one_around_it(labels, caplog, angle):
    """It turns about its upper left corner, clockwise."""
    task, *_ = as_tasks(to_label_studio(labels, prefix=""))
    image = next(i for i in labels["images"] if i["file_name"] == task["data"]["file_name"])
    sides = np.array([image["width"], image["height"]])
    corner, extent = sides * 0.4, sides * [0.1, 0.2]
    x, y, w, h = (100 * np.concatenate([corner / sides, extent / sides])).tolist()
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": angle, "rectanglelabels": ["arrow"]}
    task["annotations"][0]["result"] = [{"type": "rectanglelabels", "id": "a", "value": value}]
    result = corrected(labels, [[task]])["annotations"]
    (box,) = [a["bbox"] for a in result if a["image_id"] == image["id"]]
    turn = np.exp(1j * np.radians(angle))
    corners = [complex(*corner) + turn * (a * extent[0] + 1j * b * extent[1]) for a in (0, 1) for b in (0, 1)]
    points = np.array([[c.real, c.imag] for c in corners])
    assert np.allclose(box, [*points.min(0), *np.ptp(points, axis=0)])
    assert ("turns of boxes" in caplog.text) == bool(angle)


def test_keypoints_of_a_deleted_box_go_with_it_unless_it_is_drawn_anew(labels):
    """Label Studio keeps them where they were, below a region that is no more."""
    tasks = as_tasks(to_label_studio(labels, prefix=""))
    task = next(t for t in tasks if any("parentID" in r for r in t["predictions"][0]["result"]))
    orphans = [r for r in task["annotations"][0]["result"] if "parentID" in r]
    whole = {"x": 0, "y": 0, "width": 100, "height": 100, "rectanglelabels": ["arrow"]}
    other = {"id": "other", "type": "rectanglelabels", "value": whole}
    tip = {**orphans[0], "parentID": "other", "value": {"x": 50, "y": 50, "keypointlabels": ["tip"]}}
    for origin, visible in (("prediction", 1), ("manual", 3)):
        task["annotations"][0]["result"] = [{**other, "origin": origin}, *orphans, tip]
        (instance,) = corrected(labels, [[task]])["annotations"][-1:]
        assert instance["num_keypoints"] == visible
        size = next(i for i in labels["images"] if i["id"] == instance["image_id"])
        assert instance["keypoints"][:3] == [size["width"] / 2, size["height"] / 2, 2]  # its own


def test_coco_with_other_ids_and_folders_comes_home(labels):
    files = to_cvat(labels)
    answer = files["person_keypoints_default.json"]
    numbers = {image["id"]: 1000 + n for n, image in enumerate(answer["images"])}
    answer = {
        "images": [{"id": numbers[i["id"]], "file_name": f"set/{i['file_name']}"} for i in answer["images"]],
        "categories": [{"id": 1, "name": "arrow", "keypoints": ["right", "left", "tip"]}],
        "annotations": [
            {
                **{"id": a["id"], "image_id": numbers[a["image_id"]], "category_id": 1, "bbox": a["bbox"]},
                "keypoints": [*a["keypoints"][6:], *a["keypoints"][3:6], *a["keypoints"][:3]],
            }
            for a in answer["annotations"]
        ],
    }
    result = corrected(labels, [answer, files["instances_default.json"]])
    assert geometry(result) == geometry(labels)
    assert result["categories"] == labels["categories"]


def test_what_the_labels_do_not_have_is_refused(labels):
    image = {"id": 1, "file_name": labels["images"][0]["file_name"]}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "keypoints": [1, 1, 2]}

    def answer(name: str, keypoint: str = "tip", file_name: str = image["file_name"]) -> dict:
        category = {"id": 1, "name": name, "keypoints": [keypoint]}
        images = [image | {"file_name": file_name}]
        return {"images": images, "categories": [category], "annotations": [annotation]}

    assert corrected(labels, [answer("arrow")])["annotations"]
    for wrong, message in (
        *((answer("bow"), "no category 'bow'"), (answer("arrow", "string"), "no keypoint 'string'")),
        *((answer("arrow", file_name="x.png"), "'x.png'"), ({"a": 1}, "neither COCO")),
        ([{"image": image["file_name"], "instance": []}], "not JSON-MIN"),
        ({**answer("arrow"), "annotations": [{"category_id": 1, "image_id": 1}]}, "export the detections"),
    ):
        with pytest.raises(UserError, match=message):
            corrected(labels, [wrong])


def test_an_answer_on_images_of_another_size_is_refused(labels):
    [answer, *others] = as_cvat(labels)
    for width in (float(answer["images"][0]["width"]), "wide", 0, None):
        answer["images"][0]["width"], before = width, answer["images"][0]["width"]
        assert geometry(corrected(labels, [answer, *others])) == geometry(labels)
        answer["images"][0]["width"] = before
    answer["images"][0]["width"] *= 2
    with pytest.raises(UserError, match=r"is of \d+x\d+ pixels there, \d+x\d+ in the labels"):
        corrected(labels, [answer, *others])


def test_a_box_without_area_is_left_out_whatever_its_outline(labels):
    image, category = labels["images"][0], next(c for c in labels["categories"] if "keypoints" not in c)
    flat = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 0, 5]}
    answer = {
        "images": [{"id": 1, "file_name": image["file_name"]}],
        "categories": [{"id": 1, "name": category["name"]}],
        "annotations": [flat | {"segmentation": [[10, 10, 10, 10, 10, 15, 10, 15]]}],
    }
    result = corrected(labels, [answer])
    assert not [a for a in result["annotations"] if a["image_id"] == image["id"]]


def test_masks_are_objects_though_cvat_calls_them_crowds(labels):
    [answer, *others] = as_cvat(labels)
    for annotation in answer["annotations"]:
        annotation |= {"iscrowd": 1, "segmentation": {"counts": [0, 1], "size": [1, 1]}}
    assert geometry(corrected(labels, [answer, *others])) == geometry(labels)
    assert not any(a["iscrowd"] for a in corrected(labels, [answer, *others])["annotations"])


def test_the_program_makes_a_dataset(labels, labels_path, tmp_path):
    for tool, names in (
        ("cvat", {"instances_default.json", "person_keypoints_default.json", "labels.json"}),
        ("label-studio", {"tasks.json", "interface.xml"}),
    ):
        target = tmp_path / tool
        options = ["--labels", labels_path, "--output", target]
        assert warm.run("exchange_labels.py", "export", tool, *options).returncode == 0
        assert {file.name for file in target.iterdir()} == names
        again = warm.run("exchange_labels.py", "export", tool, *options)
        assert "is there already, and may be somebody's work; give a new folder" in again.stderr
    tasks = as_tasks({"tasks.json": json.loads((tmp_path / "label-studio/tasks.json").read_text())})
    write_json(tmp_path / "export.json", tasks)
    back = tmp_path / "corrected.json"
    options = ["--labels", labels_path, "--output", back]
    done = warm.run("exchange_labels.py", "import", tmp_path / "export.json", *options)
    assert done.returncode == 0
    assert yaml.safe_load(done.stdout) == {
        "corrected": {"kind": "coco", "images": labels["info"]["image_root"], "annotations": str(back)}
    }
    assert geometry(load_coco(str(back))) == geometry(labels)
    for read in (labels_path, tmp_path / "export.json"):
        before, options = read.read_bytes(), ["--labels", labels_path, "--output", read]
        done = warm.run("exchange_labels.py", "import", tmp_path / "export.json", *options)
        assert f"--output {read}: is read, and would be replaced" in done.stderr
        assert read.read_bytes() == before
    other = tmp_path / "other.json"  # labels of another set, say
    other.write_bytes(labels_path.read_bytes())
    options = ["--labels", labels_path, "--output", other]
    done = warm.run("exchange_labels.py", "import", tmp_path / "export.json", *options)
    assert f"{other}: is there already, and no file of corrected labels" in done.stderr
    assert other.read_bytes() == labels_path.read_bytes()
    tasks[1]["annotations"][0]["result"] = []  # seen, and now without an object
    write_json(tmp_path / "export.json", tasks)
    assert (
        warm.run(
            "exchange_labels.py", "import", tmp_path / "export.json", *options[:2], "--output", back
        ).returncode
        == 0
    )
    corrections = back.read_bytes()
    write_json(tmp_path / "export.json", [tasks[0], *tasks[2:]])
    done = warm.run("exchange_labels.py", "import", tmp_path / "export.json", *options[:2], "--output", back)
    assert f"{back}: has corrections that these files lack, of 1 images (first " in done.stderr
    assert back.read_bytes() == corrections
