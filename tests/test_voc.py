"""Lists of PASCAL VOC as others write them."""

import pytest

from helpers.options import build
from helpers.others import voc


@pytest.mark.parametrize(
    "line",
    [
        "1",
        "1 -1",
        "1.jpg",
        "JPEGImages/1.jpg",
        "./JPEGImages/1.jpg",
        "JPEGImages/1.jpg Annotations/1.xml",
        "/data/VOC/Annotations/1.xml",
    ],
)
def test_lines_of_lists_may_have_folders_and_endings(tmp_path, line):
    path = voc(tmp_path)
    (path / "ImageSets/Main/train.txt").write_text(f"{line}\n")
    made = build("x", {"kind": "voc", "annotations": str(path), "split": "train"}, {})
    assert [image["file_name"] for image in made["images"]] == ["1.jpg"]


def test_points_in_names_and_spaces_are_of_the_name(tmp_path):
    path = voc(tmp_path)
    for old, new in (("1", "a.v1.2"), ("2", "a b")):
        (path / f"JPEGImages/{old}.jpg").rename(path / f"JPEGImages/{new}.jpg")
        (path / f"Annotations/{old}.xml").rename(path / f"Annotations/{new}.xml")
    (path / "ImageSets/Main/train.txt").write_text("a.v1.2\nJPEGImages/a b.jpg\n")
    made = build("x", {"kind": "voc", "annotations": str(path), "split": "train"}, {})
    assert [image["file_name"] for image in made["images"]] == ["a.v1.2.jpg", "a b.jpg"]
