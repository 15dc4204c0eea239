import numpy as np
import pytest

from distill.predictions.voting import RULES, suppress, vote
from distill.program import UserError

USUAL = {"nms": 0.5, "vote": 0.8, "rule": "id", "beta": 1.0, "max_per_image": 100}


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "temp_avg"])
def test_one_view_after_nms_passes_through_to_the_last_bit(rule):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 400, (300, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 120, (300, 2))], axis=1)
    scores, categories = rng.uniform(0, 1, 300), rng.integers(0, 5, 300)
    keep = suppress(boxes, scores, categories, 0.5, 0.8, 100)[0]
    assert len(keep) == 100
    again = vote(boxes[keep], scores[keep], categories[keep], **USUAL | {"rule": rule})
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

    merged = vote(union, scores, categories, **USUAL).boxes
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
            vote(np.zeros((0, 4)), np.zeros(0), np.zeros(0), **USUAL | options)
