"""A doubt that is learned from the hidden labels themselves: what the formula of `labels.review` could gain.

It is nothing that anybody could use, since it has seen whether objects of the same kind are right; where
even it is hardly better than the formula, other weights of the same numbers would help little. A logistic
regression is fitted on one half of the images and asked about the other, and the other way round.
"""

import numpy as np
import pandas as pd

from distill.labels.review import unusual

LEAST = 1e-3  # a score, or pixels of spread, before the logarithm
RIDGE = 1.0  # of squared weights of standardised features: as strong as the doubt about a handful of objects
STEPS = 25  # of Newton's method; it needs about six


def features(table: pd.DataFrame) -> pd.DataFrame:
    """What views and box say of each row of `labels.review.doubts`, less what is usual for the labels of its
    category, the median; NaN where they say nothing. Seven columns, with the index of the table."""
    values = table[["views", "overlap", "entropy", "oddness"]].astype(float)
    for key in ("score", "mean", "spread"):
        values[key] = np.log(table[key].astype(float).clip(lower=LEAST))
    return values.apply(lambda column: unusual(table, column))


def held_out(values: np.ndarray, hit: np.ndarray, images: np.ndarray) -> np.ndarray | None:
    """(n,) the probability of a hit by a regression that has not seen any row of the image; None where one
    half of the images has no hit, or nothing else.

    values: (n, d) features. hit: (n,) bool. images: (n,) ids.
    """
    names = np.unique(images)
    first = np.isin(images, np.random.default_rng(0).permutation(names)[: len(names) // 2])
    found = np.empty(len(hit))
    for seen in (first, ~first):
        if hit[seen].all() or not hit[seen].any():
            return None
        known = ~np.isnan(values[seen])
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, values[seen], 0).sum(axis=0) / count
        spread = np.sqrt((np.where(known, values[seen] - mean, 0) ** 2).sum(axis=0) / count)
        # What is not known is as usual: 0.
        rows = np.nan_to_num((values - mean) / np.where(spread > 0, spread, 1))
        rows = np.column_stack([rows, np.ones(len(rows))])
        found[~seen] = _sigmoid(rows[~seen] @ logistic(rows[seen], hit[seen]))
    return found


def logistic(rows: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """(d,) the weights of a logistic regression by Newton's method; the last column is the constant."""
    ridge = RIDGE * np.eye(rows.shape[1])
    ridge[-1, -1] = 1e-6
    weights = np.zeros(rows.shape[1])
    for _ in range(STEPS):
        found = _sigmoid(rows @ weights)
        slope = rows.T @ (found - hit) + ridge @ weights
        curvature = (rows * (found * (1 - found))[:, None]).T @ rows + ridge
        weights -= np.linalg.solve(curvature, slope)
    return weights


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))
