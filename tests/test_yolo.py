"""What is silently lost in other programs' files of YOLO, or taken for something else, is said."""

import unicodedata

import numpy as np
import pytest

from distill.datasets.yolo_labels import refuse_keypoints
from distill.program import UserError
from helpers.options import build
from helpers.others import yolo


def made(path):
    return build("x", {"kind": "yolo", "annotations": str(path)}, {})


def test_images_without_a_file_of_labels_and_files_without_an_image(tmp_path, caplog):
    path, labels = yolo(tmp_path), tmp_path / "train/labels"
    caplog.set_level("INFO")
    (labels / "classes.txt").write_text("hand\ncup\n")
    (labels / "2.txt").unlink()
    made(path)
    said = {r.message: r.levelname for r in caplog.records}
    assert said[f"{tmp_path}/train/images: 1 of 3 images have no label file and count as empty"] == "INFO"
    caplog.clear()
    (labels / "7.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    made(path)
    warned = [r.message for r in caplog.records if r.levelname == "WARNING"]
    lost = f"1 label files belong to no image (the first is {labels}/7.txt)"
    assert warned == [f"{tmp_path}/train/images: 1 of 3 images have no label file and count as empty; {lost}"]


def test_labels_of_another_split_in_the_same_folder_are_not_lost(tmp_path, caplog):
    path = yolo(tmp_path, train="list.txt")
    (tmp_path / "list.txt").write_text("train/images/1.png\n")
    assert len(made(path)["annotations"]) == 1
    assert "belong to no image" not in caplog.text


@pytest.mark.parametrize("kinds", [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_that_a_mac_spells_otherwise_find_their_labels(tmp_path, kinds):
    path = yolo(tmp_path)
    for place, kind in zip(("images/1.png", "labels/1.txt"), kinds, strict=True):
        file = tmp_path / "train" / place
        file.rename(file.with_stem(unicodedata.normalize(kind, "caf\u00e9")))
    assert len(made(path)["annotations"]) == 3


def test_keypoints_without_their_shape_are_no_outlines(tmp_path):
    path = yolo(tmp_path)
    for n, label in enumerate(sorted(tmp_path.rglob("*.txt"))):
        x = 0.4 + n / 10
        label.write_text(f"0 {x} 0.5 0.2 0.2 {x} 0.42 {n} 0.45 0.58 2\n")
    with pytest.raises(
        UserError, match=r"images: label files look like keypoints, .* `kpt_shape: \[2, 3\]` in"
    ):
        made(path)
    path = yolo(tmp_path, kpt_shape=[2, 3], flip_idx=[0, 1])
    for n, label in enumerate(sorted(tmp_path.rglob("*.txt"))):
        x = 0.4 + n / 10
        label.write_text(f"0 {x} 0.5 0.2 0.2 {x} 0.42 {n} 0.45 0.58 2\n")
    assert [a["num_keypoints"] for a in made(path)["annotations"]] == [1, 2, 2]


def written(folder, lines):
    (folder / "a.txt").write_text("".join(f"0 {' '.join(map(str, line))}\n" for line in lines.tolist()))
    return [str(folder / "a.txt")]


@pytest.mark.parametrize("corners", [5, 6, 8, 11, 16])
@pytest.mark.parametrize("side", [0.02, 0.1, 0.3])
def test_outlines_of_one_length_are_outlines(tmp_path, corners, side):
    """Small ones, whose points all lie in the box that the first four numbers would make."""
    rng = np.random.default_rng(0)
    angles = 2 * np.pi * (np.arange(corners) / corners + rng.random((200, 1)))
    shape = np.stack([np.cos(angles), np.sin(angles)], 2) * rng.uniform(0.2, 1, (200, 1, 2)) * side / 2
    for low, high in ((0.2, 0.8), (0.45, 0.55), (0.2, 0.4)):
        lines = (shape + rng.uniform(low, high, (200, 1, 2))).reshape(200, -1)
        refuse_keypoints("x", written(tmp_path, lines))
        refuse_keypoints("x", written(tmp_path, lines[:1]))
