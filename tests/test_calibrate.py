import json
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.files import write_json
from distill.labels.calibrate import at_rank, calibrate
from distill.program import UserError
from helpers.options import calibrate_options as Options

# A coarse grid of scores makes ties common.
scores_strategy = st.lists(st.integers(0, 6).map(lambda i: i / 8), max_size=30)


def closest(scores, rank):
    """Brute force: of all counts that a threshold of some label can keep, the closest to the rank; the larger
    of two."""
    counts = {sum(s >= t for s in scores) for t in scores} or {0}
    return min(counts, key=lambda count: (abs(count - rank), -count))


def count(scores, threshold):
    return 0 if threshold is None else sum(s >= threshold for s in scores)


@settings(deadline=None)  # a busy machine is no failure
@given(scores_strategy, st.integers(0, 40))
def test_at_rank_equals_brute_force(scores, rank):
    found = at_rank(np.array(scores, float), rank)
    # A zero aim keeps nothing; otherwise no threshold comes closer.
    assert found.met == count(scores, found.threshold) == (closest(scores, rank) if rank else 0)
    assert found.short == (rank > len(scores))
    assert (found.aimed, found.candidates) == (rank, len(scores))


def test_at_rank_by_hand():
    scores = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.1])
    assert at_rank(scores, 1).threshold == 0.9
    assert at_rank(scores, 2).threshold == 0.9  # 1 is closer to 2 than 5 is
    assert at_rank(scores, 3).threshold == 0.5  # 1 and 5 are as close: all
    assert at_rank(scores, 5).threshold == 0.5
    assert at_rank(scores, 6).threshold == 0.1
    assert at_rank(np.full(5, 1.0), 2).met == 5  # none is surer than others


def image(number, size=100):
    return {"id": number, "file_name": f"{number}.png", "width": size, "height": size}


def box(image_id, category, score, bbox=(10, 10, 20, 20), **more):
    return {"image_id": image_id, "category_id": category, "bbox": list(bbox), "score": score, **more}


def study(tmp_path, predictions, counts, n_labelled, n_unlabelled, names=("cat", "dog", "owl"), **category):
    """Files for `calibrate`: counts[category id] labelled instances spread over the labelled images."""
    categories = [{"id": i, "name": name, **category} for i, name in enumerate(names, 1)]
    boxes = [c for c, n in counts.items() for _ in range(n)]
    labelled = {
        "images": [image(i) for i in range(n_labelled)],
        "annotations": [
            {"id": i, "image_id": i % n_labelled, "category_id": c, "bbox": [0, 0, 9, 9], "iscrowd": 0}
            for i, c in enumerate(boxes)
        ],
        "categories": categories,
    }
    dataset = {"images": [image(i) for i in range(n_unlabelled)], "annotations": [], "categories": []}
    path = tmp_path / "merged.json"
    write_json(path, predictions)
    return path, dataset, labelled


def test_validation_images_say_which_scores_to_believe(tmp_path):
    """Ten cats are found on validation images from 0.6 on; of dogs too few; nine owls are few.
    The unlabelled images are emptier than labelled ones."""
    seen = [box(0, 1, s) for s in (*[0.9] * 8, 0.8, 0.6, 0.5, 0.4)] + [box(1, 2, s) for s in (0.7, 0.3)]
    seen += [box(1, 3, 0.9) for _ in range(20)]
    validation = study(tmp_path, seen, {1: 10, 2: 11, 3: 9}, 2, 0)
    tested = tmp_path / "validated.json"
    validation[0].rename(tested)
    found = [box(i, 1, s) for i, s in enumerate((0.95, 0.6, 0.59, 0.2))] + [box(i, 2, 0.5) for i in range(4)]
    found += [box(i, 3, s) for i, s in enumerate((0.9, 0.8, 0.1))]
    files = study(tmp_path, found, {1: 10, 2: 1, 3: 2}, 2, 4)

    def calibrated(validated=(tested, validation[2]), **options):
        return calibrate(*files, Options(**options), validated and (validated[0], validated[1]))["instances"]

    assert calibrated(None)["1"]["aimed"] == 20
    entries = calibrated(aim="validation")
    assert [entries[c][key] for c in "123" for key in ("aimed", "met")] == [2, 2, 2, 4, 4, 3]
    assert entries["1"]["threshold"] == 0.6
    assert calibrated(aim="validation", instances=1.5)["1"]["met"] == 3
    together = calibrated(aim="validation", per="all")  # 30 are found from 0.7 on: here 3
    assert {entry["threshold"] for entry in together.values()} == {0.8}
    assert calibrated(aim="validation", rare=3)["3"]["threshold"] == 0.6


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 8)), max_size=40),
    st.fixed_dictionaries({1: st.integers(0, 12), 2: st.integers(0, 12), 3: st.integers(0, 12)}),
    st.integers(1, 7),
    st.integers(1, 9),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from(["category", "all"]),
)
def test_calibrate_equals_brute_force(tmp_path_factory, found, counts, n_labelled, n, multiplier, per):
    tmp_path = tmp_path_factory.mktemp("study")
    predictions = [box(i % n, c, s / 8) for i, (c, s) in enumerate(found)]
    files = study(tmp_path, predictions, counts, n_labelled, n)
    result = calibrate(*files, Options(instances=multiplier, per=per))["instances"]

    def aim(count):
        return round(Fraction(multiplier) * count * n / n_labelled)

    met = Counter()
    if per == "category":
        for c, labelled in counts.items():
            scores = [s / 8 for category, s in found if category == c]
            met[c] = closest(scores, aim(labelled)) if aim(labelled) else 0
            assert result[str(c)]["aimed"] == aim(labelled)
            assert result[str(c)]["short"] == (aim(labelled) > len(scores))
            assert result[str(c)]["mean_labelled"] == labelled / n_labelled
            assert result[str(c)]["mean_met"] == result[str(c)]["met"] / n
    else:
        eligible = [(c, s / 8) for c, s in found if counts[c]]
        aimed = aim(sum(counts.values()))
        total = closest([s for _, s in eligible], aimed) if aimed else 0
        thresholds = {result[str(c)]["threshold"] for c in counts if counts[c]}
        assert len(thresholds) <= 1
        for c, s in eligible:
            met[c] += None not in thresholds and s >= next(iter(thresholds))
        assert met.total() == total
    for c in counts:
        assert result[str(c)]["met"] == met[c]
        if not counts[c]:
            assert result[str(c)]["threshold"] is None


