"""A doubt that is learned of hidden labels, and the area under the curve that measures one."""

import numpy as np
import pytest

from distill.report.hidden_review import area_under_roc
from distill.report.learned_review import held_out, logistic


def test_the_area_under_the_curve_counts_pairs():
    rng = np.random.default_rng(0)
    values, hit = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in values[hit] for b in values[~hit]]
    assert area_under_roc(values, hit) == pytest.approx(np.mean(pairs))
    assert area_under_roc(values, np.ones(40, bool)) is None


def test_a_learned_doubt_finds_what_was_planted_and_nothing_in_noise():
    rng = np.random.default_rng(2)
    values, images = rng.normal(size=(400, 3)), np.repeat(np.arange(100), 4)
    values[::7, 1] = np.nan
    hit = rng.random(400) < 1 / (1 + np.exp(-2 * values[:, 0]))
    planted, noise = held_out(values, hit, images), held_out(values[:, 1:], hit, images)
    assert area_under_roc(planted, hit) == pytest.approx(area_under_roc(values[:, 0], hit), abs=0.02)
    assert abs(area_under_roc(noise, hit) - 0.5) < 0.08
    changed = np.where(images == 3, ~hit, hit)  # what an image's labels are does not reach their own doubt
    assert (held_out(values, changed, images)[images == 3] == planted[images == 3]).all()
    assert held_out(values, np.zeros(400, bool), images) is None
    rows = np.column_stack([values[:, 0], np.ones(400)])
    slope = rows.T @ (1 / (1 + np.exp(-rows @ logistic(rows, hit))) - hit)
    assert slope == pytest.approx(
        [-logistic(rows, hit)[0], 0], abs=1e-3
    )  # of the likelihood, and the ridge's
