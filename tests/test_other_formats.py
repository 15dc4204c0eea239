"""Datasets of YOLO and PASCAL VOC come in as they were meant; labels go out as YOLO programs read them."""

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from distill.datasets.kinds import build as build_spec
from distill.datasets.yolo import label_path
from distill.files import write_json
from distill.labels import yolo_export
from distill.program import UserError
from helpers import warm
from helpers.annotated import Coco, subset
from helpers.options import build, dataset_spec
from helpers.others import voc, yolo


def test_classes_and_images_of_yolo(tmp_path):
    path = yolo(tmp_path, kpt_shape=[3, 3], flip_idx=[0, 2, 1], kpt_names={0: ["tip", "l", "r"]})
    dataset = build("x", {"kind": "yolo", "annotations": str(path)}, {})
    assert [(c["id"], c["name"], c["keypoints"]) for c in dataset["categories"]] == [
        (0, "hand", ["tip", "l", "r"]),
        (1, "cup", ["tip", "l", "r"]),
    ]
    assert dataset["info"]["image_root"] == str(tmp_path / "train/images")
    assert [(i["id"], i["file_name"], i["width"]) for i in dataset["images"]] == [
        (1, "0.png", 40),
        (2, "1.png", 40),
        (3, "2.png", 40),
    ]
    first = dataset["annotations"][0]
    assert (first["id"], first["category_id"], first["num_keypoints"]) == (1, 0, 2)
    bare = build("x", {"kind": "yolo", "annotations": str(path), "strip_annotations": True}, {})
    assert (len(bare["images"]), bare["categories"]) == (3, [])


def test_what_a_data_yaml_says_of_other_things_is_not_read(tmp_path):
    path = yolo(tmp_path)
    whole = build("x", {"kind": "yolo", "annotations": str(path)}, {})
    path.write_text(f"{path.read_text()}\ndate: 2024-01-05\nversion: 1_0\n")
    assert build("x", {"kind": "yolo", "annotations": str(path)}, {}) == whole
    labels = tmp_path / "train/labels/0.txt"
    labels.write_text("0 .5 .5 .1 .2\n0 .5 .5 -.005 .2\n")
    with pytest.raises(UserError, match=r"0.txt, line 2: its width or height is negative, -0.005 and 0.2"):
        build("x", {"kind": "yolo", "annotations": str(path)}, {})


def test_images_of_yolo_are_in_the_order_in_which_people_count(tmp_path):
    made = build("x", {"kind": "yolo", "annotations": str(yolo(tmp_path, images=12))}, {})
    assert [image["file_name"] for image in made["images"]] == [f"{i}.png" for i in range(12)]


def test_poses_without_a_mirror_are_told_apart_by_their_names(tmp_path, caplog):
    path = yolo(tmp_path, kpt_shape=[3, 3], kpt_names={0: ["tip", "left", "right"]})
    dataset = build("x", {"kind": "yolo", "annotations": str(path)}, {})
    assert dataset["categories"][0]["flip_pairs"] == [[1, 2]]
    assert "no flip_idx; in a mirror only keypoints change places whose kpt_names say so" in caplog.text


def test_classes_of_voc_are_those_of_all_splits(tmp_path):
    path = voc(tmp_path)
    whole = build("x", {"kind": "voc", "annotations": str(path)}, {})
    train = build("x", {"kind": "voc", "annotations": str(path), "split": "train"}, {})
    assert whole["categories"] == train["categories"] == [{"id": 1, "name": "cup"}, {"id": 2, "name": "hand"}]
    assert [image["file_name"] for image in train["images"]] == ["0.jpg", "2.jpg"]
    assert [(a["category_id"], a["iscrowd"]) for a in whole["annotations"]] == [
        (2, 0),
        (2, 0),
        (1, 1),
        (2, 0),
    ]
    assert whole["info"]["image_root"] == str(tmp_path / "JPEGImages")


