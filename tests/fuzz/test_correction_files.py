"""Files of corrections: two of them, what is none, unusual names there and back; what comes out is a dataset."""

from copy import deepcopy

import pytest

from distill.files import write_json
from distill.labels.corrections import corrected
from distill.labels.exchange import to_cvat, to_label_studio
from distill.strict import read_json
from fuzz.harness import judge
from helpers.answers import COCO, LABELS, TASKS
from helpers.options import build


@pytest.mark.parametrize("content", [None, 3, "x", {}, {"images": []}, True, []], ids=str)
def test_what_is_no_export(content):
    judge("a.json: ", lambda: corrected(LABELS, {"a.json": content}))


HANDS = {**COCO, "annotations": COCO["annotations"][:1]}
FACES = {**COCO, "annotations": COCO["annotations"][1:]}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (COCO, COCO, "b.json: '1.png' is corrected in a.json too; give one of the two files"),
        (TASKS, TASKS, "b.json: '1.png' is corrected in a.json too"),
        (TASKS, HANDS, "b.json: '1.png' is corrected in a.json too"),
        (HANDS, COCO, "b.json: '1.png' is corrected in a.json too"),
        (HANDS, FACES, "ok len(it['annotations']) == 2"),
        (TASKS[:1], TASKS[1:], "ok len(it['annotations']) == 2"),
        (HANDS, {"images": 3}, "b.json: neither COCO"),
    ],
)
def test_two_files(one, other, expected):
    judge(expected, lambda: corrected(LABELS, {"a.json": one, "b.json": other}))


NAMES = [
    "a b",
    "ü",
    "no\u00a0break",
    "\U0001f600",
    "<b>&amp;",
    "a\"b'c",
    "a/b",
    "%20",
    "#1",
    "?q=1",
    "a\\b",
    "{{$X:1}}",
    "..",
    "-x",
    "日本",
]


@pytest.mark.parametrize("name", NAMES)
def test_unusual_names_there_and_back(tmp_path, name):
    """Of an image in a folder, a category and a keypoint; through files, as the tools write them."""
    labels = deepcopy(LABELS)
    labels["images"][0]["file_name"] = f"in {name}/{name}.png"
    labels["categories"][0] |= {"name": name, "keypoints": [f"left {name}", f"right {name}"]}
    studio, cvat = to_label_studio(labels, prefix="/data/?d="), to_cvat(labels)
    tasks = deepcopy(studio["tasks.json"])
    for task in tasks:
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    coco = {n: c for n, c in cvat.items() if n != "labels.json"}
    for files in ({"tasks.json": tasks}, coco):
        for file, content in files.items():
            write_json(tmp_path / file, content)
        back = corrected(labels, {file: read_json(tmp_path / file) for file in files})
        assert sorted(a["image_id"] for a in back["annotations"]) == [1, 2]
        for was, now in zip(
            labels["annotations"], sorted(back["annotations"], key=lambda a: a["image_id"]), strict=True
        ):
            assert now["bbox"] == pytest.approx(was["bbox"])
            assert now.get("keypoints") == was.get("keypoints")
            assert now["category_id"] == was["category_id"]


def test_a_corrected_file_is_a_dataset(tmp_path):
    """It goes through the checks of annotation files."""
    from PIL import Image

    for image in LABELS["images"]:
        Image.new("RGB", (200, 100), (image["id"], 0, 0)).save(tmp_path / image["file_name"])
    write_json(tmp_path / "corrected.json", corrected(LABELS, {"a.json": COCO}))
    spec = {"kind": "coco", "images": str(tmp_path), "annotations": str(tmp_path / "corrected.json")}
    judge("ok len(it['annotations']) == 2 and it['info']['repaired'] == {}", lambda: build("x", spec, {}))
