"""Annotation files: what is repaired, and what is refused in one line."""

import json

import numpy as np
import pytest
from PIL import Image

from distill.datasets.keypoint_meta import keypoint_meta
from distill.program import UserError
from helpers.annotated import HAND, SEEN, Coco, ids, picture
from helpers.options import build


def test_a_sound_set_comes_through_with_hashes_and_pairs(coco):
    coco.data["images"].reverse()
    dataset = coco.build()
    assert ids(dataset) == [1, 2, 3, 4]
    assert set(dataset["images"][0]) == {"id", "file_name", "width", "height", "hash"}
    assert len({image["hash"] for image in dataset["images"]}) == 4
    assert dataset["info"]["image_root"] == str(coco.images)
    assert dataset["info"]["skipped"] == []
    assert dataset["info"]["repaired"] == {}
    assert dataset["annotations"] == coco.data["annotations"]
    assert dataset["categories"][0]["flip_pairs"] == [[1, 2]]


def test_pixels_that_are_counted_from_the_first_ones_centre_are_moved(coco):
    """The mirror image of pixel 0 of 40 is pixel 39, which w − x finds of points alone."""
    before = [list(a.get("keypoints", [])) for a in coco.data["annotations"]]
    after = coco.build(keypoint_origin="centre")["annotations"]
    for old, annotation in zip(before, after, strict=True):
        moved = np.reshape(annotation.get("keypoints", []), (-1, 3)) - np.reshape(old, (-1, 3))
        seen = np.reshape(old, (-1, 3))[:, 2:] > 0
        assert np.array_equal(moved, np.where(seen, [0.5, 0.5, 0], 0))
    assert [a["bbox"] for a in after] == [a["bbox"] for a in coco.data["annotations"]]


@pytest.mark.parametrize(
    ("where", "change", "message"),
    [
        ("images", {"file_name": None}, "image 2 has no file_name"),
        ("images", {"width": None}, "image 2 has no width"),
        ("images", {"width": 40.5}, "image 2: width 40.5 is not a positive whole number"),
        ("images", {"id": 1}, "image id 1 is there twice"),
        ("images", {"id": "2"}, "image id '2' is not a whole number"),
        ("images", {"id": True}, "image id True is not a whole number"),
        ("images", {"file_name": "0.png"}, "images 1 and 2 are the same file '0.png'"),
        (
            "images",
            {"file_name": "../1.png"},
            r"image 2: file_name '../1.png' leaves the image folder; names go on .* as '1.png'",
        ),
        ("images", {"file_name": "/etc/passwd"}, "image 2: file_name '/etc/passwd' leaves"),
        (
            "images",
            {"file_name": "nowhere.png"},
            "image 2, nowhere.png, no such file at .*/nowhere.png: mend",
        ),
        ("images", {"height": 31}, "image 2, 1.png, is 40x30 pixels, annotated as 40x31"),
        ("annotations", {"id": 1}, "annotation id 1 is there twice"),
        ("annotations", {"id": None}, "annotation id None is not a whole number"),
        ("annotations", {"image_id": None}, "annotation 2 has no image_id"),
        ("annotations", {"image_id": 99}, "annotation 2 is of the unknown image 99"),
        ("annotations", {"category_id": 7}, "annotation 2 is of the unknown category 7"),
        ("annotations", {"bbox": None}, "annotation 2 has no bbox"),
        ("annotations", {"bbox": [1, 2, 3]}, r"annotation 2 \(image 2\): bbox .* is not four finite numbers"),
        ("annotations", {"bbox": [1, 2, 3, float("nan")]}, "is not four finite numbers"),
        ("annotations", {"bbox": [1, 2, "3", 4]}, "is not four finite numbers"),
        ("annotations", {"bbox": [9, 9, -3, 4]}, "has a negative size"),
        ("annotations", {"bbox": [41, 9, 5, 5]}, "lies outside the image of 40x30 pixels"),
        ("annotations", {"area": -1}, "area -1 is not"),
        ("annotations", {"iscrowd": 2}, "iscrowd 2 is neither 0 nor 1"),
        ("annotations", {"keypoints": SEEN[:-1]}, "keypoints has length 8, 3 keypoints need 9"),
        ("annotations", {"keypoints": [*SEEN[:2], 3, *SEEN[3:]]}, "keypoint 0 has visibility 3"),
        ("annotations", {"keypoints": [float("inf"), *SEEN[1:]]}, "keypoint 0 is not at finite numbers"),
    ],
)
def test_contradictions_are_refused(coco, where, change, message):
    coco.data[where][1].update(change)
    assert coco.refused(message).startswith(f"dataset set: {coco.folder / 'annotations.json'}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "category 1 has no name"),
        ({"keypoints": ["a", "b", "a"]}, "keypoint 'a' is named twice"),
        ({"keypoints": "a,b,c"}, "keypoints is not a list of names"),
        ({"keypoints": []}, "annotation 1 .* has keypoints, but its category 'hand' does not name any"),
        ({"skeleton": [[0, 1]]}, "skeleton is not a list of pairs of keypoints counted from 1 to 3"),
        ({"flip_pairs": [[1, 3]]}, "flip_pairs is not a list of disjoint pairs"),
        ({"flip_pairs": [[0, 1], [1, 2]]}, "flip_pairs is not a list of disjoint pairs"),
        ({"sigmas": [0.1, 0.1]}, "sigmas is not a list of 3 positive numbers"),
    ],
)
def test_categories_are_checked(coco, change, message):
    coco.data["categories"][0].update(change)
    coco.refused(message)