def test_names_number_the_classes_of_folders_that_do_not_show_them_all(tmp_path):
    spec = {"kind": "voc", "annotations": str(voc(tmp_path))}
    made = build("x", {**spec, "names": ["hand", "dog", "cup"]}, {})
    assert [(each["id"], each["name"]) for each in made["categories"]] == [
        (1, "hand"),
        (2, "dog"),
        (3, "cup"),
    ]
    assert {a["category_id"] for a in made["annotations"]} == {1, 3}
    with pytest.raises(UserError, match=r"Annotations/1\.xml: 'cup' is none of `names`, 'hand'$"):
        build("x", {**spec, "names": ["hand"]}, {})


@pytest.mark.parametrize("size", [(40, 30), (30, 40)])
def test_the_size_of_an_image_that_voc_does_not_state_is_the_upright_one(tmp_path, size):
    path = voc(tmp_path)
    xml = path / "Annotations/0.xml"
    xml.write_text(re.sub("<size>.*</size>", "", xml.read_text()))
    turned = Image.new("RGB", size)
    turned.getexif()[0x0112] = 6
    turned.save(path / "JPEGImages/0.jpg", exif=turned.getexif())
    image = build("x", {"kind": "voc", "annotations": str(path)}, {})["images"][0]
    assert (image["width"], image["height"]) == size[::-1]


def test_xml_files_of_voc_may_be_beside_the_images_or_in_folders(tmp_path):
    path = voc(tmp_path / "voc")
    apart = build("x", {"kind": "voc", "annotations": str(path)}, {})
    for name in ("Annotations", "JPEGImages"):
        shutil.copytree(path / name, tmp_path / "nested" / name / "some")
    nested = build("x", {"kind": "voc", "annotations": str(tmp_path / "nested")}, {})
    assert [image["file_name"] for image in nested["images"]] == ["some/0.jpg", "some/1.jpg", "some/2.jpg"]
    assert nested["annotations"] == apart["annotations"]
    (tmp_path / "beside").mkdir()
    for file in [*path.glob("JPEGImages/*"), *path.glob("Annotations/*")]:
        file.rename(tmp_path / "beside" / file.name)
    beside = build("x", {"kind": "voc", "annotations": str(tmp_path / "beside")}, {})
    assert beside["info"]["image_root"] == str(tmp_path / "beside")
    assert {**beside, "info": None} == {**apart, "info": None}


def test_boxes_over_the_edge_are_cut_whatever_their_number(tmp_path):
    """In COCO's own format, so many would be taken for corners."""
    path = voc(tmp_path / "voc")
    for xml in path.glob("Annotations/*"):
        xml.write_text(re.sub("<xmax>[0-9]+</xmax>", "<xmax>45</xmax>", xml.read_text()))
    of_yolo = yolo(tmp_path / "yolo")
    for label in (tmp_path / "yolo").rglob("*.txt"):
        label.write_text("0 0.9 0.5 0.4 0.2\n")
    for kind, annotations in {"voc": path, "yolo": of_yolo}.items():
        split = {"split": "train"} if kind == "yolo" else {}
        made = build("x", {"kind": kind, "annotations": str(annotations), **split}, {})["annotations"]
        assert {a["bbox"][0] + a["bbox"][2] for a in made} == {40}


@pytest.mark.parametrize(("edit", "first"), [(1, 1), (0, 0), (0.5, 0)])
def test_corners_of_voc_are_pixels_unless_they_cannot_be(tmp_path, edit, first):
    """A corner at 0, or fractions in most boxes, are edges that are counted from 0."""
    path = voc(tmp_path)
    for xml in path.glob("Annotations/*"):
        xml.write_text(re.sub("<xmin>[0-9]+</xmin>", f"<xmin>{edit}</xmin>", xml.read_text()))
    for a in build("x", {"kind": "voc", "annotations": str(path)}, {})["annotations"]:
        assert a["bbox"][0] == edit - first


