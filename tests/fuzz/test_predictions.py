"""Other programs' predictions: edits of a sound file, and texts that are none."""

import json

import pytest

from distill.datasets.image_names import Images
from distill.predictions import consensus, given
from fuzz.harness import edited, judge, no_file, table, text_of
from helpers.options import merge_options

HAND = {"id": 1, "name": "hand", "keypoints": ["tip", "left_joint", "right_joint"]}
CATEGORIES = [HAND, {"id": 3, "name": "cup"}]
DATASET = {
    "images": [
        {"id": 1, "file_name": "a/0.png", "width": 40, "height": 30},
        {"id": 2, "file_name": "a/1.png", "width": 40, "height": 30},
        {"id": 7, "file_name": "b/1.png", "width": 60, "height": 50},
    ],
    "info": {"kind": "coco"},
}
POOL = {"images": [*DATASET["images"], {"id": 9, "file_name": "b/9.png", "width": 40, "height": 30}]}
CUP = {"image_id": 1, "category_id": 3, "bbox": [4, 5, 10, 12], "score": 0.9}
SOUND = [CUP, {**CUP, "image_id": 2, "score": 0.5}, {**CUP, "image_id": 7, "bbox": [41, 5, 10, 12]}]
POSED = [{**CUP, "category_id": 1, "keypoints": [5, 6, 0.5, 9, 9, 1, 0, 0, 0]}, CUP]
EDITS = """
=> ok [r["image_id"] for r in it] == [1, 2, 7]
# --- images ---
0.image_id = 3 => record 0 (from 0): image_id 3 is none of the 3 images; the first is 1, 'a/0.png'
2.image_id = 0 => record 2 (from 0): image_id 0 is none of the 3 images
1.image_id = 2.0 => ok len(it) == 3
1.image_id = 2.5 => record 1 (from 0): expected `int | str | null`, got `float` - at `$.image_id`
1.image_id = [2] => record 1 (from 0): expected `int | str | null`, got `array`
1.image_id = null => record 1 (from 0): says no image: neither image_id nor file_name
del 1.image_id => record 1 (from 0): says no image: neither image_id nor file_name
1.image_id = -1 => record 1 (from 0): image_id -1 is none of
1.image_id = 10**30 => record 1 (from 0): image_id 1000000000
1.image_id = "a/1.png" => ok [r["image_id"] for r in it] == [1, 2, 7]
1.image_id = "a/1" => ok [r["image_id"] for r in it] == [1, 2, 7]
0.image_id = "0" => ok [r["image_id"] for r in it] == [1, 2, 7]
0.image_id = "/data/a/0.png" => ok [r["image_id"] for r in it] == [1, 2, 7]
0.image_id = "/data/0.png" => ok [r["image_id"] for r in it] == [1, 2, 7]
1.image_id = "1.png" => record 1 (from 0): image_id '1.png' is none of
1.image_id = "c/1.png" => record 1 (from 0): image_id 'c/1.png' is none of
1.image_id = "" => record 1 (from 0): image_id '' is none of
1.image_id = 12345; 1.file_name = "a/1.png" => ok [r["image_id"] for r in it] == [1, 2, 7]
1.file_name = "nowhere.png" => record 1 (from 0): file_name 'nowhere.png' is none of
1.file_name = 5 => record 1 (from 0): expected `str | null`, got `int`
1.image_id = 9 => ok [r["image_id"] for r in it] == [1, 7]
1.image_id = "9.png" => ok [r["image_id"] for r in it] == [1, 7]
*.image_id = 9 => none of its 3 records is on an image of the dataset
# --- categories ---
1.category_id = 2 => record 1 (from 0): category_id 2 is no category of the labelled dataset, which has 1 hand, 3 cup
1.category_id = 0 => record 1 (from 0): category_id 0 is no category
1.category_id = "cup" => ok [r["category_id"] for r in it] == [3, 3, 3]
1.category_id = "mug" => record 1 (from 0): category_id 'mug' is no category
1.category_id = 3.0 => ok len(it) == 3
1.category_id = true => record 1 (from 0): expected `int | str`, got `bool`
del 1.category_id => record 1 (from 0): object missing required field `category_id`
# --- boxes ---
1.bbox = [0.1, 0.2, 0.3, nan] => record 1 (from 0): bbox [0.1, 0.2, 0.3, nan] is not four finite numbers
1.bbox = [0, 0, inf, 2] => is not four finite numbers
1.bbox = [0, 0, 1e300, 2] => record 1 (from 0): bbox [0, 0, 1e+300, 2] is not four finite numbers
1.bbox = [1, 2, 3] => record 1 (from 0): expected `array` of length 4
1.bbox = null => record 1 (from 0): expected `array`, got `null` - at `$.bbox`
1.bbox = [1, 2, "3", 4] => record 1 (from 0): expected `float`, got `str` - at `$.bbox[2]`
1.bbox = [30, 20, -10, 5] => record 1 (from 0): bbox [30, 20, -10, 5] has a negative size
1.bbox = [10, 10, 0, 5] => ok [r["image_id"] for r in it] == [1, 7]
1.bbox = [50, 5, 10, 12] => record 1 (from 0): bbox [50, 5, 10, 12] lies outside its image, 'a/1.png' of 40x30 pixels
1.bbox = [-5, 5, 10, 12] => ok it[1]["bbox"] == [0, 5, 5, 12]
*.bbox = [0.1, 0.2, 0.3, 0.4] => 3 of 3 boxes lie within one pixel: they look like fractions
*.bbox = [20, 20, 35, 28] => 2 of 3 boxes reach over the image's edge (the first: record 0 of image 1): they look like x1, y1, x2, y2
# --- scores ---
1.score = 87.5 => record 1 (from 0): score 87.5 is not from 0 to 1
*.score = 87.5 => record 0 (from 0): score 87.5 is not from 0 to 1 (and of 2 more records)
1.score = -0.1 => record 1 (from 0): score -0.1 is not from 0 to 1
1.score = nan => record 1 (from 0): score nan is not from 0 to 1
1.score = inf => record 1 (from 0): score inf is not from 0 to 1
1.score = null => record 1 (from 0): expected `float`, got `null` - at `$.score`
1.score = "0.5" => record 1 (from 0): expected `float`, got `str` - at `$.score`
1.score = 1 => ok it[1]["score"] == 1
del 1.score => record 1 (from 0): object missing required field `score`
# --- keypoints ---
1.keypoints = [1, 2, 0.5] => record 1 (from 0): has keypoints, but its category in the labelled dataset has none
1.category_id = 1 => ok len(it) == 3
1 = 5 => record 1 (from 0): expected `object`, got `int`
"""
OF_KEYPOINTS = """
=> ok it[0]["keypoints"] == [5, 6, 0.5, 9, 9, 1, 0, 0, 0] and "keypoints" not in it[1]
0.keypoints = [5, 6, 0.5] => record 0 (from 0): has 1 keypoints of x, y, score, not 3
0.keypoints = [5, 6, 0.5, 9] => record 0 (from 0): has 1.33333 keypoints of x, y, score, not 3
0.keypoints.3 = nan => record 0 (from 0): has keypoints that are no finite numbers
0.keypoints.2 = 2 => record 0 (from 0): a keypoint's score 2 is not from 0 to 1
0.keypoints.2 = -3.5 => record 0 (from 0): a keypoint's score -3.5 is not from 0 to 1
0.keypoints = [0.1, 0.2, 0.5, 0.3, 0.1, 1, 0, 0, 0] => keypoints lie within one pixel: they look like fractions
0.keypoints = [] => record 0 (from 0): has no keypoints, which are to be learnt
del 0.keypoints => record 0 (from 0): has no keypoints, which are to be learnt
1.category_id = 1 => record 1 (from 0): has no keypoints, which are to be learnt
"""
TEXTS = """
"" => not a JSON file
"{}" => is not a list of {image_id, category_id, bbox, score} (COCO results), nor an annotation file
json.dumps({"annotations": json.loads(t)}) => is no COCO annotation file: object missing required field `images`
"[]" => ok it == []
t[:50] => not a JSON file
"\\ufeff" + t => ok len(it) == 3
bytes(100) => not a JSON file
t.replace('"score"', '"score": 1, "score"') => ok
"[" * 100000 => not a JSON file
"""


