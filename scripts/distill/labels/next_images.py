"""Which images to label next: those in which most is doubtful, and no two of them alike.

An image is described by what the teacher sees in it: the square roots of its numbers of objects, by category
and size in octaves, a label counting 1 − doubt and a missed one its doubt. Images are taken one by one, the
one with the highest expected number of mistakes × distance from the labelled images and those that were taken
before: the greedy k-centre of core-set selection (Sener & Savarese 2018, arXiv 1708.00489), weighted. No
network runs.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from distill.datasets.coco import Coco, instances

LISTED = 1000  # images of next.csv, at most
CENTRES = 2000  # labelled images that distances are measured from, at most
BLOCK = 32  # of them at once


def next_images(table: pd.DataFrame, dataset: Coco, labelled: Coco) -> pd.DataFrame:
    """The rows of next.csv, the image to label first on top.

    table: of `review.doubts`.
    dataset: the unlabelled COCO dict.
    labelled: the labelled COCO dict.

    Columns: image_id, file_name; mistakes, the number that is expected among its labels and missed objects;
    labels, how many it has; distance, from what was labelled or taken before.
    """
    images = [image["id"] for image in dataset["images"]]
    is_label = table["kind"] == "label"
    seen = _objects(table, table["doubt"].where(~is_label, 1 - table["doubt"]))
    real = pd.DataFrame(
        [(a["image_id"], a["category_id"], *a["bbox"][2:]) for a in instances(labelled)],
        columns=["image_id", "category_id", "width", "height"],
    )
    known = [image["id"] for image in labelled["images"]]
    kinds = seen.index.droplevel(0).unique()
    found = _described(seen, images, kinds)
    centres = _described(_objects(real, pd.Series(1.0, real.index)), known, kinds)
    centres = centres[:: max(1, -(-centres.shape[0] // CENTRES))]
    mistakes = table.groupby("image_id")["doubt"].sum().reindex(images, fill_value=0.0).to_numpy()
    taken, distance = _spread_out(found, centres, mistakes, LISTED)
    names = [image["file_name"] for image in dataset["images"]]
    labels = table[is_label].groupby("image_id").size().reindex(images, fill_value=0).to_numpy()
    return pd.DataFrame(
        {
            "image_id": [images[i] for i in taken],
            "file_name": [names[i] for i in taken],
            "mistakes": mistakes[taken].round(3),
            "labels": labels[taken],
            "distance": distance.round(3),
        }
    )


def _objects(table: pd.DataFrame, weight: pd.Series) -> pd.Series:
    """Weighted numbers of objects, by image, category and octave of size."""
    side = np.sqrt((table["width"] * table["height"]).astype(float).clip(lower=1))
    keys = [table["image_id"], table["category_id"], np.log2(side).astype(int).rename("octave")]
    return weight.astype(float).groupby(keys).sum()


def _described(numbers: pd.Series, images: list[Any], kinds: pd.Index) -> csr_array:
    """(images, kinds) the square roots of `_objects`; few of them are not 0. kinds: category and octave."""
    rows = pd.Index(images).get_indexer(numbers.index.get_level_values(0))
    columns = kinds.get_indexer(numbers.index.droplevel(0))
    known = columns >= 0
    places = rows[known], columns[known]
    return csr_array((np.sqrt(numbers.to_numpy())[known], places), shape=(len(images), len(kinds)))


def _spread_out(
    found: csr_array, centres: csr_array, weight: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Up to `count` rows of `found` (N, D), each the highest of weight (N,) × distance from the nearest of
    the centres (C, D) and of the rows before it, of equals the first; and that distance, (count,)."""
    squares = found.power(2).sum(axis=1)

    def distances(points: csr_array) -> np.ndarray:
        """(N, points), as |a|² + |b|² − 2ab: of sparse rows, whose differences are not sparse."""
        products = (found @ points.T).toarray()
        return np.sqrt(np.maximum(squares[:, None] + points.power(2).sum(axis=1) - 2 * products, 0))

    nearest = np.full(found.shape[0], np.inf)
    for start in range(0, centres.shape[0], BLOCK):
        nearest = np.minimum(nearest, distances(centres[start : start + BLOCK]).min(axis=1))
    if not centres.shape[0]:
        nearest[:] = np.sqrt(squares) + 1
    taken, distance, free = [], [], np.ones(found.shape[0], bool)
    for _ in range(min(count, found.shape[0])):
        best = int(np.where(free, weight * nearest, -1).argmax())
        taken.append(best)
        distance.append(nearest[best])
        free[best] = False
        nearest = np.minimum(nearest, distances(found[[best]])[:, 0])
    return np.array(taken, int), np.array(distance)
