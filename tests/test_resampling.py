"""Intervals: each resample is what COCOeval says of its images, and intervals cover what they should."""

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from distill.datasets.keypoint_meta import keypoint_meta
from distill.evaluation.average_precision import evaluate
from distill.evaluation.resampling import folds_too, image_weights, interval, resampled_ap, seeds_too
from helpers.arrows import draw_dataset
from helpers.studied import predictions


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    from distill.files import read_json

    return read_json(draw_dataset(tmp_path_factory.mktemp("data") / "arrows", 9, seed=4))


def repeated(dataset, found, weights):
    """The dataset and results in which each image is there as often as its weight says."""
    images, annotations, results = [], [], []
    for image, times in zip(sorted(dataset["images"], key=lambda i: i["id"]), weights, strict=True):
        for _ in range(times):
            new = len(images) + 1
            images.append({**image, "id": new})
            for annotation in dataset["annotations"]:
                if annotation["image_id"] == image["id"]:
                    annotations.append({**annotation, "image_id": new, "id": len(annotations) + 1})
            results += [{**p, "image_id": new} for p in found if p["image_id"] == image["id"]]
    return {**dataset, "images": images, "annotations": annotations}, results


def pycocotools_ap(dataset, found, kind):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(dataset)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(found)), kind)
        if kind == "keypoints":
            posed = [c["id"] for c in dataset["categories"] if c.get("keypoints")]
            evaluation.params.catIds = posed
            evaluation.params.kpt_oks_sigmas = np.array(keypoint_meta(dataset).sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0]


@pytest.mark.parametrize(("task", "kind"), [("boxes", "bbox"), ("keypoints", "keypoints")])
def test_a_resample_is_what_pycocotools_says_of_its_images(truth, task, kind):
    found = predictions(truth, 0.3, seed=2)
    dataset = {**truth, "annotations": [dict(a) for a in truth["annotations"]]}
    dataset["annotations"][0]["iscrowd"] = 1
    block = evaluate(dataset, found, task)[task]
    weights = image_weights(9)
    assert len(block["resampled"]) == len(weights)
    for number in range(25):
        expected = pycocotools_ap(*repeated(dataset, found, weights[number]), kind)
        assert block["resampled"][number] == pytest.approx(expected, abs=1.1e-5)
    assert np.mean(block["resampled"]) == pytest.approx(block["AP"], abs=0.05)
    assert evaluate(dataset, found, task)[task]["resampled"] == block["resampled"]


def test_nothing_found_and_nothing_there(truth):
    assert set(evaluate(truth, [], "boxes")["boxes"]["resampled"]) == {0.0}
    one = {**truth, "annotations": truth["annotations"][:1]}
    gone = evaluate(one, [], "boxes")["boxes"]["resampled"]
    assert set(gone) == {0.0, None}  # a resample may be without the only object


def test_a_perfect_model_is_perfect_in_every_resample(truth):
    found = [
        {key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5 + 0.01 * n}
        for n, a in enumerate(truth["annotations"])
    ]
    assert set(evaluate(truth, found, "boxes")["boxes"]["resampled"]) == {1.0}


def test_weights_are_those_of_as_many_images():
    weights = image_weights(50)
    assert (weights.sum(axis=1) == 50).all()
    assert np.array_equal(weights, image_weights(50))
    assert weights.mean() == pytest.approx(1)
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.05)


def test_seeds_are_drawn_alike_for_two_rows():
    """So that what is common to a seed is not in a difference."""
    rng = np.random.default_rng(0)
    ours = rng.normal(0, 5, (4, 1000))
    assert np.allclose(seeds_too(ours + 3) - seeds_too(ours), 3)
    assert np.array_equal(seeds_too(ours[:1]), ours[0])


def test_an_interval_covers_the_truth_as_often_as_it_says():
    """Of means of normal numbers, 19 of 20 times."""
    rng = np.random.default_rng(0)
    weights = image_weights(60) / 60
    covered = []
    for _ in range(400):
        low, high = interval(weights @ (found := rng.normal(size=60)), found.mean())
        covered.append(low <= 0 <= high)
    assert 0.90 < np.mean(covered) < 0.98


