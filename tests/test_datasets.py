"""The kinds of dataset: what they give, what they repair and what they refuse in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.dataset_stats import check_splits, describe
from distill.datasets import build, keypoint_meta, shard
from distill.files import write_json
from distill.keypoint_meta import COCO_KEYPOINTS, derive_flip_pairs
from distill.program import UserError

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
HAND = {
    "id": 1,
    "name": "hand",
    "keypoints": ["tip", "left_joint", "right_joint"],
    "skeleton": [[1, 2], [1, 3]],
}
SEEN = [10, 10, 2, 5, 6, 1, 0, 0, 0]


def picture(path, seed, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


class Coco:
    """A small annotated set on disk that a test can spoil."""

    def __init__(self, folder, images=4, first=0, category=HAND):
        self.folder, self.images = folder, folder / "images"
        self.data = {"images": [], "annotations": [], "categories": [json.loads(json.dumps(category))]}
        for i in range(first, first + images):
            picture(self.images / f"{i}.png", i)
            self.data["images"].append({"id": i + 1, "file_name": f"{i}.png", "width": 40, "height": 30})
            self.data["annotations"].append(
                {
                    "id": i + 1, "image_id": i + 1, "category_id": 1, "iscrowd": 0, "area": 60,
                    "bbox": [4, 5, 10, 12], "keypoints": SEEN, "num_keypoints": 2,
                }
            )  # fmt: skip

    def build(self, name="set", **options):
        path = self.folder / "annotations.json"
        path.write_text(json.dumps(self.data))
        spec = {"kind": "coco", "images": str(self.images), "annotations": str(path), **options}
        return build(name, spec, {})

    def refused(self, match, **options):
        with pytest.raises(UserError, match=match) as caught:
            self.build(**options)
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def coco(tmp_path):
    return Coco(tmp_path / "coco")


def subset(source, **spec):
    sources = spec.pop("sources", {})
    return build("part", {"kind": "subset", "of": "set", **spec}, {"set": source, **sources})


def union(*members, **spec):
    names = [f"m{i}" for i in range(len(members))]
    return build("both", {"kind": "union", "of": names, **spec}, dict(zip(names, members, strict=True)))


def ids(dataset):
    return [image["id"] for image in dataset["images"]]


# --- coco ---


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
        ("images", {"file_name": "../1.png"}, r"image 2: file_name '../1.png' leaves the image folder"),
        ("images", {"file_name": "/etc/passwd"}, "image 2: file_name '/etc/passwd' leaves"),
        ("images", {"file_name": "nowhere.png"}, "image 2, nowhere.png, no such file"),
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
    a.update(bbox=[-2, 20, 10, 20], area=1000, num_keypoints=17)
    b.update(bbox=[5, 5, 0, 8])
    c.update(keypoints=[41, 10, 2, float("nan"), float("nan"), 0, 40, 30, 2])
    del c["area"], c["iscrowd"], c["num_keypoints"]
    d.update(
        iscrowd=1, segmentation={"counts": [3, 1197], "size": [30, 40]}, keypoints=[0] * 9, num_keypoints=0
    )
    dataset = coco.build()
    a, c, d = dataset["annotations"]
    assert a["bbox"] == [0, 20, 8, 10]
    assert a["area"] == 80
    assert a["num_keypoints"] == 2
    assert c["keypoints"] == [0, 0, 0, 0, 0, 0, 40, 30, 2]
    assert (c["num_keypoints"], c["area"], c["iscrowd"]) == (1, 120, 0)
    assert d["iscrowd"] == 1
    assert "segmentation" not in d
    assert dataset["info"]["repaired"] == {
        "boxes over the image's edge clipped": 1,
        "counts of keypoints corrected": 1,
        "boxes without area left out": 1,
        "keypoints outside the image taken as unlabelled": 1,
    }
    json.dumps(dataset, allow_nan=False)


def test_annotation_ids_from_0_are_shifted(coco):
    """pycocotools counts a detection matched to annotation 0 as unmatched."""
    for annotation in coco.data["annotations"]:
        annotation["id"] -= 1
    assert [a["id"] for a in coco.build()["annotations"]] == [1, 2, 3, 4]


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


# --- keypoint definitions ---


def test_sigmas():
    from pycocotools.cocoeval import Params

    person = {"id": 1, "name": "person", "keypoints": list(COCO_KEYPOINTS), "skeleton": [[16, 14]]}
    meta = keypoint_meta({"categories": [person]})  # as COCO's own files have it: without flip_pairs
    assert meta.sigmas == pytest.approx(Params("keypoints").kpt_oks_sigmas)
    assert meta.flip_pairs == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
    assert meta.flip_indices == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    assert meta.skeleton == ((15, 13),)
    assert keypoint_meta({"categories": [HAND]}).sigmas == (0.05, 0.05, 0.05)
    assert keypoint_meta({"categories": [{**HAND, "sigmas": [0.1, 0.2, 0.3]}]}).sigmas == (0.1, 0.2, 0.3)
    assert keypoint_meta({"categories": [{"id": 1, "name": "cell"}]}) is None


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_eye", "right_eye"), ("eye_left", "eye_right"), ("Left Eye", "Right Eye"), ("LEFT1", "RIGHT1"),
        ("lefteye", "righteye"), ("l_eye", "r_eye"), ("eye.L", "eye.R"), ("LEye", "REye"), ("eyeL", "eyeR"),
        ("front_left_paw", "front_right_paw"), ("L1", "R1"), ("fore_l_ankle", "fore_r_ankle"),
    ],
)  # fmt: skip
def test_pairs_are_derived_from_names(left, right):
    assert derive_flip_pairs(["nose", right, "tail", left]) == [[3, 1]]


def test_names_that_only_look_like_sides_are_left_alone():
    assert derive_flip_pairs(["left_eye", "upright", "bright", "tail", "Tair", "limb", "rimb", "eyel"]) == []


# --- folder, subset, union ---


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


def test_random_subsets(tmp_path):
    whole = Coco(tmp_path, images=20).build()
    tenth, half = subset(whole, fraction=0.1), subset(whole, fraction=0.5)
    assert len(tenth["images"]) == 2
    assert len(half["images"]) == 10
    assert set(ids(tenth)) < set(ids(half))  # one seed: nested
    assert {a["image_id"] for a in half["annotations"]} == set(ids(half))
    assert half["categories"] == whole["categories"]
    assert ids(subset(whole, images=10)) == ids(half) == sorted(ids(half))
    assert ids(subset(whole, images=10, seed=1)) != ids(half)
    rest = subset(whole, exclude="half", sources={"half": half}, strip_annotations=True)
    assert sorted(ids(rest) + ids(half)) == ids(whole)
    assert (rest["annotations"], rest["categories"]) == ([], [])
    assert ids(subset(whole, strip_annotations=True)) == ids(whole)
    quarter = subset(whole, exclude=["half"], fraction=0.5, sources={"half": half})
    assert len(quarter["images"]) == 5  # of what remains
    assert not set(ids(quarter)) & set(ids(half))
    shuffled = {**whole, "images": whole["images"][::-1]}
    assert ids(subset(shuffled, images=10)) == ids(half)  # whatever the order


def test_exclude_is_by_content(tmp_path):
    whole = Coco(tmp_path / "a").build()
    copies = tmp_path / "b"
    copies.mkdir()
    (copies / "other.png").write_bytes((tmp_path / "a/images/2.png").read_bytes())
    other = build("pile", {"kind": "folder", "images": str(copies)}, {})
    assert ids(subset(whole, exclude="pile", sources={"pile": other})) == [1, 2, 4]


def test_ranges_part_a_set_in_its_order(tmp_path):
    whole = Coco(tmp_path, images=7).build()
    first, second = subset(whole, range=[0, 0.5]), subset(whole, range=[0.5, 1])
    assert (ids(first), ids(second)) == ([1, 2, 3, 4], [5, 6, 7])
    assert set(ids(subset(whole, range=[0, 0.5], images=2))) < set(ids(first))


def test_listed_subsets(tmp_path):
    whole = Coco(tmp_path, images=12).build()
    path = tmp_path / "ids.txt"
    path.write_text("# four of them\n3.png\n\n10 # an id, not the file 10.png\n12\n0\n")
    assert ids(subset(whole, ids=str(path))) == [1, 4, 10, 12]
    assert ids(subset(whole, ids=["0.png", 12])) == [1, 12]
    path.write_text("3.png\n77\n78\n")
    with pytest.raises(UserError, match=r"ids.txt: '77' is no image of set \(and 1 more such problems\)"):
        subset(whole, ids=str(path))
    with pytest.raises(UserError, match=r"gone.txt: no such file"):
        subset(whole, ids=str(tmp_path / "gone.txt"))


def test_the_images_of_another_annotation_file(tmp_path):
    """co-80 is train2014 within train2017: the same ids, other file names."""
    whole = Coco(tmp_path, images=12).build()
    path = tmp_path / "instances_train2014.json"
    path.write_text(json.dumps({"images": [{"id": i, "file_name": f"COCO_{i}.jpg"} for i in (2, 5)]}))
    old = subset(whole, ids=str(path))
    assert ids(old) == [2, 5]
    new = subset(whole, exclude="old", sources={"old": old})
    assert sorted(ids(old) + ids(new)) == ids(whole)
    path.write_text(json.dumps({"images": [{"id": 13}]}))
    with pytest.raises(UserError, match=r"train2014.json: '13' is no image of set"):
        subset(whole, ids=str(path))
    path.write_text("[]")
    with pytest.raises(UserError, match=r"train2014.json: not a COCO annotation file"):
        subset(whole, ids=str(path))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"fraction": 0.5, "images": 2}, "one of fraction and images"),
        ({"fraction": 0}, "fraction 0"),
        ({"fraction": 0.01}, "cannot draw 0 of 4"),
        ({"images": 5}, "cannot draw 5 of 4"),
        ({"range": [0.5, 0.5]}, "range"),
        ({"exclude": "nobody"}, "refers to the dataset nobody"),
        ({"exclude": "set"}, "no image is left"),
        ({"fractoin": 0.5}, "kind subset has no fractoin"),
    ],
)
def test_subsets_that_make_no_sense(coco, spec, message):
    with pytest.raises(UserError, match=message):
        subset(coco.build(), **spec)


def test_union(tmp_path):
    one = Coco(tmp_path / "a").build()
    two = Coco(tmp_path / "b", images=3, first=3).build()  # its first image is the last of the other
    both = union(one, two)
    assert both["info"]["image_root"] == str(tmp_path)
    names = [f"a/images/{i}.png" for i in range(4)] + ["b/images/4.png", "b/images/5.png"]
    assert [image["file_name"] for image in both["images"]] == names
    assert all((tmp_path / name).is_file() for name in names)
    assert ids(both) == [1, 2, 3, 4, 5, 6]
    assert [(a["id"], a["image_id"]) for a in both["annotations"]] == [(i, i) for i in range(1, 7)]


def test_union_shifts_ids_that_collide(tmp_path):
    one = Coco(tmp_path / "a").build()
    other = Coco(tmp_path / "b", images=2, first=10)
    for i in (0, 1):
        other.data["images"][i]["id"] = other.data["annotations"][i]["image_id"] = i + 4
        other.data["annotations"][i] |= {"id": i + 3, "area": 10 + i}
    both = union(one, other.build())
    assert ids(both) == [1, 2, 3, 4, 5, 6]
    assert [a["id"] for a in both["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert [(a["image_id"], a["area"]) for a in both["annotations"][4:]] == [(5, 10), (6, 11)]


def test_union_of_overlapping_parts_is_the_whole(coco):
    whole = coco.build()
    parts = subset(whole, range=[0, 0.75]), subset(whole, range=[0.25, 1])
    both = union(*parts)
    for key in ("images", "annotations", "categories"):
        assert both[key] == whole[key]
    assert both["info"]["image_root"] == whole["info"]["image_root"]


def test_union_of_sets_that_disagree_is_refused(tmp_path):
    one = Coco(tmp_path / "a").build()
    with pytest.raises(UserError, match=r"m0 and m1 have different categories: 1 hand; 1 paw"):
        union(one, Coco(tmp_path / "b", first=10, category={**HAND, "name": "paw"}).build())
    renamed = {**HAND, "keypoints": ["tip", "left_knuckle", "right_knuckle"]}
    other = Coco(tmp_path / "c", first=20, category=renamed).build()
    with pytest.raises(UserError, match="m0 and m1 disagree on keypoints of category 'hand'"):
        union(one, other)
    with pytest.raises(UserError, match="an unlabelled member would count"):
        union(one, subset(one, images=2, strip_annotations=True))
    assert len(union(one, other, strip_annotations=True)["images"]) == 8


def test_union_of_relative_and_absolute_folders(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for i, folder in enumerate(["a", "../b", tmp_path / "c"]):
        picture(Path(folder) / f"{i}.png", i)
    a, b, c = (build("x", {"kind": "folder", "images": str(f)}, {}) for f in ("a", "../b", tmp_path / "c"))
    picture(Path("d/0.png"), 7)
    assert union(a, build("d", {"kind": "folder", "images": "d"}, {}))["info"]["image_root"] == "."
    for members in ((a, b), (b, c), (a, b, c)):
        both = union(*members)
        assert len(both["images"]) == len(members)
        for image in both["images"]:
            assert ".." not in image["file_name"]
            assert Path(both["info"]["image_root"], image["file_name"]).is_file()


def test_unknown_kinds_and_keys():
    with pytest.raises(UserError, match="dataset x: unknown kind 'zip'; there are coco, folder"):
        build("x", {"kind": "zip"}, {})
    with pytest.raises(UserError, match="dataset x: kind coco needs annotations, images"):
        build("x", {"kind": "coco"}, {})


def test_shards_part_a_list():
    items = list(range(10))
    assert [shard(items, s, 4) for s in range(4)] == [[0, 1], [2, 3, 4], [5, 6], [7, 8, 9]]
    assert [shard([1], s, 3) for s in range(3)] == [[], [], [1]]


# --- figures and real data ---


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
        ("coco_pose/unlabeled_images", "coco_pose/unlabeled.json", (465, 0, 0)),
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


# --- statistics and leaks ---


def test_statistics(coco):
    _, b, c, d = coco.data["annotations"]
    b.update(image_id=1, keypoints=[0] * 9, num_keypoints=0, area=32**2)
    c.update(iscrowd=1)
    d.update(area=96**2, keypoints=[1, 1, 1, 0, 0, 0, 0, 0, 0], num_keypoints=1)
    stats = describe(coco.build())
    assert stats["images"] == 4
    assert (stats["instances"], stats["crowds"]) == (3, 1)
    assert stats["instances_per_image"] == 0.75
    assert stats["images_without_instances"] == 2  # one has nothing, one a crowd only
    assert stats["keypoints_per_instance"] == 1.5  # of the two instances that have any
    assert stats["areas"] == {"small": 1, "medium": 1, "large": 1}
    assert stats["categories"] == [{"id": 1, "name": "hand", "instances": 3, "instances_per_image": 0.75}]


def test_a_validation_image_in_a_training_set_is_refused(tmp_path):
    val = Coco(tmp_path / "val", images=2).build()
    train = Coco(tmp_path / "train", images=2, first=2).build()
    leak = Coco(tmp_path / "leak", images=3, first=1).build()
    assert check_splits("val", val, {"train": train}) == {
        "validation": {"val": 2},
        "training": {"train": 2},
        "shared": 0,
    }
    with pytest.raises(UserError) as caught:
        check_splits("val", val, {"train": train, "leak": leak})
    message = str(caught.value)
    assert f"{tmp_path}/val/images/1.png" in message
    assert f"{tmp_path}/leak/images/1.png" in message
    assert "\n" not in message
