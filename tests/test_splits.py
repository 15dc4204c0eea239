"""Images of a validation set in a training set: the same are refused, those that look alike are named."""

from contextlib import nullcontext

import cv2
import numpy as np
import pytest
from PIL import Image

from distill.datasets.fingerprints import distances, fingerprints
from distill.datasets.splits import check_splits, unlearnt
from distill.program import UserError
from helpers.options import build


def scene(seed, size=(160, 120)):
    """A picture of many blots, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (24, 32, 3), np.uint8)
    return cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)


class Folder:
    def __init__(self, path):
        self.path = path
        path.mkdir()

    def save(self, name, pixels, **options):
        Image.fromarray(pixels[..., ::-1]).save(self.path / name, **options)
        return self

    def dataset(self):
        return build(self.path.name, {"kind": "folder", "images": str(self.path)}, {})


def checked(val, train):
    both = [folder.dataset() for folder in (val, train)]
    prints = tuple(
        list(fingerprints(dataset, folder.path)) for dataset, folder in zip(both, (val, train), strict=True)
    )
    both[0]["annotations"] = [{"category_id": 1, "iscrowd": 0}]
    return check_splits(("val", "train"), *both, prints)


def test_a_validation_set_without_an_object_is_refused(val, train):
    with pytest.raises(UserError, match="val: none of its 3 images has an object, so there is no AP"):
        check_splits(("val", "train"), val.dataset(), train.dataset(), ([], []))


@pytest.fixture
def val(tmp_path):
    folder = Folder(tmp_path / "val")
    for seed in range(3):
        folder.save(f"{seed}.png", scene(seed))
    return folder


@pytest.fixture
def train(tmp_path):
    folder = Folder(tmp_path / "train")
    for seed in range(3, 9):
        folder.save(f"{seed}.png", scene(seed))
    return folder


def test_other_images_are_fine(val, train):
    sizes = {"validation": {"val": 3}, "training": {"train": 6}}
    assert checked(val, train) == {**sizes, "shared": 0, "unlearnt": []}


PIXELS = "the same pixels in another file, unseen by `exclude`: remove one, or choose others by `ids`"


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("copy.png", {}, "the same file: take it out of one (`exclude` of a subset)"),
        ("again.png", {"compress_level": 1}, PIXELS),
        ("other.tif", {}, PIXELS),
    ],
)
def test_the_same_image_is_refused_whatever_file_it_is_in(val, train, name, options, what):
    train.save(name, scene(1), **options)
    with pytest.raises(UserError) as caught:
        checked(val, train)
    message = str(caught.value)
    assert message.startswith(f"{val.path}/1.png of the validation set val is also in the training set train")
    assert message.endswith(f"as {train.path}/{name}, {what}")
    train.save("more.png", scene(2))
    with pytest.raises(UserError, match="more.png" if what == PIXELS else "and 1 more such images"):
        checked(val, train)


def test_a_comment_in_a_jpeg_hides_nothing(val, train):
    val.save("a.jpg", scene(20), quality=90)
    train.save("b.jpg", scene(20), quality=90, comment="another one")
    with pytest.raises(UserError, match="the same pixels"):
        checked(val, train)


def test_images_that_look_alike_are_named(val, train, caplog):
    h, w = scene(1).shape[:2]
    train.save("saved.jpg", scene(1), quality=60)
    train.save("small.png", cv2.resize(scene(2), (80, 60), interpolation=cv2.INTER_AREA))
    train.save("cut.png", scene(0)[h // 50 : h - h // 50, w // 50 : w - w // 50])
    alike = checked(val, train)["alike"]
    assert alike["count"] == 3
    pairs = {(pair["validation"], pair["training"]) for pair in alike["pairs"]}
    made = {"0": "cut.png", "1": "saved.jpg", "2": "small.png"}
    assert pairs == {(f"{val.path}/{seed}.png", f"{train.path}/{name}") for seed, name in made.items()}
    assert [pair["bits"] for pair in alike["pairs"]] == sorted(pair["bits"] for pair in alike["pairs"])
    assert "3 pairs of images of val and train look alike" in caplog.text


@pytest.mark.parametrize(
    ("theirs", "what"),
    [
        (
            [{"id": 1, "name": "bird"}, {"id": 2, "name": "cat"}],
            "category 1, 'cat' in train, is 'bird' there",
        ),
        ([{"id": 1, "name": "cat"}], "category 2, 'dog' in train, is missing there"),
        (
            [{"id": 1, "name": "cat", "keypoints": ["tail", "nose"]}, {"id": 2, "name": "dog"}],
            "category 1, 'cat' in train, has other keypoints there",
        ),
        ([{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "emu"}], None),
    ],
)
def test_categories_have_the_same_numbers_in_both(val, train, theirs, what):
    """Predictions say numbers: AP of a cat would be that of a bird."""
    validation, training = val.dataset(), train.dataset()
    cat = {"id": 1, "name": "cat", "keypoints": ["nose", "tail"]}
    training |= {
        "categories": [cat, {"id": 2, "name": "dog"}],
        "annotations": [{"category_id": 1, "iscrowd": 0}],
    }
    validation |= {"categories": theirs, "annotations": [{"category_id": 2, "iscrowd": 0}]}
    prints = tuple(list(fingerprints(each.dataset(), each.path)) for each in (val, train))
    with pytest.raises(UserError, match=f"^val: {what}") if what else nullcontext():
        check_splits(("val", "train"), validation, training, prints)
    check_splits(("val", "train"), validation, training, prints, categories=False)  # only started from
    training["annotations"] = []  # images whose labels have the numbers of labelled ones
    check_splits(("val", "train"), validation, training, prints)


def test_distances_are_those_of_every_pair():
    rng = np.random.default_rng(0)
    some, others = (rng.integers(0, 2**63, (n, 4), np.uint64) for n in (7, 41))
    found = np.concatenate([bits for _, bits in distances(some, others, block=2)])
    for x, row in zip(some.tolist(), found, strict=True):
        for y, bits in zip(others.tolist(), row, strict=True):
            assert bits == sum((a ^ b).bit_count() for a, b in zip(x, y, strict=True))


def test_a_category_of_crowds_alone_is_not_learned():
    one, two = ({"category_id": number, "iscrowd": 0} for number in (1, 2))
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    validation = {"categories": categories, "annotations": [one, two]}
    assert unlearnt(validation, {"annotations": [one, {**two, "iscrowd": 1}]}) == ["b"]
