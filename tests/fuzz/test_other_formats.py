"""Datasets of YOLO and of PASCAL VOC: edits of sound ones, and files that are none."""

import os

import pytest
import yaml

from fuzz.harness import edited, judge, no_file, table
from helpers.options import build
from helpers.others import OBJECT, annotation, voc, yolo

DATA = """
=> ok [c["name"] for c in it["categories"]] == ["hand", "cup"] and len(it["annotations"]) == 3
names = ["hand", "cup"] => ok it["categories"][1] == {"id": 1, "name": "cup"}
names = null => names must be a list of the classes
names = [] => names must be a list of the classes
names = {1: "hand", 2: "cup"} => names must be numbered from 0 to 1, each once; there is no number 0
names = {0: "hand", 2: "cup"} => each once; there is no number 1
names = {"0": "hand", "1": "cup"} => names must be numbered from 0 to 1
names = [0, 1] => ok [c["name"] for c in it["categories"]] == ["0", "1"]
names = ["hand", 0.5] => names: class 1 is called 0.5; a name is a line of text
del names; nc = 3 => ok [c["name"] for c in it["categories"]] == ["class_0", "class_1", "class_2"]
del names; nc = 0 => names must be a list of the classes
del names; nc = "2" => names must be a list of the classes
del names; nc = 1e9 => names must be a list of the classes
names = ["hand", "a\\nb"] => names: class 1 is called 'a\\nb'; a name is a line of text
names = ["hand", ""] => names: class 1 is called ''; a name
names = ["hand", "hand"] => 2 categories are called 'hand'
nc = 3 => nc is 3, but there are 2 names
nc = 2 => ok
del train => has no train; there is no split
del train; val = "train/images" => has no train; there is val
train = "nowhere" => train: there is neither a folder nor a file
train = 3 => train: 3 is not the path of a folder or of a list of images
train = ["train/images", "train/images"] => ok len(it["images"]) == 3
train = ["train/images", null] => train: None is not the path
train = "../train/images" => ok len(it["images"]) == 3
path = "elsewhere" => ok len(it["images"]) == 3
path = 3 => path: 3 is not the path of a folder
train = "list.txt" => ok [i["file_name"] for i in it["images"]] == ["0.png", "1.png"]
train = "empty.txt" => lists no image
train = "nul.txt" => nul.txt: 'a\\x00b.png' is not the path of an image
train = "wrong.txt" => images/9.png, no such file
train = "train/labels" => no images in this folder
download = "import os\\nos.abort()" => ok
kpt_shape = [3, 3] => line 1: 5 numbers, not 14
kpt_shape = [3] => kpt_shape is [3], not [keypoints, 2 or 3]
kpt_shape = [3, 4] => kpt_shape is [3, 4], not
kpt_shape = "3, 3" => kpt_shape is '3, 3', not
kpt_shape = [3, 3]; flip_idx = [0, 1] => flip_idx must say of each of 3 keypoints
kpt_shape = [3, 3]; flip_idx = [1, 2, 0] => flip_idx must say of each of 3 keypoints
kpt_shape = [3, 3]; flip_idx = [0, 1, 7] => flip_idx must say of each of 3 keypoints
kpt_shape = [3, 3]; kpt_names = ["tip"] => kpt_names are not the names of 3 keypoints
"""
LABELS = """
"0 0.35 0.4 0.5 0.4" => ok it["annotations"][0]["bbox"] == [4, 6, 20, 12]
"" => ok len(it["annotations"]) == 2
"0 0.35 0.4 0.5 0.4\\n0 0.35 0.40 0.5 0.4" => ok len(it["annotations"]) == 3 and it["info"]["repaired"] == {"labels written twice taken once": 1}
"0 0.35 0.4 0.5 0.4\\n1 0.35 0.4 0.5 0.4" => ok len(it["annotations"]) == 4
"0 0.35 0.4 0.5" => 0.txt, line 1: 4 numbers, not 5
"\\n1 0.5 0.5 1 1\\n0 0.5 0.5 2 0.1" => 0.txt, line 3: 2 is not a fraction of the image, from 0 to 1
"0 14 12 20 12" => line 1: 14 is not a fraction
"0 -0.35 0.4 0.5 0.4" => line 1: -0.35 is not a fraction
"0 0.35 0.4 nan 0.4" => line 1: nan is not a fraction
"2 0.35 0.4 0.5 0.4" => line 1: there is no class 2; classes are 0 to 1
"-1 0.35 0.4 0.5 0.4" => line 1: there is no class -1
"0.5 0.35 0.4 0.5 0.4" => line 1: there is no class 0.5
"nan 0.35 0.4 0.5 0.4" => line 1: there is no class nan
"1.0 0.35 0.4 0.5 0.4" => ok it["annotations"][0]["category_id"] == 1
"hand 0.35 0.4 0.5 0.4" => line 1: 'hand 0.35 0.4 0.5 0.4' are not numbers
"0, 0.35, 0.4, 0.5, 0.4" => are not numbers
"0 0.1 0.2 0.6 0.2 0.6 0.6 0.1 0.6" => ok it["annotations"][0]["bbox"] == [4, 6, 20, 12]
"0 0.35 0.4 0.5 0" => ok it["info"]["repaired"] == {"boxes without area left out": 1}
"0 0.005 0.4 0.02 0.4" => ok it["annotations"][0]["bbox"][0] == 0
"\\0\\0" => line 1
b"\\xff\\xfe\\x00" => 0.txt, line 1: is not in UTF-8
"""
POSED = """
=> ok it["annotations"][0]["keypoints"] == [10, 9, 2, 20, 15, 1, 0, 0, 0] and "flip_pairs" in it["categories"][0]
"0 0.35 0.4 0.5 0.4" => line 1: 5 numbers, not 14
"0 0.35 0.4 0.5 0.4 0.25 0.3 3 0.5 0.5 1 0 0 0" => line 1: a keypoint's visibility is 3, not 0, 1 or 2
"0 0.35 0.4 0.5 0.4 10 9 2 0.5 0.5 1 0 0 0" => line 1: a visible keypoint is not at fractions of the image
"0 0.35 0.4 0.5 0.4 0.25 0.3 nan 0.5 0.5 1 0 0 0" => line 1: a keypoint's visibility is nan
"""
XML = """
a(o()) => ok it["annotations"][0]["bbox"] == [4, 6, 20, 12]
a(o(box=(1, 1, 40, 30))) => ok it["annotations"][0]["bbox"] == [0, 0, 40, 30]
a(o(box=(0, 0, 40, 30))) => ok it["annotations"][0]["bbox"] == [0, 0, 40, 30]
a("") => ok len(it["annotations"]) == 3
a(o(difficult=1)) => ok it["annotations"][0]["iscrowd"] == 1
a(o(difficult=2)) => 0.xml, object 1: difficult is '2', not 0 or 1
a(o(box=(24, 7, 5, 18))) => 0.xml, object 1: bndbox 24, 7, 5, 18 has its corners the wrong way round
a(o(box=("x", 7, 5, 18))) => 0.xml, object 1: bndbox/xmin is 'x', not a number
a(o(box=("nan", 7, 5, 18))) => 0.xml, object 1: bndbox/xmin is 'nan', not a number
a(o(box=(51, 7, 60, 18))) => lies outside the image of 40x30 pixels
a(o(name="")) => 0.xml, object 1: its name '' is not a line of text
a(o() + "<object><name>cup</name></object>") => 0.xml, object 2: has no bndbox/xmin
a(o().replace("<name>hand</name>", "")) => 0.xml, object 1: its name ''
a(o(), size=(41, 30)) => image 1, 0.jpg, is 40x30 pixels, annotated as 41x30
a(o(), size=(0, 0)) => ok it["images"][0]["width"] == 40
a(o(), size=("x", 30)) => 0.xml: size/width is 'x', not a number
a(o()).replace("<size>", "<sizes>").replace("</size>", "</sizes>") => ok it["images"][0]["width"] == 40
a(o())[:50] => 0.xml: not an XML file
"" => 0.xml: not an XML file
"{}" => 0.xml: not an XML file
"<html></html>" => 0.xml: not an annotation of PASCAL VOC; its element is <html>
"<!DOCTYPE a [" + laughs + "]>" + a("&i;") => 0.xml: has a DOCTYPE, by which a few lines may stand for terabytes
("<!DOCTYPE a [" + laughs + "]>" + a("&i;")).encode("utf-16") => 0.xml: has a DOCTYPE
'<!DOCTYPE a SYSTEM "file:///etc/passwd">' + a(o()) => 0.xml: has a DOCTYPE
'<!DOCTYPE a [<!ENTITY i SYSTEM "file:///etc/passwd">]>' + a(o(name="&i;")) => 0.xml: has a DOCTYPE
'<?xml version="1.0" encoding="x-none"?>' + a(o()) => 0.xml: not an XML file
"<a>" * 100000 => 0.xml: not an XML file
"""
LAUGHS = '<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def made(kind, path, **options):
    return build("x", {"kind": kind, "annotations": str(path), **options}, {})


