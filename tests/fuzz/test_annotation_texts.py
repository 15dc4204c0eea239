"""Annotation files: texts that are none, or not as others write them, and what is no file."""

import json
import os

import pytest

from fuzz.harness import judge, no_file, table, text_of
from helpers.annotated import made
from helpers.options import build

# Of a sound file's text t.
TEXTS = """
"" => not a JSON file
" " => not a JSON file
t[:-1] => not a JSON file
t[: len(t) // 2] => not a JSON file
'{"info": "NaNcy", ' + t[1:-1] => not a JSON file (Expecting ',' delimiter
t + "x" => not a JSON file
t + t => not a JSON file
"[" + t + "]" => needs an object with a list "images"
"null" => needs an object with a list "images"
"3" => needs an object with a list "images"
json.dumps(t) => needs an object with a list "images"
t.replace(",", ",,", 1) => not a JSON file
t.replace('"', "'") => not a JSON file
t.replace(":", ":NaN;", 1) => not a JSON file
t[:-1] + ', "annotations": []}' => the key 'annotations' is there twice
t[:-1] + ', "images": []}' => the key 'images' is there twice
t.replace('"id": 2,', '"id": 2, "id": 7,', 1) => the key 'id' is there twice, in the object of id 2
t.replace('"bbox"', '"bbox": [1, 2, 3, 4], "bbox"', 1) => the key 'bbox' is there twice, in the object of id 1
t.replace("40,", "4" * 5000 + ",", 1) => not a JSON file
t.replace("40,", "4" * 400 + ",", 1) => is not a positive whole number
t.replace("40,", "1e999,", 1) => width inf is not a positive whole number
t.replace("40,", "-0,", 1) => width 0 is not a positive whole number
t[:-1] + ', "x": ' + "[" * 100000 => nested too deeply
t[:-1] + ', "x": ' + "[" * 5000 + "]" * 5000 + "}" => nested too deeply
t[:-1] + ', "x": ' + '{"a":' * 5000 + "1" + "}" * 5001 => nested too deeply
t[:-1] + ', "x": ' + "[" * 700 + "]" * 700 + "}" => ok
t.replace('"bbox": [4', '"bbox": [' + "[" * 700 + "]" * 700 + ", 4", 1) => is not four finite numbers
t.replace('"image_id": 2', '"image_id": ' + "[" * 700 + "]" * 700, 1) => is of the unknown image [
t.replace('"file_name": "1.png"', '"file_name": ' + "[" * 700 + "]" * 700, 1) => is not a file name
"\\ufeff" + t => ok len(it["images"]) == 4
t.encode("utf-16") => ok len(it["images"]) == 4
t.encode("utf-32") => ok len(it["images"]) == 4
t.replace("hand", "caf\\u00e9").encode("latin-1") => not a JSON file
t.replace("hand", "caf\\u00e9").encode("utf-8") => ok it["categories"][0]["name"] == "caf\\u00e9"
t.replace("hand", "\\U0001f590") => ok it["categories"][0]["name"] == "\\U0001f590"
t.replace("hand", '\\\\ud83d\\\\udd90') => ok it["categories"][0]["name"] == "\\U0001f590"
t.replace("hand", '\\\\ud83d') => half of a character
t.encode().replace(b"hand", b"\\xff\\xfe") => not a JSON file
bytes(1000) => not a JSON file
"\\x89PNG\\r\\n\\x1a\\n" => not a JSON file
"<annotation><filename>1.png</filename></annotation>" => not a JSON file
"0 0.5 0.5 0.2 0.2" => not a JSON file
"// a comment\\n" + t => not a JSON file
t.replace("}", ",}", 1) => not a JSON file
t.replace(" ", "\\n" * 1000, 3) => ok len(it["images"]) == 4
"""


@pytest.mark.parametrize(("text", "expected"), table(TEXTS))
def test_the_text_of_a_file(sound, text, expected):
    judge(expected, made(sound, eval(text, {"t": text_of(sound.data), "json": json})), "annotations.json")


@pytest.mark.parametrize("what", ["pipe", "socket", "folder", "device", "nothing", "loop", "forbidden name"])
def test_what_is_no_file(sound, tmp_path, what):
    path = tmp_path / "annotations.json"
    if what == "forbidden name":
        path = tmp_path / ("x" * 300)
    no_file(path, what)
    message = {"nothing": "no such file", "loop": "", "forbidden name": "cannot be read"}
    for spec in (
        {"kind": "coco", "images": str(sound.images), "annotations": str(path)},
        {"kind": "subset", "of": "all", "ids": str(path)},
        {"kind": "subset", "of": "all", "ids": f"{path}.txt"},
    ):
        if spec.get("ids", "").endswith(".txt") and what in ("pipe", "socket", "folder", "device"):
            os.replace(path, f"{path}.txt")
        source = {"info": {"image_root": "."}, "images": [], "annotations": [], "categories": []}
        judge(message.get(what, "is not a file"), lambda spec=spec, s=source: build("x", spec, {"all": s}))
