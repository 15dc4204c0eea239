"""Subsets and unions of datasets."""

import json
from pathlib import Path

import pytest

from distill.program import UserError
from helpers.annotated import HAND, Coco, ids, picture, subset, union
from helpers.options import build


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


def test_folds_hold_every_image_once(tmp_path):
    """The rest is all others, copies of an image are in one fold, another seed parts them otherwise."""
    whole = Coco(tmp_path, images=13).build()
    whole["images"][7]["hash"] = whole["images"][2]["hash"]

    def parts(fold, seed=0):
        return [ids(subset(whole, fold=fold, folds=[k, 5], seed=seed)) for k in range(5)]

    held = parts("held")
    assert sorted(image for part in held for image in part) == ids(whole)
    assert {len(part) for part in held} <= {2, 3, 4}
    assert [sorted(a + b) for a, b in zip(held, parts("rest"), strict=True)] == [ids(whole)] * 5
    assert [{3, 8} & set(part) for part in held].count({3, 8}) == 1
    assert parts("held", seed=1) != held == parts("held")
    with pytest.raises(UserError, match="12 images of set do not make 13 folds"):
        subset(whole, fold="rest", folds=[0, 13])


def test_exclude_is_by_content(tmp_path):
    whole = Coco(tmp_path / "a").build()
    copies = tmp_path / "b"
    copies.mkdir()
    (copies / "other.png").write_bytes((tmp_path / "a/images/2.png").read_bytes())
    other = build("pile", {"kind": "folder", "images": str(copies)}, {})
    assert ids(subset(whole, exclude="pile", sources={"pile": other})) == [1, 2, 4]


def test_images_that_nobody_annotated_can_be_left_out(tmp_path):
    coco = Coco(tmp_path)
    coco.data["annotations"] = [a for a in coco.data["annotations"] if a["image_id"] in (1, 4)]
    assert ids(subset(coco.build(), annotated=True)) == [1, 4]
    empty = {**coco.build(), "annotations": []}
    with pytest.raises(UserError, match=r"no image of .* has an annotation"):
        subset(empty, annotated=True)


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
    file = whole["images"][0]["file_name"] = " 0#1.png"  # of which a comment would leave another image
    path.write_text(f"{file}\n1.png#1\n")
    assert ids(subset(whole, ids=str(path))) == [1, 2]
    path.write_text("3.png\n77\n78\n")
    with pytest.raises(UserError, match=r"ids.txt: '77' is no image of set \(and 1 more such problems\)"):
        subset(whole, ids=str(path))
    with pytest.raises(UserError, match=r"gone.txt: no such file"):
        subset(whole, ids=str(tmp_path / "gone.txt"))


def test_numbers_of_a_folders_images_are_their_names(tmp_path):
    """1.png, 10.png, 11.png, 2.png, …: in this order they have ids of our making."""
    Coco(tmp_path, images=12).build()
    folder = build("set", {"kind": "folder", "images": str(tmp_path / "images"), "unreadable": 0}, {})
    with pytest.raises(UserError, match=r"'3' is the number of one image of set and the name of another"):
        subset(folder, ids=[3])
    assert [image["file_name"] for image in subset(folder, ids=["3.png"])["images"]] == ["3.png"]
    for within in (subset(folder, range=[0, 1]), union(folder)):
        with pytest.raises(UserError, match=r"'3' is the number of one image of set"):
            subset(within, ids=[3])


def test_a_file_that_numbers_a_folders_images_otherwise_names_them(tmp_path):
    Coco(tmp_path, images=12).build()
    folder = build("set", {"kind": "folder", "images": str(tmp_path), "unreadable": 0}, {})
    path = tmp_path / "some.json"
    path.write_text(
        json.dumps({"images": [{"id": 1, "file_name": "7.png"}, {"id": 2, "file_name": "images/3.png"}]})
    )
    assert [i["file_name"] for i in subset(folder, ids=str(path))["images"]] == [
        "images/3.png",
        "images/7.png",
    ]
    picture(tmp_path / "more/7.png", 77)
    folder = build("set", {"kind": "folder", "images": str(tmp_path), "unreadable": 0}, {})
    with pytest.raises(UserError, match=r"some.json: '7.png' may be 'images/7.png' or 'more/7.png'"):
        subset(folder, ids=str(path))
    path.write_text(json.dumps({"images": [{"id": 1, "file_name": "other/7.png"}]}))
    with pytest.raises(UserError, match=r"some.json: 'other/7.png' is no image of set"):
        subset(folder, ids=str(path))
    last = {"id": folder["images"][-1]["id"], "file_name": "COCO_7.png"}  # as in a union with COCO
    path.write_text(json.dumps({"images": [last]}))
    assert ids(subset(folder, ids=str(path))) == [last["id"]]


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


def test_members_may_number_their_categories_differently(tmp_path):
    one, two = (Coco(tmp_path / name, images=2, first=first) for name, first in (("a", 0), ("b", 2)))
    for coco, numbers in ((one, (1, 2)), (two, (2, 1))):
        coco.data["categories"] = [{"id": n, "name": name} for n, name in zip(numbers, "xy", strict=True)]
        for annotation in coco.data["annotations"]:
            annotation.pop("keypoints", None)
            annotation["category_id"] = 1
    both = union(one.build(), two.build())
    assert [a["category_id"] for a in both["annotations"]] == [1, 1, 2, 2]  # x, x, y, y
    assert both["categories"] == one.build()["categories"]


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


def test_images_that_somebody_saw_and_found_empty_join_the_labelled_ones(tmp_path):
    first, second = Coco(tmp_path / "a"), Coco(tmp_path / "b", images=2, first=4)
    second.data["annotations"] = []
    both = union(first.build(), second.build())
    assert (len(both["images"]), len(both["annotations"])) == (6, 4)
    bare = union(
        first.build(strip_annotations=True), second.build()
    )  # both unlabelled, as far as anyone knows
    assert (len(bare["images"]), bare["annotations"]) == (6, [])
    del second.data["annotations"]  # as COCO's files of images that nobody annotated
    with pytest.raises(UserError, match="different categories: 1 hand; none"):
        union(first.build(), second.build())


def test_union_of_relative_and_absolute_folders(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for i, folder in enumerate(["a", "../b", tmp_path / "c"]):
        picture(Path(folder) / f"{i}.png", i)
    a, b, c = (build("x", {"kind": "folder", "images": str(f)}, {}) for f in ("a", "../b", tmp_path / "c"))
    old = Path(tmp_path, "here/..old")
    picture(old / "0.png", 8)
    both = union(a, build("o", {"kind": "folder", "images": str(old)}, {}))
    assert len(both["images"]) == 2
    picture(Path("d/0.png"), 7)
    assert union(a, build("d", {"kind": "folder", "images": "d"}, {}))["info"]["image_root"] == "."
    for members in ((a, b), (b, c), (a, b, c)):
        both = union(*members)
        assert len(both["images"]) == len(members)
        for image in both["images"]:
            assert ".." not in image["file_name"]
            assert Path(both["info"]["image_root"], image["file_name"]).is_file()
