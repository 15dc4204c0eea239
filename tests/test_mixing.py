"""Mosaic and mixup: what is planted in four images is found where boxes and keypoints of the one say."""

import numpy as np
import pytest
from mmdet.datasets.transforms import MixUp, Mosaic
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.dataset import Compose

from distill.models.augment import FILL, LEAST_SEEN
from distill.models.mixing import MixUpInstances, MosaicInstances

PLAIN = 200  # of a planted image, beside its instances


def code(label):
    """The grey value of an instance's box; of the mark at its keypoint it is 2 more."""
    return 4 * label + 20


def planted(number, height, width, channel):
    """Image `number` of a dataset: in one channel, two boxes that do not meet, each of a value of its own.

    Anywhere in each is a mark of 3 by 3 pixels, whose middle is a keypoint.
    """
    rng = np.random.default_rng(number)
    image = np.full((height, width, 3), PLAIN, np.uint8)
    boxes, points = [], []
    for half in range(2):
        w, h = rng.integers(5, width // 2, endpoint=True), rng.integers(5, height, endpoint=True)
        x, y = half * (width // 2) + rng.integers(0, width // 2 - w + 1), rng.integers(0, height - h + 1)
        column, row = x + rng.integers(1, w - 1), y + rng.integers(1, h - 1)
        image[y : y + h, x : x + w, channel] = code(2 * number + half)
        image[row - 1 : row + 2, column - 1 : column + 2, channel] += 2
        boxes.append([x, y, x + w, y + h])
        points.append([[column + 0.5, row + 0.5, 2]])
    labels = 2 * number + np.arange(2)
    return {
        "img": image,
        "img_shape": image.shape[:2],
        "gt_bboxes": HorizontalBoxes(np.array(boxes, np.float32)),
        "gt_bboxes_labels": labels,
        "gt_ignore_flags": np.zeros(2, bool),
        "gt_weights": np.stack([labels / 8, labels / 16], 1).astype(np.float32),
        "gt_keypoints": np.array(points, np.float32),
        "unsure": False,
    }


class Planted:
    """A dataset of planted images, of many shapes unless they have one."""

    pipeline = Compose([MosaicInstances(1.0)])  # before which nothing is done to an image

    def __init__(self, size=6, channel=2, shape=None):
        rng = np.random.default_rng(7)
        shapes = [shape or tuple(rng.integers(24, 64, 2)) for _ in range(size)]
        self.images = [planted(n, *map(int, shape), channel) for n, shape in enumerate(shapes)]

    def __len__(self):
        return len(self.images)

    def get_data_info(self, index):
        return dict(self.images[index])


def draw(mix, dataset, first, seed):
    np.random.seed(seed)  # noqa: NPY002
    return mix.transform({**first, "dataset": dataset})


def check_instances(found, pixels, labels):
    """That instances are what values of pixels (H, W) say.

    labels: of the instances that are looked for, each with its whole box. Returns of each that is seen which
    share is, and the visibility of its keypoint.
    """
    cut = []
    by_label = {label: row for row, label in enumerate(found["gt_bboxes_labels"]) if label in labels}
    for label, box in labels.items():
        rows, columns = np.nonzero((pixels == code(label)) | (pixels == code(label) + 2))
        assert (len(rows) > 0) == (label in by_label)
        if not len(rows):
            continue
        row = by_label[label]
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert found["gt_bboxes"].numpy()[row].tolist() == seen
        share = len(rows) / np.prod(box[2:] - box[:2])
        assert found["gt_ignore_flags"][row] == (share < LEAST_SEEN)
        assert found["gt_weights"][row].tolist() == [label / 8, label / 16]
        x, y, v = found["gt_keypoints"][row, 0]
        marks = np.argwhere(pixels == code(label) + 2)
        if len(marks) == 9:
            assert [y, x, v] == [*(marks.mean(0) + 0.5), 2]
        elif v:
            assert pixels[int(y), int(x)] == code(label) + 2
        else:
            assert [x, y] == [0, 0]
        cut.append((share, v))
    return cut


def wholes(images):
    """Label → box in its own image."""
    return {
        label: box
        for image in images
        for label, box in zip(image["gt_bboxes_labels"], image["gt_bboxes"].numpy(), strict=True)
    }


def test_what_is_planted_in_four_images_is_found_in_the_mosaic(monkeypatch):
    dataset, mosaic = Planted(), MosaicInstances(1.0)
    cut, seen_images = [], set()
    for seed in range(150):
        first = dataset.get_data_info(seed % 6)
        monkeypatch.setattr(np.random, "randint", without_repetition(seed % 6))
        mixed = draw(mosaic, dataset, first, seed)
        monkeypatch.undo()
        assert mixed["img"].shape == first["img"].shape
        cut += check_instances(mixed, mixed["img"][..., 2], wholes(dataset.images))
        seen_images.add(len(set(mixed["gt_bboxes_labels"] // 2)))
    shares = np.array([share for share, _ in cut])
    assert (shares == 1).sum() > 50
    assert ((shares >= LEAST_SEEN) & (shares < 1)).sum() > 50
    assert (shares < LEAST_SEEN).sum() > 10
    assert {v for _, v in cut} == {0, 2}
    assert {1, 2, 3, 4} == seen_images
    assert dataset.images[0]["gt_keypoints"].tolist() == Planted().images[0]["gt_keypoints"].tolist()


def without_repetition(first):
    """numpy's randint, but partners are different from each other and from the first."""
    randint = np.random.randint

    def drawn(low, high=None, size=None):
        if size is None:
            return randint(low, high)
        return np.random.permutation([n for n in range(low) if n != first])[:size]  # noqa: NPY002

    return drawn


def test_what_is_planted_in_two_images_is_found_in_their_mean():
    """The first has its boxes in one channel, the second in another, which is told apart from the mean."""
    firsts, dataset, mixup = Planted(channel=0), Planted(channel=2), MixUpInstances(1.0)
    shares, larger = [], set()
    for seed in range(60):
        first = firsts.get_data_info(seed % 6)
        for key in ("gt_bboxes_labels", "gt_weights"):
            first[key] = -1 - first[key]
        mixed = draw(mixup, dataset, first, seed)
        assert mixed["img"].shape == first["img"].shape
        second = 2 * mixed["img"][..., 2].astype(int) - PLAIN
        labels = wholes(dataset.images)
        shares += [share for share, _ in check_instances(mixed, second, labels)]
        beside = np.where(second == FILL, FILL, PLAIN)
        assert (2 * mixed["img"][..., 0].astype(int) - beside == first["img"][..., 0]).all()
        for key in ("gt_bboxes_labels", "gt_keypoints", "gt_weights", "gt_ignore_flags"):
            assert (mixed[key][:2] == first[key]).all()
        assert (mixed["gt_bboxes"].numpy()[:2] == first["gt_bboxes"].numpy()).all()
        larger.add(bool((second == FILL).any()))
    assert min(shares) < LEAST_SEEN < max(shares) == 1
    assert larger == {True, False}


@pytest.mark.parametrize("ratio", [0.5, 0.7, 1.0, 1.31, 1.5])
def test_the_mosaic_is_the_middle_of_mmdets(monkeypatch, ratio):
    """Where the images have one size, so that mmdet resizes none."""
    height, width = 40, 60
    images = Planted(4, shape=(height, width)).images
    theirs = {**images[0], "mix_results": images[1:]}
    theirs = Mosaic(img_scale=(width, height), center_ratio_range=(ratio, ratio)).transform(theirs)
    corner = np.array([width // 2, height // 2])
    centre = iter(np.array([int(ratio * width), int(ratio * height)]) - corner)
    monkeypatch.setattr(np.random, "randint", lambda side: next(centre))
    ours = MosaicInstances(1.0).mixed(images)
    middle = theirs["img"][corner[1] : corner[1] + height, corner[0] : corner[0] + width]
    assert (ours["img"] == middle).all()
    boxes = HorizontalBoxes(theirs["gt_bboxes"].numpy() - np.tile(corner, 2))
    boxes.clip_((height, width))
    inside = boxes.areas.numpy() > 0
    assert (ours["gt_bboxes"].numpy() == boxes.numpy()[inside]).all()
    assert (ours["gt_bboxes_labels"] == theirs["gt_bboxes_labels"][inside]).all()


@pytest.mark.parametrize("shape", [(40, 60), (32, 50)])
def test_the_mean_is_mmdets(monkeypatch, shape):
    """Where the second image fits, or is larger."""
    first, second = planted(0, *shape, 0), planted(1, 40, 60, 2)
    cut = 0 if shape == (40, 60) else 5
    mixup = MixUp(img_scale=(60, 40), ratio_range=(1, 1), flip_ratio=1)
    monkeypatch.setattr(np.random, "randint", lambda low, high: cut)
    theirs = mixup.transform({**first, "mix_results": [{**second, "gt_bboxes": second["gt_bboxes"].clone()}]})
    monkeypatch.setattr(np.random, "randint", lambda low, high: -cut)
    ours = MixUpInstances(1.0).mixed([first, second])
    assert (np.abs(ours["img"].astype(int) - theirs["img"]) <= 1).all()  # they cut halves off
    assert (ours["gt_bboxes"].numpy() == theirs["gt_bboxes"].numpy()).all()
    assert (ours["gt_bboxes_labels"] == theirs["gt_bboxes_labels"]).all()


@pytest.mark.parametrize("kind", [MosaicInstances, MixUpInstances])
def test_the_probability_is_the_share_of_draws_that_are_mixed(kind):
    dataset, mix = Planted(shape=(24, 24)), kind(0.3)
    first = dataset.get_data_info(0)
    mixed = [draw(mix, dataset, first, seed)["img"] is not first["img"] for seed in range(500)]
    assert np.mean(mixed) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("kind", [MosaicInstances, MixUpInstances])
def test_a_mix_with_an_unsure_image_is_unsure(kind):
    dataset = Planted()
    first = dataset.get_data_info(0)
    sure = [draw(kind(1.0), dataset, first, seed) for seed in range(20)]
    assert all(mixed["unsure"] == mixed["gt_ignore_flags"].any() for mixed in sure)
    assert not all(mixed["unsure"] for mixed in sure)
    for image in dataset.images:
        image["unsure"] = True
    assert draw(kind(1.0), dataset, first, 1)["unsure"]


def test_where_no_instance_would_count_the_image_stays_as_it_is():
    dataset = Planted()
    first = dataset.get_data_info(0)
    for image in dataset.images:
        image["gt_ignore_flags"] = np.ones(2, bool)
    height, width = first["img_shape"]
    first["gt_bboxes"] = HorizontalBoxes(np.array([[0, 0, width, height]] * 2, np.float32))
    drawn = [draw(MosaicInstances(1.0), dataset, first, seed) for seed in range(20)]
    assert {results["img"] is first["img"] for results in drawn} == {True, False}
    assert not any(results["gt_ignore_flags"].all() for results in drawn)
