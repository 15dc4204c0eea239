"""Drawings of the report: overlays on images, and the album that embeds each image once."""

import re

import cv2
import numpy as np
from markupsafe import Markup

from distill.report.drawing import Album, overlay
from helpers.person import PERSON, person


def test_overlay_tells_left_from_right_and_hides_what_is_invisible():
    drawn = str(overlay([person(1) | {"iscrowd": 0}], [PERSON]))
    paths = dict(re.findall(r'<path class="([^"]*)" d="([^"]*)"', drawn))
    assert paths["limb left"] == "M30.0 30.0L20.0 40.0"
    assert paths["limb right"] == "M30.0 30.0L40.0 40.0"
    assert paths["limb middle"] == "M20.0 40.0L40.0 40.0"  # hand to hand belongs to neither side
    assert paths["dot left"] == "M20.0 40.0h0"
    assert 'x="10.0" y="20.0" width="40.0" height="40.0"' in drawn
    hidden = str(overlay([person(1, points=[30, 30, 2, 0, 0, 0, 40, 40, 2])], [PERSON]))
    assert set(re.findall(r'<path class="([^"]*)"', hidden)) == {
        *("limb halo", "limb right", "dot halo", "dot right", "dot middle")
    }
    by_score = overlay(
        [person(1, 0.5, points=[30, 30, 0.2, 20, 40, 0.3, 40, 40, 0.9])], [PERSON], visible=0.3
    )
    assert re.findall(r'<path class="([^"]*)"', str(by_score)) == ["dot halo", "dot right"]
    assert "person 0.50" in str(by_score)


def test_overlay_of_other_categories_and_no_skeleton():
    plain = {"id": 2, "name": "<cell>"}
    drawn = str(
        overlay([{"category_id": 2, "bbox": [1, 2, 3, 4]}, {"category_id": 7, "bbox": [0, 0, 1, 1]}], [plain])
    )
    assert drawn.count('class="instance"') == 1
    assert "&lt;cell&gt;" in drawn


def test_album_embeds_once_reduces_and_keeps_to_its_budget(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    images = [{"file_name": f"{i}.png", "width": 400, "height": 300} for i in range(5)]
    for image in images:
        cv2.imwrite(str(tmp_path / image["file_name"]), noise)
    album = Album(side=100)
    first = album.add(str(tmp_path), images[0])
    assert album.add(str(tmp_path), images[0]) is first
    assert (first.width, first.height) == (400, 300)  # overlays are in original pixels
    budget = Album(side=100, budget=int(1.5 * album.used))
    assert [budget.add(str(tmp_path), image) is not None for image in images] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert str(budget.definitions()).count("data:image/jpeg") == 2
    assert budget.missing == 3
    full = Album(side=100, budget=1000)
    first = full.add(str(tmp_path), images[0])
    full.panel(first, Markup("<g></g>" * 1000), "")  # an image of a crowd has a large overlay
    assert full.add(str(tmp_path), images[1]) is None
