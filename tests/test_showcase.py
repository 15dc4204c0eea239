"""The picture of a study: the images that it is to show, each with what is known about them."""

import numpy as np
import pytest

from distill.datasets.keypoint_meta import keypoint_meta
from distill.files import read_json, write_json
from distill.inspection.pictures import picture
from distill.program import UserError
from distill.report.comparison import Shown, agreement
from distill.report.wording import signed
from helpers import studied


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return studied.make(tmp_path_factory.mktemp("studied"))[1]


def of_image(records, image):
    return [record for record in records if record["image_id"] == image]


def test_rows_are_of_middling_labels_and_of_the_greatest_differences(results):
    truth = read_json(results / "datasets/val.json")
    empty = truth["images"][0][
        "id"
    ]  # an image that shows nothing tells little, whatever the models say of it
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] != empty]
    write_json(results / "datasets/val.json", truth)
    figure = picture(results / "study.json")
    rows = np.reshape(figure.axes, (3, 3))
    drawn = [[len(axes.patches) for axes in row] for row in rows]
    labels = read_json(results / "labels/distilled/annotations.json")
    means = {
        image["id"]: np.mean([label["score"] for label in found])
        for image in labels["images"]
        if (found := of_image(labels["annotations"], image["id"]))
    }
    middle = sorted(means, key=means.get)[len(means) // 2]
    name = next(image["file_name"] for image in labels["images"] if image["id"] == middle)
    source = read_json(results / "datasets/all.json")
    (hidden,) = (image["id"] for image in source["images"] if image["file_name"] == name)
    known = [len(of_image(labels["annotations"], middle)), len(of_image(source["annotations"], hidden))]
    assert drawn[0] == [0, *known]

    models = [Shown.of(results / f"merged/{name}/val/plain.json", truth) for name in ("teacher", "student")]
    sigmas = keypoint_meta(truth).sigmas
    gains = {}
    for image in truth["images"][1:]:
        real = of_image(truth["annotations"], image["id"])
        before, after = (agreement(model.drawn(image["id"]), real, sigmas) for model in models)
        gains[image["id"]] = after - before
    for row, counts, image in zip(
        rows[1:], drawn[1:], (max(gains, key=gains.get), min(gains, key=gains.get)), strict=True
    ):
        assert row[0].texts[-1].get_text() == f"student {signed(gains[image], 2)}"
        real = of_image(truth["annotations"], image)
        assert counts == [*(len(model.by_image.get(image, ())) for model in models), len(real)]
    better, worse = (sum(sign * gain > 0 for gain in gains.values()) for sign in (1, -1))
    said = f"the student is better on {better}, worse on {worse} of {len(gains)} "
    assert figure.get_suptitle().startswith(said)


def test_keypoints_that_are_not_shown_are_invisible():
    points = [1, 2, 0.2, 3, 4, 0.6]
    shown = Shown({7: [{"score": 0.5, "keypoints": points}, {"score": 0.4}]}, visible=0.2)
    assert shown.drawn(7) == [{"score": 0.5, "keypoints": [1, 2, 0, 3, 4, 0.6]}, {"score": 0.4}]
    assert shown.by_image[7][0]["keypoints"] is points
    assert shown.drawn(8) == []


def test_without_a_student_there_is_no_picture(results, tmp_path):
    study = read_json(results / "study.json")
    write_json(tmp_path / "study.json", study | {"labels": {}})
    with pytest.raises(UserError, match="without a student"):
        picture(tmp_path / "study.json")
