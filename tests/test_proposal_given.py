"""What a proposed study makes of unlabelled images that are few, of other proportions, or validated on."""

from dataclasses import replace

import pytest

from distill.predictions.views import View
from distill.study import material, proposal, proposal_text
from helpers.others import OBJECT, annotation, voc
from helpers.proposed import COCO, FACTS, GIVEN, study


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("sizes", [(0.1, 0.2, 0.5), (0.03, 0.03, 0.04)])
@pytest.mark.parametrize("aspect", [2, 6, 8, 12, 20])
def test_views_of_wide_images_differ(device, sizes, aspect):
    """The longer side is limited: shorter ones beyond that would all look the same."""
    found = replace(FACTS, sizes=sizes, aspect=aspect)
    resolved = study(found, device=device)[1]
    views = [View.parse(name) for name in resolved["views"]["all"] + resolved["views"]["plain"]]
    assert len({view.size(aspect * 100, 100) for view in views}) == len({view.scale for view in views}) > 1
    assert resolved["models"]["student"]["max_side"] >= aspect * views[-1].scale


def test_small_objects_are_told_by_what_wide_images_show():
    found = replace(FACTS, sizes=(0.03, 0.1, 0.2), aspect=8, side=400)
    config = study(found, device="gpu")[0]
    side = config["views"]["plain"][0]["scale"]
    assert side == 240
    (line,) = proposal_text.words(config, found, GIVEN, "gpu")
    assert line.startswith("small objects have about 7.2 pixels in training")
    config = study(replace(found, sizes=(0.02, 0.1, 0.2)))[0]
    (line,) = proposal_text.words(config, replace(found, sizes=(0.02, 0.1, 0.2)), GIVEN, "cpu")
    assert "tiles" in line
    assert "GPU" not in line  # it shows them no larger


def test_unlabelled_images_may_be_wider_than_labelled_ones():
    config = proposal.config(replace(FACTS, aspect=1), replace(GIVEN, aspect=3.0), "results/x", "cpu")
    assert config["model"]["max_side"] >= 3 * max(config["model"]["scales"])


def test_hidden_labels_are_of_what_is_left_to_learn_from():
    hidden = replace(GIVEN, unlabelled=None, unlabelled_images=0, hide=0.75)
    assert proposal.amounts(FACTS, hidden) == pytest.approx((16, 48))
    assert proposal.amounts(FACTS, replace(hidden, val=COCO)) == pytest.approx((20, 60))


def test_hardly_any_unlabelled_images_are_said():
    for images, beginning in ((10, "only 10 unlabelled images beside 64"), (64, None)):
        sources = replace(GIVEN, unlabelled_images=images)
        config = proposal.config(FACTS, sources, "results/x", "gpu")
        lines = proposal_text.words(config, FACTS, sources, "gpu")
        assert [line.startswith(beginning or "") for line in lines] == [True] * (beginning is not None)


@pytest.mark.parametrize(("frames", "val", "said"), [(True, None, 1), (True, COCO, 0), (False, None, 0)])
def test_videos_of_frames_that_are_validated_on(frames, val, said):
    found = replace(FACTS, frames=frames)
    sources = replace(GIVEN, val=val, unlabelled={"kind": "videos", "videos": "x", "frames": 9, "at": "even"})
    config = proposal.config(found, sources, "results/x", "gpu")
    lines = proposal_text.words(config, found, sources, "gpu")
    assert sum("if the unlabelled videos are those of the labelled frames" in line for line in lines) == said


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (range(80, 96, 5), (0.8, 1)),
        (range(40, 50), (0.4, 0.5)),
        (range(3, 30, 9), (0, 0.22)),
        ((10, 80, 85, 90, 95), (0.8, 1)),  # a frame that looks like another one
        ((5, 60), None),
        ((), None),
    ],
)
def test_where_frames_to_validate_on_are_among_others(places, expected):
    assert material.stretch(places, 100) == expected


@pytest.mark.parametrize(
    ("folders", "val"),
    [(("train", "valid", "test"), "valid"), (("train", "val"), "val"), (("train", "test"), None)],
)
def test_folders_of_voc_as_roboflow_exports_them(tmp_path, folders, val):
    for name in folders:
        (tmp_path / name).mkdir()
        objects = OBJECT.format(name="cat", difficult=0, box=(1, 1, 9, 9))
        (tmp_path / name / "0.xml").write_text(annotation(objects))
    entry = {"kind": "voc", "annotations": "x"}
    if val is None:  # whoever gives it wants all
        assert material.own_validation(str(tmp_path), entry) == (entry, None)
        return
    own = material.own_validation(str(tmp_path), entry)
    assert [part["annotations"] for part in own] == ["x/train", f"x/{val}"]
    voc(tmp_path)  # whose own Annotations count
    assert material.own_validation(str(tmp_path), entry)[0] == {**entry, "split": "train"}