def test_crowds_do_not_count_and_empty_images_do(tmp_path):
    files = study(tmp_path, [box(0, 1, s / 100) for s in range(50)], {1: 4}, 4, 10)
    files[2]["annotations"] += [
        {"id": 99, "image_id": 0, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 9, 9]}
    ]
    files[2]["images"] += [image(i) for i in range(4, 8)]  # eight images, four of them empty: 0.5 an image
    result = calibrate(*files, Options())
    assert result["instances"]["1"] == {
        "name": "cat",
        "threshold": 0.45,
        "aimed": 5,
        "met": 5,
        "candidates": 50,
        "short": False,
        "mean_labelled": 0.5,
        "mean_met": 0.5,
    }
    assert result["keypoints"] is None
    assert result["images"] == {"labelled": 8, "unlabelled": 10}


def test_shortage_is_said(tmp_path, caplog):
    caplog.set_level("INFO")
    files = study(tmp_path, [box(0, 1, 0.7), box(0, 1, 0.2)], {1: 5, 2: 1}, 5, 10)
    result = calibrate(*files, Options())["instances"]
    assert (result["1"]["threshold"], result["1"]["met"], result["1"]["short"]) == (0.2, 2, True)
    assert (result["2"]["threshold"], result["2"]["met"], result["2"]["short"]) == (None, 0, True)
    assert "cat: only 2 candidates for the 10 aimed at: all taken" in caplog.text


def test_floor_and_no_calibration(tmp_path):
    files = study(tmp_path, [box(0, c, s) for s in (0.9, 0.6, 0.3) for c in (1, 2)], {1: 5}, 5, 10)
    floored = calibrate(*files, Options(score_floor=0.5))["instances"]["1"]
    assert (floored["candidates"], floored["met"], floored["short"]) == (2, 2, True)
    fixed = calibrate(*files, Options(instances=None, score_floor=0.5))["instances"]
    assert (fixed["1"]["threshold"], fixed["1"]["aimed"], fixed["1"]["met"]) == (0.5, None, 2)
    assert fixed["2"]["threshold"] is None  # no labelled dog: no dog labels


def test_rare_categories_are_labelled_as_surely_as_others(tmp_path):
    """Two dogs say little about how many there are, and their teacher takes 40 other things for some."""
    unsure = [box(i, 2, (i + 1) / 100) for i in range(40)]
    found = [box(i, 1, 0.5 + i / 100) for i in range(40)] + unsure + [box(0, 2, 0.95), box(1, 2, 0.9)]
    files = study(tmp_path, found, {1: 10, 2: 2}, 10, 40)
    usual, rare, all_rare, one = (
        calibrate(*files, Options(**options))["instances"]
        for options in ({}, {"rare": 3}, {"rare": 11}, {"per": "all", "rare": 3})
    )
    assert (usual["2"]["threshold"], usual["2"]["met"]) == (0.35, 8)  # six of them junk
    assert rare["1"] == usual["1"]
    assert (rare["2"]["threshold"], rare["2"]["met"], rare["2"]["aimed"]) == (0.5, 2, 8)
    assert all_rare == usual == calibrate(*files, Options(rare=2))["instances"]  # two are as many as two
    assert one["1"]["threshold"] == one["2"]["threshold"] == 0.35
    surer = [box(i, 2, 0.9 + i / 1000) for i in range(40)]  # its own threshold is the higher one
    files = study(tmp_path, [box(i, 1, 0.5 + i / 100) for i in range(40)] + surer, {1: 10, 2: 2}, 10, 40)
    own, rare = (calibrate(*files, Options(rare=count))["instances"] for count in (0, 3))
    assert own == rare


