import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.program import UserError
from distill.voting import RULES, suppress, vote


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def reference(boxes, scores, categories, nms, threshold, rule, beta, max_per_image):
    """Detectron's NMS, box voting and cut, one box at a time, as its papers describe them."""
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])
    survivors = []
    for i in order:
        if all(categories[i] != categories[s] or overlap(boxes[i], boxes[s]) <= nms for s in survivors):
            survivors.append(i)
    results = []
    for s in survivors:
        voters = [
            i
            for i in range(len(boxes))
            if i == s or (categories[i] == categories[s] and overlap(boxes[i], boxes[s]) >= threshold)
        ]
        w = [scores[i] for i in voters]
        box = list(boxes[s])
        if sum(w) > 0:
            box = [sum(scores[i] * boxes[i][c] for i in voters) / sum(w) for c in range(4)]
        if rule == "id":
            score = scores[s]
        elif rule == "avg":
            score = sum(w) / len(w)
        elif rule == "temp_avg":
            smooth = [(x ** (1 / beta), (1 - x) ** (1 / beta)) for x in w]
            score = sum(yes / (yes + no) for yes, no in smooth) / len(w)
        elif rule == "iou_avg":
            ious = [1.0 if i == s else overlap(boxes[i], boxes[s]) for i in voters]
            score = sum(x * iou for x, iou in zip(w, ious, strict=True)) / sum(ious)
        elif rule == "generalized_avg":
            score = (sum(x**beta for x in w) / len(w)) ** (1 / beta)
        elif rule == "quasi_sum":
            score = sum(w) / len(w) ** beta
        results.append((box, score, categories[s]))
    results.sort(key=lambda result: -round(result[1], 9))
    return results[:max_per_image]


corner = st.integers(0, 8)
side = st.integers(0, 8)  # 0: boxes without area
unions = st.lists(
    st.tuples(
        st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2] / 2, b[1] + b[3] / 2)),
        st.sampled_from([0.0, 0.1, 0.3, 0.3, 0.5, 0.75, 0.9, 1.0]),
        st.sampled_from([1, 2, 90]),
    ),
    max_size=40,
)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=150, deadline=None)
@given(
    union=unions,
    nms=st.sampled_from([0.3, 0.5, 1.0]),
    threshold=st.sampled_from([0.4, 0.8, 1.0]),
    beta=st.sampled_from([0.5, 1.0, 2.0]),
    most=st.sampled_from([3, 100]),
)
def test_voting_equals_the_reference(rule, union, nms, threshold, beta, most):
    boxes, scores, categories = zip(*union, strict=True) if union else ((), (), ())
    expected = reference(boxes, scores, categories, nms, threshold, rule, beta, most)
    merged = vote(
        np.array(boxes).reshape(-1, 4), np.array(scores), np.array(categories, dtype=int),
        nms=nms, vote=threshold, rule=rule, beta=beta, max_per_image=most,
    )  # fmt: skip
    assert merged[2].tolist() == [category for _, _, category in expected]
    np.testing.assert_allclose(merged[1], [score for _, score, _ in expected], atol=1e-9)
    np.testing.assert_allclose(merged[0], np.reshape([box for box, _, _ in expected], (-1, 4)), atol=1e-9)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "temp_avg"])
def test_one_view_after_nms_passes_through_to_the_last_bit(rule):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 400, (300, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 120, (300, 2))], axis=1)
    scores, categories = rng.uniform(0, 1, 300), rng.integers(0, 5, 300)
    keep = suppress(boxes, scores, categories, 0.5, 0.8, 100)[0]
    assert len(keep) == 100
    again = vote(boxes[keep], scores[keep], categories[keep], rule=rule, beta=1.0)
    np.testing.assert_array_equal(again[0], boxes[keep])
    np.testing.assert_allclose(again[1], scores[keep], rtol=1e-14)
    np.testing.assert_array_equal(again[2], categories[keep])


def test_voting_brings_jittered_boxes_nearer_to_the_truth():
    """What merging is for: the mean over views is better than the best-scored view."""
    rng = np.random.default_rng(1)
    truth = np.concatenate([(corners := rng.uniform(0, 2000, (50, 2))), corners + 60], axis=1)
    truth = truth[suppress(truth, np.ones(50), np.zeros(50), 0.0, 0.8)[0]]
    union = np.concatenate([truth + rng.normal(0, 2, truth.shape) for _ in range(18)])
    scores, categories = rng.uniform(0.5, 1, len(union)), np.zeros(len(union), dtype=int)

    def error(boxes):
        return np.abs(boxes[:, None] - truth[None]).mean(axis=-1).min(axis=0).mean()

    merged, _, _ = vote(union, scores, categories)
    assert len(merged) == len(truth)
    assert error(merged) < 0.5 * error(union[suppress(union, scores, categories, 0.5, 0.8)[0]])


def test_many_categories_are_suppressed_apart_and_exactly():
    """An IoU of just the threshold suppresses nothing, whatever else is in the image."""
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [0, 4.999, 10, 10], [5, 0, 10, 10]])
    boxes = np.concatenate([boxes + i for i in range(500)])
    categories = np.repeat(np.arange(500) * 7 + 1, 4)
    keep = suppress(boxes, np.tile([0.9, 0.8, 0.7, 0.6], 500), categories, 0.5, 0.8)[0]
    assert sorted(keep) == [i for i in range(2000) if i % 4 != 2]


def test_unknown_rules_and_betas_are_refused():
    for options in ({"rule": "sum"}, {"beta": 0.0}, {"beta": -1.0}):
        with pytest.raises(UserError):
            vote(np.zeros((0, 4)), np.zeros(0), np.zeros(0), **options)
