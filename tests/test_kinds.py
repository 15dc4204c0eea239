"""The kinds of dataset: what they give; their statistics, and images in two of them."""

from pathlib import Path

import pytest

from distill.datasets.keypoint_meta import COCO_KEYPOINTS, keypoint_meta
from distill.datasets.stats import describe
from distill.files import write_json
from distill.program import UserError
from helpers.annotated import Coco, picture, subset
from helpers.options import build

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


def test_folder(tmp_path):
    for i, name in enumerate(["b.png", "sub/a.png", "a.jpg"]):
        picture(tmp_path / name, i)
    (tmp_path / "a2.jpg").write_text("no image")
    spec = {"kind": "folder", "images": str(tmp_path), "unreadable": 0.25}
    dataset = build("pile", spec, {})
    assert [(i["id"], i["file_name"]) for i in dataset["images"]] == [
        (1, "a.jpg"),
        (3, "b.png"),
        (4, "sub/a.png"),
    ]
    assert dataset["info"]["skipped"] == [
        {"file_name": "a2.jpg", "reason": "is not an image of a known format"}
    ]
    assert (dataset["annotations"], dataset["categories"]) == ([], [])


def test_unknown_kinds_and_keys():
    with pytest.raises(UserError, match="dataset x: unknown kind 'zip'; there are coco, yolo, voc, folder"):
        build("x", {"kind": "zip"}, {})
    with pytest.raises(UserError, match="dataset x: kind coco needs annotations, images"):
        build("x", {"kind": "coco"}, {})


def test_figures(tmp_path):
    spec = {"kind": "figures", "images": 3, "seed": 4, "size": [96, 72]}
    one, two = (build("f", spec, {}, tmp_path / name) for name in ("a", "b"))
    assert one["images"] == two["images"]
    assert one["annotations"] == two["annotations"]
    assert keypoint_meta(one).names == COCO_KEYPOINTS
    assert all((tmp_path / "a" / image["file_name"]).is_file() for image in one["images"])
    with pytest.raises(UserError, match="--images"):
        build("f", spec, {})


def test_same_config_same_bytes(tmp_path):
    coco = Coco(tmp_path, images=20)
    for name in ("one.json", "two.json"):
        part = subset(coco.build(), fraction=0.4, seed=3)
        write_json(tmp_path / name, part)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real data is not here")
@pytest.mark.parametrize(
    ("images", "annotations", "expected"),
    [
        ("bccd/images", "bccd/annotations.json", (364, 4886, 0)),
        ("coco_pose/images", "coco_pose/annotations.json", (303, 1131, 17)),
        ("coco_pose/unlabeled_images", "coco_pose/unlabeled.json", (465, 0, 17)),
        ("mirror_mouse/images", "mirror_mouse/annotations_views.json", (90, 180, 7)),
    ],
)
def test_real_data(images, annotations, expected):
    spec = {"kind": "coco", "images": str(REAL / images), "annotations": str(REAL / annotations)}
    dataset = build("real", spec, {})
    meta = keypoint_meta(dataset)
    assert (len(dataset["images"]), len(dataset["annotations"]), len(meta.names) if meta else 0) == expected
    assert dataset["info"]["repaired"] == {}
    if dataset["annotations"]:
        assert describe(dataset)["instances"] + describe(dataset)["crowds"] == expected[1]


def test_statistics(coco):
    _, b, c, d = coco.data["annotations"]
    b.update(image_id=1, keypoints=[0] * 9, num_keypoints=0)
    c.update(iscrowd=1)
    d.update(keypoints=[1, 1, 1, 0, 0, 0, 0, 0, 0], num_keypoints=1)
    dataset = coco.build()
    for annotation, area in zip(dataset["annotations"][1::2], (32**2, 96**2), strict=True):
        annotation["area"] = area
    stats = describe(dataset)
    assert stats["images"] == 4
    assert (stats["instances"], stats["crowds"]) == (3, 1)
    assert stats["instances_per_image"] == 0.75
    assert stats["images_without_instances"] == 2  # one has nothing, one a crowd only
    assert stats["keypoints_per_instance"] == 1.5  # of the two instances that have any
    assert stats["areas"] == {"small": 1, "medium": 1, "large": 1}
    assert stats["categories"] == [{"id": 1, "name": "hand", "instances": 3, "instances_per_image": 0.75}]