@pytest.mark.parametrize(("seeds", "luck"), [(3, 5.0), (3, 1.0), (5, 5.0)])
def test_an_interval_over_few_seeds_covers_the_truth(seeds, luck):
    """Of means of normal numbers of 60 images; each seed has a luck, in units of the error of that mean.
    Three seeds drawn with replacement would cover the truth in three of four cases."""
    rng = np.random.default_rng(0)
    weights = image_weights(60) / 60
    covered = []
    for _ in range(300):
        aps = rng.normal(size=(60, 1)) + luck / np.sqrt(60) * rng.normal(size=seeds)
        low, high = interval(seeds_too((weights @ aps).T), aps.mean())
        covered.append(low <= 0 <= high)
    assert 0.91 < np.mean(covered) < 0.99


def test_two_seeds_give_no_interval():
    assert np.isnan(interval(seeds_too(np.random.default_rng(0).normal(size=(2, 1000))), 0.0)).all()


def detections(rng, images, objects=8):
    """COCOeval's matches of made-up detections: of each object that is found how far its box is right."""
    for image in range(images):
        there = rng.poisson(objects)
        iou = rng.uniform(0.42, 0.97, there)
        iou, false = iou[iou > 0.5], rng.poisson(objects / 2)
        scores = np.concatenate([0.6 * iou + rng.normal(0, 0.2, len(iou)), rng.beta(2, 4, false)])
        order = np.argsort(-scores)
        matched = np.concatenate([iou > np.linspace(0.5, 0.95, 10)[:, None], np.zeros((10, false))], axis=1)
        yield {
            "category_id": 1,
            "image_id": image,
            "gtIgnore": np.zeros(there),
            "dtScores": scores[order],
            "dtMatches": matched[:, order],
            "dtIgnore": np.zeros_like(matched),
        }


def test_an_interval_of_ap_covers_that_of_many_images():
    """AP of resamples of few images is higher than that of the images."""
    rng = np.random.default_rng(0)
    everything = np.ones((1, 4000), dtype=int)
    truth = resampled_ap(list(detections(rng, 4000)), range(4000), everything)[0]
    weights, covered, shift = image_weights(40)[:400], [], []
    for _ in range(150):
        found = list(detections(rng, 40))
        ap = resampled_ap(found, range(40), everything[:, :40])[0]
        resamples = resampled_ap(found, range(40), weights)
        low, high = interval(resamples, ap)
        covered.append(low <= truth <= high)
        shift.append((resamples.mean() - ap) / resamples.std())
    assert np.mean(shift) > 0.15
    assert 0.9 < np.mean(covered) < 0.99


@pytest.mark.parametrize("luck", [0, 1.5])
@pytest.mark.parametrize("folds", [3, 5])
def test_an_interval_over_folds_covers_the_truth_and_not_of_images_alone(folds, luck):
    """Of means of folds of 70 normal numbers, each fold with a luck of its own, in units of the error of the
    mean of its images."""
    rng = np.random.default_rng(0)
    weights = image_weights(70) / 70
    covered = np.zeros(2)
    for _ in range(400):
        numbers = rng.normal(size=(70, folds)) + rng.normal(size=folds) * luck / np.sqrt(70)
        apart = np.stack([np.roll(weights @ numbers[:, n], 200 * n) for n in range(folds)])
        ways = folds_too((weights @ numbers).T), apart.mean(axis=0)
        ends = np.array([interval(way, numbers.mean()) for way in ways])
        covered += (ends[:, 0] <= 0) & (ends[:, 1] >= 0)
    of_folds, of_images = covered / 400
    assert 0.91 < of_folds < 0.98
    assert luck == 0 or of_images < 0.8


def test_folds_are_drawn_alike_for_two_rows():
    rng = np.random.default_rng(0)
    ours = rng.normal(0, 5, (4, 1000))
    assert np.allclose(folds_too(ours + 3) - folds_too(ours), 3)
    assert folds_too(np.empty((4, 0))).shape == (0,)
    assert np.isnan(folds_too(ours[:2])).all()  # two say nearly nothing
    assert np.array_equal(folds_too(ours[:1]), ours[0])


def test_too_many_resamples_without_a_value_give_no_interval():
    values = np.arange(1000.0)
    values[:20] = np.nan
    assert interval(values, 500)[0] > 20
    values[:30] = np.nan
    assert np.isnan(interval(values, 500)).all()


def test_an_interval_is_moved_by_twice_the_bias():
    """By hand: 30% lie below the estimate, which is 0.524 deviations; ends of 2 × 0.524 less."""
    assert interval(np.arange(1001.0), 300) == pytest.approx((1.3, 819), abs=1)