def test_categories_that_disagree_are_refused(coco):
    coco.data["categories"].append({**HAND, "id": 2, "name": "paw", "keypoints": ["tip", "left", "right"]})
    coco.refused("categories 'hand' and 'paw' disagree on keypoints")
    coco.data["categories"][1] = {**HAND, "id": 2, "name": "paw", "flip_pairs": []}
    coco.refused("disagree on flip_pairs")
    coco.data["categories"][1] = {"id": 2, "name": "hand"}
    coco.refused("2 categories are called 'hand'")
    coco.data["categories"][1] = {"id": 2, "name": "face"}  # one without keypoints may be there
    assert keypoint_meta(coco.build()).names == tuple(HAND["keypoints"])


def test_a_message_says_how_many_more(coco):
    for annotation in coco.data["annotations"]:
        annotation["bbox"] = [1, 2, 3]
    assert coco.refused("annotation 1").endswith("(and 3 more such problems)")


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", '{"images": {}}', '{"images": []}', '{"images": [3]}'])
def test_what_is_no_annotation_file(coco, text):
    path = coco.folder / "bad.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"bad\.json"):
        build("x", {"kind": "coco", "images": str(coco.images), "annotations": str(path)}, {})


def test_symbolic_links_may_not_leave_the_image_folder(coco, tmp_path):
    picture(tmp_path / "secret.png", 9)
    (coco.images / "1.png").unlink()
    (coco.images / "1.png").symlink_to(tmp_path / "secret.png")
    coco.refused("image 2: '1.png' is a symbolic link out of")
    (coco.images / "1.png").unlink()
    (coco.images / "1.png").symlink_to(coco.images / "0.png")  # inside is fine
    (tmp_path / "link").symlink_to(coco.images)  # so is a link to the folder
    coco.images = tmp_path / "link"
    assert len(coco.build()["images"]) == 4