@pytest.mark.parametrize(("edits", "expected"), table(DATA))
def test_a_data_yaml(tmp_path, edits, expected):
    path = yolo(tmp_path)
    (tmp_path / "list.txt").write_text(f"./train/images/1.png\n\n{tmp_path}/train/images/0.png\n" * 2)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "nul.txt").write_text("a\0b.png")
    (tmp_path / "wrong.txt").write_text("train/images/0.png\nimages/9.png\n")
    path.write_text(yaml.safe_dump(edited(yaml.safe_load(path.read_text()), edits)))
    judge(expected, lambda: made("yolo", path))


@pytest.mark.parametrize(("text", "expected"), table(LABELS))
def test_a_file_of_labels(tmp_path, text, expected):
    path, text = yolo(tmp_path), eval(text)
    (tmp_path / "train/labels/0.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    judge(expected, lambda: made("yolo", path))


@pytest.mark.parametrize(("text", "expected"), table(POSED))
def test_a_file_of_poses(tmp_path, text, expected):
    path = yolo(tmp_path, kpt_shape=[3, 3], flip_idx=[0, 2, 1])
    if text:
        (tmp_path / "train/labels/0.txt").write_text(eval(text))
    judge(expected, lambda: made("yolo", path))


@pytest.mark.parametrize(("text", "expected"), table(XML))
def test_an_annotation_of_voc(tmp_path, text, expected):
    voc(tmp_path)

    def an_object(name="hand", difficult=0, box=(5, 7, 24, 18)):
        return OBJECT.format(name=name, difficult=difficult, box=box)

    text = eval(text, {"a": annotation, "o": an_object, "laughs": LAUGHS})
    (tmp_path / "Annotations/0.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    judge(expected, lambda: made("voc", tmp_path))


@pytest.mark.parametrize(
    ("split", "edit", "message"),
    [
        ("val", None, "there is no list val.txt in ImageSets/Main"),
        ("train", lambda folder: (folder / "Annotations/2.xml").unlink(), "'2' has no XML file"),
        (None, lambda folder: (folder / "JPEGImages/2.jpg").unlink(), "JPEGImages: there is no image for "),
        (
            None,
            lambda folder: os.link(folder / "JPEGImages/1.jpg", folder / "JPEGImages/2.png"),
            "there are several images 2.jpg, 2.png for ",
        ),
        (None, lambda folder: [path.unlink() for path in folder.glob("*/*.xml")], "no annotations in this"),
    ],
)
def test_a_folder_of_voc(tmp_path, split, edit, message):
    if edit is not None:
        edit(voc(tmp_path))
    else:
        voc(tmp_path)
    judge(message, lambda: made("voc", tmp_path, **({"split": split} if split else {})))


@pytest.mark.parametrize("what", ["pipe", "folder", "device", "loop", "nothing"])
def test_what_is_no_file(tmp_path, what):
    path = yolo(tmp_path / "yolo")
    voc(tmp_path / "voc")
    for kind, file in (("yolo", path), ("yolo", path.parent / "train/labels/0.txt")):
        file.unlink()
        no_file(file, what)
        expected = {"nothing": "no such file", "loop": "cannot be read"}.get(what, "is not a file")
        if what == "nothing" and file != path:
            expected = "ok len(it['annotations']) == 2"  # an image without objects
        judge(expected, lambda kind=kind, path=path: made(kind, path))
        if file == path:
            if what == "folder":
                file.rmdir()
            else:
                file.unlink(missing_ok=True)
            path = yolo(tmp_path / "yolo")
    (tmp_path / "voc/Annotations/0.xml").unlink()
    no_file(tmp_path / "voc/Annotations/0.xml", what)
    if what not in ("folder", "nothing"):
        expected = {"loop": "cannot be read"}.get(what, "is not a file")
        judge(expected, lambda: made("voc", tmp_path / "voc"))
