"""Which images and predictions the report shows: agreement with the truth, galleries."""

import pytest

from distill.files import write_json
from distill.report.comparison import Shown, agreement
from distill.report.gallery import pick
from helpers.person import dataset, person

SIGMAS = (0.05, 0.05, 0.05)


def test_agreement_rewards_position_sides_and_counts():
    truth = [person(1)]
    assert agreement([person(1, 0.9)], truth, SIGMAS) == pytest.approx(1)
    near, far = (agreement([person(1, 0.9, shift)], truth, SIGMAS) for shift in (1, 3))
    assert 1 > near > far > 0
    swapped = person(1, 0.9, points=[30, 30, 2, 40, 40, 2, 20, 40, 2])
    assert agreement([swapped], truth, SIGMAS) == 0  # two of three keypoints are wrong
    assert agreement([person(1, 0.9), person(1, 0.8)], truth, SIGMAS) == pytest.approx(2 / 3)  # a duplicate
    assert agreement([], truth, SIGMAS) == 0
    assert agreement([], [], SIGMAS) == 1


def test_agreement_ignores_what_lies_in_a_crowd():
    crowd = {"category_id": 1, "bbox": [0, 0, 100, 100], "iscrowd": 1}
    inside = {"category_id": 1, "bbox": [10, 10, 5, 5], "score": 0.9}
    assert agreement([inside], [crowd]) == 1
    assert agreement([inside | {"bbox": [200, 10, 5, 5]}], [crowd]) == 0
    assert agreement([inside | {"category_id": 2}], [crowd]) == 0


def test_as_many_predictions_are_shown_as_there_are_instances(tmp_path):
    truth = dataset(tmp_path, [person(i, points=[30, 30, 2, 20, 40, 1, 0, 0, 0]) for i in (1, 2)])
    scored = [30, 30, 0.9, 20, 40, 0.6, 40, 40, 0.5]
    write_json(tmp_path / "merged.json", [person(i % 3 + 1, 0.1 * i, points=scored) for i in range(1, 8)])
    shown = Shown.of(tmp_path / "merged.json", truth)
    assert sorted(p["score"] for found in shown.by_image.values() for p in found) == pytest.approx([0.6, 0.7])
    assert 0.5 < shown.visible < 0.6  # of each, the truth shows two of three keypoints


def test_gallery_groups():
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(40)]
    by_image = {i: [{"score": i / 40}] * (1 + i % 3) for i in range(20)}
    groups = pick(images, by_image)
    shown = {title: [image["id"] for image in found] for title, found in groups}
    assert shown["Most confident"] == [19, 18, 17, 16, 15, 14, 13, 12]
    assert shown["Least confident"] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert any(image >= 20 for image in shown["A random draw of all unlabelled images"])
    assert sorted(len(by_image[i]) for i in shown["Most instances"]) == [2, 2, 3, 3, 3, 3, 3, 3]
    assert all(i >= 20 for i in shown["Fewest instances"])
    assert shown["Fewest instances"] != list(range(39, 31, -1))  # of the many without any, a random choice
    assert groups == pick(images, by_image)
    assert [len(found) for _, found in pick(images[:3], {})] == [0, 0, 3, 3, 0]  # none is shown as both