def merged(tmp_path, text, posed=False):
    path = tmp_path / "yolo.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    images = Images(DATASET, [POOL])
    found = given.read(path, images, CATEGORIES, posed)
    return list(consensus.merge([found], images, CATEGORIES, merge_options()))


@pytest.mark.parametrize(("edits", "expected"), table(EDITS))
def test_a_record_that_is_wrong_is_named(tmp_path, edits, expected):
    judge(expected, lambda: merged(tmp_path, text_of(edited(SOUND, edits))), "yolo.json")


@pytest.mark.parametrize(("edits", "expected"), table(OF_KEYPOINTS))
def test_keypoints_that_are_wrong_are_named(tmp_path, edits, expected):
    judge(expected, lambda: merged(tmp_path, text_of(edited(POSED, edits)), posed=True), "yolo.json")


@pytest.mark.parametrize(("text", "expected"), table(TEXTS))
def test_the_text_of_a_file(tmp_path, text, expected):
    text = eval(text, {"t": text_of(SOUND), "json": json})
    judge(expected, lambda: merged(tmp_path, text), "yolo.json")


@pytest.mark.parametrize("what", ["pipe", "folder", "device", "nothing", "loop"])
def test_what_is_no_file(tmp_path, what):
    no_file(tmp_path / "yolo.json", what)
    message = {"nothing": "no such file", "loop": "cannot be read"}.get(what, "is not a file")
    judge(message, lambda: given.read(tmp_path / "yolo.json", Images(DATASET, []), CATEGORIES, False))


def test_a_number_that_is_an_id_and_a_name_is_neither(tmp_path):
    """Of images that the user has not numbered: a folder's 1.png, 10.png, 2.png have the ids 1, 2, 3."""
    sized = {"width": 40, "height": 30}
    images = [{"id": i, "file_name": f"{name}.png", **sized} for i, name in enumerate(("1", "10", "2"), 1)]
    for kind, expected in (
        ("folder", "record 1 (from 0): image_id 2 is the id of one image and"),
        ("coco", "ok"),
    ):
        known = Images({"images": images, "info": {"kind": kind}}, [])
        (tmp_path / "yolo.json").write_text(text_of([CUP, {**CUP, "image_id": 2}]))
        judge(expected, lambda known=known: given.read(tmp_path / "yolo.json", known, CATEGORIES, False))


def test_a_name_that_only_a_source_has_twice_is_none(tmp_path):
    """1.png of the pool may be either, whichever of the two the dataset has."""
    part = {"images": [DATASET["images"][1]]}
    (tmp_path / "yolo.json").write_text(text_of([{**CUP, "image_id": "1.png"}]))
    judge(
        "'1.png' is none", lambda: given.read(tmp_path / "yolo.json", Images(part, [POOL]), CATEGORIES, False)
    )