def test_other_words_of_voc_and_other_names_of_its_folders(tmp_path):
    path = voc(tmp_path)
    whole = build("x", {"kind": "voc", "annotations": str(path)}, {})
    for xml in path.glob("Annotations/*"):
        text = xml.read_text().replace("<difficult>1", "<difficult>True")
        text = text.replace("<difficult>0", "<difficult>Unspecified")
        xml.write_text(re.sub("<width>.*</width>", "<width></width>", text))
    (path / "Annotations").rename(path / "annotations")
    (path / "JPEGImages").rename(path / "images")
    other = build("x", {"kind": "voc", "annotations": str(path)}, {})
    assert other["annotations"] == whole["annotations"]
    assert other["images"] == whole["images"]


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Datasets of 5 labelled, 4 validation images and 8 with labels, of poses."""
    folder = tmp_path_factory.mktemp("figures")
    spec = dataset_spec("figures", images=17, size=[96, 72])
    dataset = build_spec("all", spec, {}, folder / "images")
    write_json(folder / "all.json", dataset)
    cut = {"labelled": [0, 0.3], "labels": [0.3, 0.77], "val": [0.77, 1]}
    return {
        name: build("x", {"kind": "subset", "of": "all", "range": part}, {"all": dataset})
        for name, part in cut.items()
    }


def test_what_is_exported_comes_back(figures, tmp_path):
    """Boxes and keypoints to a thousandth of a pixel; the lists in 6:4."""
    yolo_export.export(**figures, ratio=(6, 4), output=tmp_path / "yolo")
    data = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())
    assert data["kpt_shape"] == [17, 3]
    lines = (tmp_path / "yolo/train.txt").read_text().split()
    counts = Counter(line.split("/")[2] for line in lines)
    assert counts == {"labelled": 12, "generated": 8}
    assert set(Counter(lines).values()) == {1, 2, 3}
    back = {
        split: build(
            "x", {"kind": "yolo", "annotations": str(tmp_path / "yolo/data.yaml"), "split": split}, {}
        )
        for split in ("train", "val")
    }
    assert len(back["train"]["images"]) == 13
    for name, there in figures.items():
        here = back["val" if name == "val" else "train"]
        hashes = {image["hash"]: image["id"] for image in here["images"]}
        for image in there["images"]:
            mine = [a for a in here["annotations"] if a["image_id"] == hashes[image["hash"]]]
            theirs = [a for a in there["annotations"] if a["image_id"] == image["id"]]
            assert np.allclose([a["bbox"] for a in mine], [a["bbox"] for a in theirs], atol=1e-3)
            assert np.allclose([a["keypoints"] for a in mine], [a["keypoints"] for a in theirs], atol=1e-3)
    assert back["train"]["categories"][0]["keypoints"] == figures["labelled"]["categories"][0]["keypoints"]
    assert back["train"]["categories"][0]["flip_pairs"] == figures["labelled"]["categories"][0]["flip_pairs"]


@pytest.mark.parametrize(
    ("sizes", "ratio"), [((5, 8), (6, 4)), ((50, 3), (6, 4)), ((7, 7), (1, 1)), ((1, 9), (3, 1))]
)
def test_an_epoch_is_in_the_ratio_and_has_every_image(sizes, ratio):
    parts = [[f"{part}{i}" for i in range(size)] for part, size in zip("ab", sizes, strict=True)]
    counts = Counter(yolo_export.interleaved(parts, ratio))
    assert set(counts) == {*parts[0], *parts[1]}
    total = [sum(counts[name] for name in part) for part in parts]
    assert abs(total[0] / sum(total) - ratio[0] / sum(ratio)) < 0.02
    for part in parts:
        times = {counts[name] for name in part}
        assert max(times) - min(times) <= 1
    assert yolo_export.interleaved([[], ["b"]], ratio) == ["b"]


def test_names_that_would_share_a_file_of_labels_are_kept_apart(tmp_path):
    coco = Coco(tmp_path / "coco")
    for old, new in (("1.png", "0.jpg"), ("2.png", "images/x.png")):
        (coco.images / new).parent.mkdir(exist_ok=True)
        (coco.images / old).rename(coco.images / new)
        coco.data["images"][int(old[0])]["file_name"] = new
    coco.data["annotations"][3]["iscrowd"] = 1
    dataset = coco.build()
    parts = {name: subset(dataset, range=part) for name, part in (("labels", [0, 0.5]), ("val", [0.5, 1]))}
    yolo_export.export(parts["labels"], parts["labels"], parts["val"], (6, 4), tmp_path / "out")
    for file in ("train.txt", "val.txt"):
        for line in (tmp_path / "out" / file).read_text().split():
            assert (tmp_path / "out" / line).is_file()
            label = label_path(str(tmp_path / "out" / line))
            assert len(Path(label).read_text().split()) == (0 if line.endswith("3.png") else 14)
    with pytest.raises(UserError, match="is not empty"):
        yolo_export.export(parts["labels"], parts["labels"], parts["val"], (6, 4), tmp_path / "out")


def test_classes_are_those_of_all_parts(tmp_path):
    """A validation set may show one category more."""
    part = Coco(tmp_path / "coco").build()
    more = {**part, "categories": [{"id": 9, "name": "emu"}, *part["categories"]]}
    yolo_export.export(part, part, more, (6, 4), tmp_path / "out")
    names = yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"]
    assert list(names.values()) == [*(category["name"] for category in part["categories"]), "emu"]


def test_no_image_takes_the_labels_of_another(tmp_path):
    """a.png, the third, would be a-3.png beside a.jpg, and have the labels of a-3.jpg."""
    coco = Coco(tmp_path / "coco", images=3)
    for image, new in zip(coco.data["images"], ("a-3.jpg", "a.jpg", "a.png"), strict=True):
        (coco.images / image["file_name"]).rename(coco.images / new)
        image["file_name"] = new
    part = coco.build()
    assert {image["file_name"]: image["id"] for image in part["images"]}["a.png"] == 3
    yolo_export.export(part, part, part, (6, 4), tmp_path / "out")
    assert len(list((tmp_path / "out/labels/val").iterdir())) == 3


def test_an_export_into_this_folder_has_its_labels_where_others_look(figures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yolo_export.export(**figures, ratio=(6, 4), output=Path("."))
    assert len(list(tmp_path.glob("labels/*/*.txt"))) == len(list(tmp_path.glob("images/*/*"))) == 17


def test_images_that_other_programs_turn_are_not_exported_as_they_are_stored(tmp_path):
    coco = Coco(tmp_path, images=2)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(coco.images / "0.png").save(coco.images / "0.png", exif=exif)
    parts = dict.fromkeys(("labels", "labelled", "val"), coco.build())
    with pytest.raises(
        UserError, match=r"0\.png: is annotated as it is stored, while other programs turn it"
    ):
        yolo_export.export(**parts, ratio=(6, 4), output=tmp_path / "out")
    write_json(tmp_path / "labels.json", parts["labels"])
    options = ("--labels", tmp_path / "labels.json", "--output", tmp_path / "tasks")
    done = warm.run("exchange_labels.py", "export", "label-studio", *options)
    assert "0.png: is annotated as it is stored" in done.stderr


def test_what_cannot_be_exported_is_named(figures, tmp_path):
    other = {**figures["val"], "categories": [{"id": 1, "name": "dog"}]}
    with pytest.raises(
        UserError, match="the categories of val, dog, are none of those of the labelled images"
    ):
        yolo_export.export(**{**figures, "val": other}, ratio=(6, 4), output=tmp_path / "a")
    image = {**figures["val"]["images"][0], "file_name": "a.gif"}
    with pytest.raises(UserError, match=r"YOLO programs read no \.gif images, as a\.gif; convert them"):
        yolo_export.export(
            **{**figures, "val": {**figures["val"], "images": [image], "annotations": []}},
            ratio=(6, 4),
            output=tmp_path / "b",
        )
    image["file_name"] = "gone.png"
    with pytest.raises(UserError, match=r"gone\.png: no such file"):
        yolo_export.export(
            **{**figures, "val": {**figures["val"], "images": [image], "annotations": []}},
            ratio=(6, 4),
            output=tmp_path / "c",
        )
