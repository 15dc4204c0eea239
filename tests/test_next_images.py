"""The images to label next: what is known, and what is missed, in numbers."""

import numpy as np
import pytest

from distill.labels import review
from distill.labels.next_images import next_images
from distill.labels.review import worst_first
from helpers.doubted import ALIKE, CELL, UNLABELLED, cell, doubted, prints


def test_a_missed_object_counts_by_how_sure_it_is_that_it_is_one(tmp_path):
    table = doubted(tmp_path, [cell(1, 0, 0.9), cell(2, 0, 0.3)])  # of image 2 one is missed, and it is first
    first = next_images(table, UNLABELLED, {"images": [], "annotations": []}, (ALIKE, []))
    doubt = table.loc[table["image_id"] == first["image_id"][0], "doubt"].item()
    assert first["distance"][0] == pytest.approx(1 + np.sqrt(doubt), abs=1e-3)


def test_labelled_crowds_are_no_known_objects(tmp_path):
    table = doubted(tmp_path, [cell(1, 0, 0.51), cell(2, 0, 0.52, bbox=[0.0, 0, 200, 200])])
    crowd = {"image_id": 9, "category_id": 4, "bbox": [0, 0, 20, 20], "iscrowd": 1}
    none, some = (
        next_images(table, UNLABELLED, {"images": [{"id": 9}], "annotations": known}, (ALIKE, prints(0)))
        for known in ([], [crowd])
    )
    assert none.equals(some)


def test_the_worst_are_listed_wherever_they_stand(tmp_path, monkeypatch):
    table = doubted(tmp_path, [cell(1, 0, 0.99), cell(2, 0, 0.51)])
    assert table["doubt"].idxmax() == 1
    monkeypatch.setattr(review, "LISTED", 1)
    assert worst_first(table, UNLABELLED, [CELL])["image_id"].tolist() == [2]
