"""Which images to label next: those in which most is doubtful, and no two of them alike.

An image is described by what the teacher sees in it: the square roots of its numbers of objects, by category
and size in octaves, a label counting 1 − doubt and a missed one its doubt; and by its look, a perceptual
hash: many images hold one object each, as frames of a video do, and of those that show the same one will do.
Images are taken one by one, the one with the highest expected number of mistakes × distance from the labelled
images and those that were taken before: the greedy k-centre of core-set selection (Sener & Savarese 2018,
arXiv 1708.00489), weighted. No network runs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from distill.datasets.coco import Coco, instances
from distill.datasets.fingerprints import SIDE, Fingerprint, distances, looks

LISTED = 1000  # images of next.csv, at most
CENTRES = 2000  # labelled images that distances are measured from, at most
BLOCK = 32  # of them at once
BIT = 1 / SIDE**2  # of a squared distance, by which looks differ: in half of the bits, of unlike images

# Of images: their objects, of `_described`, and their looks, (images, words).
Described = tuple[csr_array, np.ndarray]


def next_images(
    table: pd.DataFrame,
    dataset: Coco,
    labelled: Coco,
    prints: Sequence[Sequence[Fingerprint]],
) -> pd.DataFrame:
    """The rows of next.csv, the image to label first on top.

    table: of `review.doubts`.
    dataset: the unlabelled COCO dict.
    labelled: the labelled COCO dict.
    prints: two, fingerprints of the images of both, in their order.

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
    mine, theirs = (looks(list(each)) for each in prints)
    few = slice(None, None, max(1, -(-len(known) // CENTRES)))
    mistakes = table.groupby("image_id")["doubt"].sum().reindex(images, fill_value=0.0).to_numpy()
    taken, distance = _spread_out((found, mine), (centres[few], theirs[few]), mistakes, LISTED)
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
    images: Described, centres: Described, weight: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Up to `count` of N images, each the highest of weight (N,) × distance from the nearest of the centres
    and of the images before it, of equals the first; and that distance, (count,)."""
    found, seen = images
    squares = found.power(2).sum(axis=1)

    def apart(points: csr_array, theirs: np.ndarray) -> np.ndarray:
        """(N, points); of objects as |a|² + |b|² − 2ab: of sparse rows, whose differences are not sparse."""
        products = (found @ points.T).toarray()
        objects = np.maximum(squares[:, None] + points.power(2).sum(axis=1) - 2 * products, 0)
        return np.sqrt(objects + BIT * np.concatenate([bits for _, bits in distances(seen, theirs)]))

    nearest = np.full(len(seen), np.inf)
    for start in range(0, len(centres[1]), BLOCK):
        points, theirs = (part[start : start + BLOCK] for part in centres)
        nearest = np.minimum(nearest, apart(points, theirs).min(axis=1))
    if not len(centres[1]):
        nearest[:] = np.sqrt(squares) + 1
    taken, distance, free = [], [], np.ones(len(seen), bool)
    for _ in range(min(count, len(seen))):
        best = int(np.where(free, weight * nearest, -1).argmax())
        taken.append(best)
        distance.append(nearest[best])
        free[best] = False
        nearest = np.minimum(nearest, apart(found[[best]], seen[[best]])[:, 0])
    return np.array(taken, int), np.array(distance)