POINTS = {"keypoints": ["nose", "left_hand", "right_hand", "tail"]}


def pose(scores, x=20, y=20):
    return {"keypoints": [value for s in scores for value in (x, y, s)]}


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 5), min_size=4, max_size=4), max_size=8), st.lists(st.integers(0, 4)))
def test_keypoints_equal_brute_force(tmp_path_factory, found, visible):
    """All instances are kept; the aim is the labelled mean over instances with a visible keypoint."""
    predictions = [box(0, 1, 0.9, **pose([p / 8 for p in row])) for row in found]
    tmp_path = tmp_path_factory.mktemp("study")
    path, dataset, labelled = study(tmp_path, predictions, {1: len(visible)}, 1, 1, ["cat"], **POINTS)
    for a, v in zip(labelled["annotations"], visible, strict=True):
        a["keypoints"] = [5, 5, 2] * (v // 2) + [5, 5, 1] * (v - v // 2) + [0, 0, 0] * (4 - v)
    labelled["annotations"] += [
        {"id": -1, "category_id": 1, "image_id": 0, "iscrowd": 0, "keypoints": [0] * 12}
    ]
    result = calibrate(path, dataset, labelled, Options(instances=100))["keypoints"]
    if not found:
        assert result is None
        return
    assert result["instances"] == len(found)
    posed = [v for v in visible if v]
    aimed = round(Fraction(sum(posed) * len(found), len(posed))) if posed else 0
    scores = [p / 8 for row in found for p in row]
    assert result["aimed"] == aimed
    assert result["met"] == count(scores, result["threshold"]) == (closest(scores, aimed) if aimed else 0)


def test_keypoints_of_kept_instances_inside_the_image_count(tmp_path):
    predictions = [
        box(0, 1, 0.9, **pose([0.5, 0.4, 0.3, 0.2])),
        box(0, 1, 0.8, **pose([0.9, 0.9, 0.9, 0.9], x=101)),  # outside: can be no label
        box(0, 1, 0.1, **pose([0.8, 0.8, 0.8, 0.8])),  # not kept
    ]
    path, dataset, labelled = study(tmp_path, predictions, {1: 2}, 1, 1, ["cat"], **POINTS)
    for a, points in zip(
        labelled["annotations"], ([5, 5, 2] + [0] * 9, [5, 5, 1] * 2 + [0] * 6), strict=True
    ):
        a["keypoints"] = points
    result = calibrate(path, dataset, labelled, Options())["keypoints"]
    assert result == {
        "threshold": 0.3,
        "aimed": 3,
        "met": 3,
        "candidates": 4,
        "short": False,
        "instances": 2,
        "mean_labelled": 1.5,
        "mean_met": 1.5,
    }


def test_result_is_json_and_order_of_predictions_is_irrelevant(tmp_path):
    predictions = [box(i % 3, 1 + i % 2, (i * 7 % 11) / 16) for i in range(30)]
    first = calibrate(*study(tmp_path, predictions, {1: 4, 2: 3}, 2, 3), Options())
    again = calibrate(*study(tmp_path, predictions[::-1], {1: 4, 2: 3}, 2, 3), Options())
    assert first == again == json.loads(json.dumps(first, allow_nan=False))


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([box(77, 1, 0.5)], "image 77"),
        ([box(0, 9, 0.5)], "category 9"),
        ([box(0, 1, 0.5, keypoints=[1, 1, 1])], "1 keypoints, not 4"),
        ([box(0, 1, 0.5), box(0, 1, 0.5, **pose([1] * 4))], "1 of 2 predictions lack keypoints"),
    ],
)
def test_refused(tmp_path, predictions, message):
    with pytest.raises(UserError, match=message):
        calibrate(*study(tmp_path, predictions, {1: 1}, 1, 1, **POINTS), Options())


def test_bad_options_and_no_labelled_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="per is 'image'"):
        Options(per="image")
    with pytest.raises(UserError, match="at least 0"):
        Options(keypoints=-1)
    path, dataset, labelled = study(tmp_path, [], {}, 1, 1)
    with pytest.raises(UserError, match="no images"):
        calibrate(path, dataset, {**labelled, "images": []}, Options())
