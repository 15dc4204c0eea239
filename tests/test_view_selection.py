"""View selection: greedy on a known landscape, and on real prediction files whose best set is known."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from distill.evaluation.average_precision import evaluate
from distill.evaluation.view_selection import by_shard, select
from distill.files import read_json, write_json
from distill.predictions import boxes as box_math
from distill.predictions.merge import merge_boxes
from distill.predictions.views import View
from distill.program import UserError
from helpers import SCRIPTS
from helpers.options import as_json
from helpers.options import merge_options as Options

SIZE = (200, 150)


def landscape(values):
    """A measure: sets of views → AP, those that are not listed 0."""
    return lambda sets: [
        {"AP": values.get("".join(sorted(views)), 0), "AP50": None, "AP75": None} for views in sets
    ]


def test_the_set_grows_by_the_best_view_and_ends_when_patience_does():
    values = {
        "a": 0.3,
        "b": 0.5,
        "c": 0.5,
        "ab": 0.6,
        "bc": 0.5,
        "abc": 0.4,
        "abd": 0.6,
        "abcd": 0.6,
        "d": None,
    }
    found = select("abcd", landscape(values), patience=2)
    growing = found.frame[found.frame["set"] == "growing"]
    assert growing["view"].tolist() == ["b", "a", "d", "c"]  # of b and c, which are equal, the first
    np.testing.assert_allclose(growing["AP"], [50, 60, 60, 60])
    assert found.best == ("b", "a")
    assert found.frame["AP"].isna().tolist() == [False, False, False, True, *[False] * 4]
    impatient = select("abcd", landscape(values), patience=1).frame
    assert len(impatient) == 4 + 3
    higher_later = select("abcd", landscape(values | {"abcd": 0.9}), patience=2)
    assert higher_later.best == ("b", "a", "d", "c")


@pytest.fixture
def predicted(tmp_path):
    """Two shards of two images. s0100 sees what is left, its mirror what is right, s0120 all, roughly."""
    rng = np.random.default_rng(0)
    corners = np.array([[x, y] for x in (10, 60, 120, 160) for y in (10, 60, 110)], dtype=float)
    truth = np.concatenate([corners, corners + 25], axis=1)
    left = truth[:, 0] < 100
    size = {"width": SIZE[0], "height": SIZE[1]}
    images = [{"id": i, "file_name": f"{i}.png", **size} for i in range(4)]
    boxes = [(image["id"], box) for image in images for box in box_math.xyxy_to_xywh(truth).tolist()]
    annotations = [
        {"id": n, "image_id": image, "category_id": 1, "bbox": box, "area": 625, "iscrowd": 0}
        for n, (image, box) in enumerate(boxes, 1)
    ]
    dataset = {
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "x"}],
    }
    write_json(tmp_path / "val.json", dataset)
    views = {View(100): truth[left], View(100, flip=True): truth[~left]}
    views[View(120)] = truth + rng.normal(0, 3, truth.shape)
    paths = []
    for view, boxes in views.items():
        width, height = view.size(*SIZE)
        seen = box_math.xyxy_to_xywh(view.forward_boxes(boxes, SIZE)).tolist()
        for shard in (0, 1):
            mine = images[2 * shard : 2 * shard + 2]
            header = [image | {"view_width": width, "view_height": height} for image in mine]
            records = [
                {"image_id": image["id"], "category_id": 1, "bbox": box, "score": 0.9}
                for image in mine
                for box in seen
            ]
            names = {"view": view.name, "model": "m", "dataset": "val"}
            paths.append(tmp_path / view.name / f"{shard:03d}.json")
            write_json(paths[-1], names | {"images": header, "predictions": records})
    return tmp_path, paths


def test_views_that_complete_each_other_are_chosen(predicted):
    folder, paths = predicted
    output = folder / "selection.csv"
    options = ["--dataset", folder / "val.json", "--processes", "2", "--options"]
    options.append(as_json(Options(score="avg")))
    command = [sys.executable, SCRIPTS / "select_views.py", *options, "--output", output, *paths]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    frame = pd.read_csv(output)
    alone = frame[frame["set"] == "alone"].set_index("view")["AP"]
    assert 40 < alone["s0100"] < 60
    growing = frame[frame["set"] == "growing"]
    both = growing[growing["views"] == 2].iloc[0]
    assert {growing["view"].iloc[0], both["view"]} == {"s0100", "s0100-flip"}
    assert both["AP"] == pytest.approx(100)
    # What it says of a set is what merging and evaluating that set says.
    for views, expected in ((["s0120"], alone["s0120"]), (alone.index, growing["AP"].iloc[-1])):
        records = [
            record
            for shard in ("000", "001")
            for record in merge_boxes(
                [folder / view / f"{shard}.json" for view in views],
                read_json(folder / "val.json"),
                Options(score="avg"),
            )
        ]
        assert evaluate(read_json(folder / "val.json"), records)["AP"] * 100 == pytest.approx(expected)
    text = output.with_suffix(".md").read_text()
    assert "chosen: [s0100, s0100-flip]" in text or "chosen: [s0100-flip, s0100]" in text
    assert output.with_suffix(".svg").read_text().count("<svg") == 1


def test_a_missing_shard_of_a_view_is_refused(predicted):
    _, paths = predicted
    with pytest.raises(UserError, match="shard 001 has no predictions under s0120"):
        by_shard(paths[:-1])
