"""Augmentation: what is planted in an image is found again where boxes and keypoints say."""

import numpy as np
import pytest
from mmdet.structures.bbox import HorizontalBoxes

from distill.models.augment import (
    STRENGTHS,
    DistortColour,
    EraseInstances,
    WarpInstances,
    ellipse_bounds,
    pipeline,
    warp,
)

STILL = WarpInstances(zoom=0, rotate=0, shear=0)
SIDE = 9  # of the box of a planted dot, whose middle is a keypoint


def planted(rng, height=180, width=240, count=3):
    """Grey, with soft white dots far from each other, each in a box with a keypoint in its middle."""
    image = np.full((height, width, 3), 90.0)
    rows, columns = np.indices((height, width)) + 0.5
    corners = [(int(width * (i + 0.5) / count), int(rng.integers(60, height - 60))) for i in range(count)]
    for x, y in corners:
        distance = (columns - x - SIDE / 2) ** 2 + (rows - y - SIDE / 2) ** 2
        image += 160 * np.exp(-distance[..., None] / 2 / 3**2)
    image = image.round().astype(np.uint8)
    boxes = np.array([(x, y, x + SIDE, y + SIDE) for x, y in corners], np.float32)
    points = np.concatenate([boxes[:, None, :2] + SIDE / 2, np.full((count, 1, 1), 2.0)], 2)
    return {
        "img": image,
        "img_shape": image.shape[:2],
        "gt_bboxes": HorizontalBoxes(boxes),
        "gt_bboxes_labels": np.arange(count),
        "gt_ignore_flags": np.zeros(count, bool),
        "unsure": False,
        "gt_keypoints": points.astype(np.float32),
    }


def white(image, x, y, reach=20):
    """Centre of gravity of the white around a point; a pixel's centre is at +0.5."""
    top, left = max(0, int(y) - reach), max(0, int(x) - reach)
    part = image[top : int(y) + reach, left : int(x) + reach].astype(float).mean(2)
    weight = np.clip(part - 120, 0, None)
    rows, columns = np.indices(part.shape) + 0.5
    return (columns * weight).sum() / weight.sum() + left, (rows * weight).sum() / weight.sum() + top


def test_planted_points_and_boxes_are_carried_exactly():
    transform = WarpInstances(zoom=0.5, rotate=10, shear=5)
    checked = 0
    for seed in range(40):
        np.random.seed(seed)  # noqa: NPY002
        results = transform.transform(planted(np.random.default_rng(seed)))
        height, width = results["img_shape"]
        assert results["img"].shape == (height, width, 3)
        for box, points in zip(results["gt_bboxes"].numpy(), results["gt_keypoints"], strict=True):
            (x, y, v), inside = points[0], box[0] > 0 and box[1] > 0 and box[2] < width and box[3] < height
            if inside:
                assert v == 2
                assert np.allclose(white(results["img"], x, y), (x, y), atol=0.06)
                assert np.allclose((box[:2] + box[2:]) / 2, (x, y), atol=0.01)
                checked += 1
            elif v:
                assert 0 <= x <= width
    assert checked > 60


def test_the_box_of_a_turned_ellipse_holds_it_tightly():
    """Where the box around the turned box would be up to a third larger."""
    rows, columns = np.indices((200, 240)) + 0.5
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y, w, h = 120, 100, *rng.uniform(20, 90, 2)
        inside = ((columns - x) / (w / 2)) ** 2 + ((rows - y) / (h / 2)) ** 2 <= 1
        matrix = warp(200, 240, 1.1, rng.uniform(-30, 30), rng.uniform(-10, 10, 2), rng.uniform(-1, 1, 2))
        places = np.stack([columns[inside], rows[inside], np.ones(inside.sum())]).T @ matrix.T
        expected = [*places[:, :2].min(0), *places[:, :2].max(0)]
        [found] = ellipse_bounds(np.array([[x - w / 2, y - h / 2, x + w / 2, y + h / 2]]), matrix)
        assert np.allclose(found, expected, atol=1.2)  # pixels' centres are not on the edge
    square = np.array([[0.0, 0, 30, 30]])
    turned = ellipse_bounds(square, warp(100, 100, 1, 45, (0, 0), (0, 0)))
    assert np.allclose(turned[:, 2:] - turned[:, :2], 30)