def test_repairs(coco):
    a, b, c, d = coco.data["annotations"]
    a.update(bbox=[-2, 4, 20, 40], area=1000, num_keypoints=17)
    b.update(bbox=[5, 5, 0, 8], keypoints=[0] * 9, num_keypoints=0)
    c.update(bbox=[30, 8, 10, 20], keypoints=[41, 10, 2, float("nan"), float("nan"), 0, 40, 30, 2])
    del c["area"], c["iscrowd"], c["num_keypoints"]
    d.update(
        iscrowd=1, segmentation={"counts": [3, 1197], "size": [30, 40]}, keypoints=[0] * 9, num_keypoints=0
    )
    dataset = coco.build()
    a, c, d = dataset["annotations"]
    assert a["bbox"] == [0, 4, 18, 26]
    assert a["area"] == 468
    assert a["num_keypoints"] == 2
    assert c["keypoints"] == [0, 0, 0, 0, 0, 0, 40, 30, 2]
    assert (c["num_keypoints"], c["area"], c["iscrowd"]) == (1, 200, 0)
    assert d["iscrowd"] == 1
    assert "segmentation" not in d
    assert dataset["info"]["repaired"] == {
        "boxes over the image's edge clipped": 1,
        "counts of keypoints corrected": 1,
        "boxes without area left out": 1,
        "keypoints outside the image taken as unlabelled": 1,
    }
    json.dumps(dataset, allow_nan=False)


def test_what_cvat_roboflow_and_converters_of_voc_write(coco):
    a, b, *_ = coco.data["annotations"]
    a.update(bbox=[10, 12, 12, 4], attributes={"rotation": 270.0}, area=48)
    b.update(ignore=1, iscrowd=0)
    name = coco.data["categories"][0]["name"]
    coco.data["categories"][0]["supercategory"] = name
    coco.data["categories"].insert(0, {"id": 0, "name": name, "supercategory": "none"})
    dataset = coco.build()
    assert dataset["annotations"][0]["bbox"] == pytest.approx([14, 8, 4, 12])
    assert dataset["annotations"][0]["area"] == 48
    assert [a["iscrowd"] for a in dataset["annotations"]][:2] == [0, 1]
    assert [c["id"] for c in dataset["categories"]] == [1]
    assert dataset["info"]["repaired"] == {
        "turned boxes replaced by those around them": 1,
        "annotations to ignore taken as crowd regions": 1,
    }
    b["attributes"], b["segmentation"] = {"rotation": 90}, [[4, 5, 14, 5, 9, 17]]  # an outline has its box
    assert coco.build()["annotations"][1]["bbox"] == b["bbox"]
    coco.data["categories"][0].pop("name")
    coco.refused("category 0 has no name")
    coco.data["categories"][0]["name"] = name
    coco.data["annotations"][2]["category_id"] = 0
    coco.refused("2 categories are called")


def test_what_tables_of_poses_put_for_nothing_is_nothing(coco):
    """Points at 0, 0, even if they are most of the file's, and points of a category that has none."""
    a, b, c, _ = coco.data["annotations"]
    coco.data["categories"].append({"id": 9, "name": "ball"})
    a.update(keypoints=[0, 0, 2, *SEEN[3:]], num_keypoints=2)
    b.update(category_id=9, keypoints=[0] * 6)
    c.update(keypoints=[0, 0, 2] * 3)
    dataset = coco.build()
    assert [x.get("num_keypoints") for x in dataset["annotations"]] == [1, None, 0, 2]
    assert dataset["info"]["repaired"]["keypoints at 0, 0 taken as unlabelled"] == 4
    for wrong in ([1, 1, 2], "junk", {"x": 1}, 5):
        b["keypoints"] = wrong
        coco.refused("annotation 2 .* has keypoints, but its category 'ball' does not name any")


def test_instances_without_a_box_are_no_background(coco):
    for annotation in coco.data["annotations"][:2]:
        annotation.update(bbox=[5, 5, 0, 0], keypoints=SEEN)
    coco.refused("2 instances with keypoints, but a box without area: give them boxes around the objects")
    coco.data["annotations"][:2] = [{**coco.data["annotations"][3], "id": i} for i in range(9, 250)]
    coco.data["annotations"][0].update(bbox=[5, 5, 0, 0], keypoints=SEEN)
    repaired = coco.build()["info"]["repaired"]  # COCO's own files may have a few
    assert repaired["instances with keypoints, but a box without area, left out"] == 1


@pytest.mark.parametrize("name", ["set/{}", "set\\\\{}", "set%2F{}"])
def test_images_that_are_elsewhere_are_said_once(coco, name):
    for image in coco.data["images"]:
        image["file_name"] = name.format(image["file_name"].upper())
    message = coco.refused("4 of its 4 images are not in ")
    assert message.endswith(f"the first is {name.format('0.PNG')!r}, there is '0.png'")