def test_a_map_without_change_changes_nothing():
    results, same = planted(np.random.default_rng(0)), planted(np.random.default_rng(0))
    np.random.seed(0)  # noqa: NPY002
    STILL.transform(results)
    assert (results["img"] == same["img"]).all()
    assert np.array_equal(results["gt_keypoints"], same["gt_keypoints"])
    assert np.allclose(warp(100, 80, 1, 0, (0, 0), (0.3, -0.9)), np.eye(3))


def test_what_leaves_the_image_goes_and_what_is_cut_is_ignored(monkeypatch):
    shift = np.array([[1.0, 0, -44], [0, 1, 0], [0, 0, 1]])
    monkeypatch.setattr("distill.models.augment.warp", lambda *args: shift)
    results = planted(np.random.default_rng(1))  # boxes at x = 40, 120, 200
    results["gt_bboxes"].tensor[0, 2] = 47  # of which 3 of 7 columns stay
    cut = STILL.transform(results)
    assert list(cut["gt_ignore_flags"]) == [False, False, False]
    assert not cut["unsure"]
    results = planted(np.random.default_rng(1))
    results["gt_bboxes"].tensor[0, 2] = 45  # of which 1 of 5 stays: too little
    cut = STILL.transform(results)
    assert list(cut["gt_ignore_flags"]) == [True, False, False]
    assert cut["unsure"]  # so that no anchor on the rest is background
    shift[0, 2] = -60
    cut = STILL.transform(planted(np.random.default_rng(1)))
    assert list(cut["gt_bboxes_labels"]) == [1, 2]
    assert len(cut["gt_keypoints"]) == len(cut["gt_ignore_flags"]) == 2
    shift[0, 2] = -1000  # nothing would stay: the image stays as it is
    untouched = planted(np.random.default_rng(1))
    assert (STILL.transform(planted(np.random.default_rng(1)))["img"] == untouched["img"]).all()


def test_keypoints_outside_are_not_visible(monkeypatch):
    monkeypatch.setattr(
        "distill.models.augment.warp", lambda *args: np.array([[1.0, 0, -45], [0, 1, 0], [0, 0, 1]])
    )
    results = planted(np.random.default_rng(1))
    results["gt_bboxes"].tensor[0, 2] = 70
    cut = STILL.transform(results)
    assert not cut["gt_ignore_flags"].any()
    assert (cut["gt_keypoints"][0, 0] == 0).all()
    assert cut["gt_keypoints"][1, 0, 2] == 2


def test_keypoints_under_a_patch_are_there_but_not_to_be_seen():
    hidden = 0
    for seed in range(30):
        np.random.seed(seed)  # noqa: NPY002
        results = planted(np.random.default_rng(seed))
        EraseInstances(n_patches=(1, 5), ratio=(0.05, 0.4), squared=False).transform(results)
        for (x, y, v), ignored in zip(results["gt_keypoints"][:, 0], results["gt_ignore_flags"], strict=True):
            covered = (results["img"][int(y), int(x)] == 128).all()
            assert v == (1 if covered else 2)
            assert covered or not ignored
            hidden += covered
        assert results["unsure"] == results["gt_ignore_flags"].any()
    assert hidden > 5


def test_colours_change_within_their_range():
    np.random.seed(3)  # noqa: NPY002
    results, same = planted(np.random.default_rng(0)), planted(np.random.default_rng(0))
    changed = [DistortColour(1.0).transform(dict(results))["img"] for _ in range(10)]
    assert all(image.dtype == np.uint8 for image in changed)
    assert any((image != same["img"]).any() for image in changed)


@pytest.mark.parametrize("name", STRENGTHS)
def test_every_named_strength_is_a_pipeline(name):
    assert (pipeline(name) == []) == (name == "none")
    assert pipeline(STRENGTHS[name]) == pipeline(name)


def test_a_patch_hides_keypoints_and_makes_none():
    results = {
        "gt_bboxes": HorizontalBoxes(np.float32([[0, 0, 90, 90]])),
        "gt_ignore_flags": np.zeros(1, bool),
        "unsure": False,
        "gt_keypoints": np.array([[[0, 0, 0], [5, 5, 2], [50, 50, 2]]], np.float32),
    }
    EraseInstances(n_patches=1, ratio=0.1)._transform_bboxes(results, np.array([[0, 0, 10, 10]]))
    assert results["gt_keypoints"][0, :, 2].tolist() == [0, 1, 2]