def test_an_area_of_0_is_that_of_the_box(coco):
    """OKS divides by it: no keypoint would ever be right."""
    a = coco.data["annotations"][1]
    a["area"] = 0
    dataset = coco.build()
    assert dataset["annotations"][1]["area"] == a["bbox"][2] * a["bbox"][3]
    assert dataset["info"]["repaired"] == {"areas of 0 replaced by those of the boxes": 1}


def test_scores_of_labels_stay(coco):
    """Of what comes back from other tools, where nobody has corrected it; `weight: score` reads them."""
    for annotation, score in zip(coco.data["annotations"], (0.25, 7, "high"), strict=False):
        annotation["score"] = score
    assert [a.get("score") for a in coco.build()["annotations"]][:3] == [0.25, None, None]


def test_annotation_ids_from_0_are_shifted(coco):
    """pycocotools counts a detection matched to annotation 0 as unmatched."""
    for annotation in coco.data["annotations"]:
        annotation["id"] -= 1
    assert [a["id"] for a in coco.build()["annotations"]] == [1, 2, 3, 4]


def test_images_that_hold_nothing_need_no_size(coco):
    coco.data["annotations"] = []
    for image in coco.data["images"]:
        del image["width"], image["height"]
    assert [(image["width"], image["height"]) for image in coco.build()["images"]] == [(40, 30)] * 4


def test_images_without_instances_stay(coco):
    coco.data["annotations"] = coco.data["annotations"][:1]
    assert ids(coco.build()) == [1, 2, 3, 4]


def test_unreadable_images(tmp_path):
    coco = Coco(tmp_path, images=10)
    (coco.images / "3.png").write_bytes((coco.images / "3.png").read_bytes()[:200])
    (coco.images / "7.png").unlink()
    assert "and 1 more" in coco.refused("image 4, 3.png, is damaged")
    coco.refused(
        "2 of 10 images cannot be read, .* `unreadable` allows; the first: 3.png", strip_annotations=True
    )
    coco.refused("2 of 10 images", strip_annotations=True, unreadable=0.19)
    dataset = coco.build(strip_annotations=True, unreadable=0.2)
    assert ids(dataset) == [1, 2, 3, 5, 6, 7, 9, 10]
    assert [image["file_name"] for image in dataset["info"]["skipped"]] == ["3.png", "7.png"]
    assert dataset["info"]["skipped"][1]["reason"] == "no such file"
    assert dataset["annotations"] == dataset["categories"] == []
    coco.data.pop("annotations")  # as in the lists of unlabelled images that COCO hands out
    assert coco.build(unreadable=0.2)["images"] == dataset["images"]
    for image in coco.images.iterdir():
        image.unlink()
    coco.refused("10 of 10 images cannot be read", unreadable=1)


@pytest.mark.parametrize("strip", [False, True])
def test_the_annotated_size_settles_exif_rotation(coco, strip):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(coco.images / "0.png").save(coco.images / "0.png", exif=exif)
    dataset = coco.build(strip_annotations=strip)  # annotated as stored
    assert (dataset["images"][0]["width"], dataset["images"][0]["height"]) == (40, 30)
    coco.data["images"][0] |= {"width": 30, "height": 40}  # annotated upright
    dataset = coco.build(strip_annotations=strip)
    assert (dataset["images"][0]["width"], dataset["images"][0]["height"]) == (30, 40)
    coco.data["images"][0] |= {"width": 60}
    if strip:  # nothing refers to the size: the true one will do
        assert coco.build(strip_annotations=True)["images"] == dataset["images"]
    else:
        coco.refused("is 30x40 pixels, annotated as 60x40")


def test_hidden_labels_are_not_even_read(coco):
    coco.data["annotations"][0]["bbox"] = "nonsense"
    assert ids(coco.build(strip_annotations=True)) == [1, 2, 3, 4]
