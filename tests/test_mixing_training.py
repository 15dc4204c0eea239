"""Mosaic and mixup in a training: which of its images meet, by its draws alone, and the same after a kill."""

import json
from dataclasses import replace

import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

from distill.datasets.images import read_image
from distill.models.mixing import pipeline
from distill.models.training import train
from distill.models.training_job import full_config
from distill.program import UserError
from helpers.arrows import colour_at, draw_dataset
from helpers.estimators import config_of
from helpers.networks import kill_in, loader_config, training_job

BOTH = {"mosaic": 1.0, "mixup": 1.0}


def test_names_and_zeros_mix_nothing():
    assert pipeline("strong") == pipeline({"colour": 1, "mosaic": 0}) == []
    assert [step["type"] for step in pipeline(BOTH)] == ["MosaicInstances", "MixUpInstances"]


@pytest.fixture
def generated(tmp_path):
    """Generated labels with scores, the first image of which has a region that is no background."""
    path = draw_dataset(tmp_path / "generated", 6, seed=1)
    coco = json.loads(path.read_text())
    for annotation in coco["annotations"]:
        annotation["score"] = 0.5 + annotation["id"] / 100
    extra = {**coco["annotations"][0], "id": 99, "bbox": [0, 0, 20, 20], "iscrowd": 1}
    path.write_text(json.dumps({**coco, "annotations": [*coco["annotations"], extra]}))
    return path


def samples(tmp_path, labelled, generated, augment):
    DefaultScope.get_instance("distill", scope_name="mmdet")
    options = dict(ratio=[6, 4], weight="score", scales=[64, 96], augment=augment)
    job = training_job(tmp_path, "keypoint_rcnn_tiny", labelled, labels=generated, **options)
    return DATASETS.build(loader_config(job)["dataset"])


def test_labelled_images_are_mixed_with_labelled_ones_and_generated_with_generated(
    tmp_path, arrows, generated, monkeypatch
):
    dataset = samples(tmp_path, arrows, generated, {"labelled": BOTH, "generated": {"mosaic": 1.0}})
    alone = samples(tmp_path, arrows, generated, "none")
    read = []
    monkeypatch.setattr(
        "distill.models.data.read_image", lambda path, *rest: read.append(path) or read_image(path, *rest)
    )
    partners, unsure = {False: set(), True: set()}, set()
    for index in range(18):
        for turn in range(3):
            del read[:]
            item, first = dataset[index, (0, turn, index)], alone[index, (0, turn, index)]
            assert item["inputs"].shape == first["inputs"].shape  # they begin with the same draws
            mixed, sample = bool((item["inputs"] != first["inputs"]).any()), item["data_samples"]
            assert sample.img_id == first["data_samples"].img_id
            read.pop()  # by the second
            assert len(read) == (5 if index < 12 else 4)
            assert len({path.rpartition("/")[0] for path in read}) == 1
            assert sample.generated == (index >= 12) == ("generated" in read[0])
            partners[sample.generated] |= set(read[1:])
            kept = len(sample.gt_instances), len(sample.ignored_instances)
            assert len(sample.gt_instances.get("weights", ())) == (kept[0] if sample.generated else 0)
            which = read if mixed else read[:1]
            assert sample.unsure == (any("generated/images/0000" in path for path in which) or kept[1] > 0)
            unsure.add(sample.unsure)
    assert (len(partners[False]), len(partners[True])) == (12, 6)
    assert unsure == {True, False}


def test_keypoints_follow_the_whole_way_into_the_mosaic(tmp_path, arrows, generated):
    """One barb of an arrow is red, the other blue; which one is called left, mirroring decides."""
    augment = {"labelled": {"mosaic": 1.0}, "generated": "none"}
    dataset = samples(tmp_path, arrows, generated, augment)
    seen, right = 0, 0
    for index in range(12):
        for turn in range(5):
            item = dataset[index, (3, turn, 0)]
            instances = item["data_samples"].gt_instances
            for left_barb, right_barb in instances.keypoints.numpy()[:, 1:]:
                if left_barb[2] and right_barb[2]:
                    a, b = (colour_at(item["inputs"].numpy(), barb) for barb in (left_barb, right_barb))
                    right += min(a, b) < -30 and max(a, b) > 30
                    seen += 1
    assert seen > 40
    assert right > 0.9 * seen  # the others are cut off at a barb


def test_a_mix_depends_on_its_key_alone(tmp_path, arrows, generated):
    dataset = samples(tmp_path, arrows, generated, {"labelled": BOTH, "generated": BOTH})
    for index in (3, 14):
        first = dataset[index, (0, 5, 1)]
        dataset[index + 1, (0, 6, 0)]
        again = dataset[index, (0, 5, 1)]
        assert (again["inputs"] == first["inputs"]).all()
        for key, value in first["data_samples"].gt_instances.items():
            other = again["data_samples"].gt_instances[key]
            assert (getattr(other, "tensor", other) == getattr(value, "tensor", value)).all()
        others = [dataset[index, (0, n, 1)]["inputs"] for n in range(6, 10)]
        assert all(o.shape != first["inputs"].shape or (o != first["inputs"]).any() for o in others)


def test_a_killed_training_with_mosaic_and_mixup_ends_with_the_same_bytes(
    tmp_path, arrows, generated, monkeypatch
):
    some = {"mosaic": 0.7, "mixup": 0.5, "zoom": 0.5}
    options = dict(iterations=6, checkpoint_every=3, scales=[64], ema=0.6, weight="score", ratio=[6, 4])
    options |= dict(labels=generated, augment={"labelled": some, "generated": BOTH})
    whole = training_job(tmp_path / "a", "faster_rcnn_tiny", arrows, **options)
    train(whole)
    killed = training_job(tmp_path / "b", "faster_rcnn_tiny", arrows, **options)
    kill_in(killed, 4, monkeypatch)
    train(killed)
    assert json.loads((killed.output / "run.json").read_text())["resumes"] == 1
    assert (killed.output / "model.pth").read_bytes() == (whole.output / "model.pth").read_bytes()


def test_a_training_of_a_pose_estimator_refuses_them(tmp_path, arrows):
    job = training_job(tmp_path, "faster_rcnn_tiny", arrows, augment={"labelled": {"mosaic": 0.5}})
    job = replace(job, config=config_of(tmp_path / "configs", "hrnet"))
    with pytest.raises(UserError, match="augment: mosaic: a pose estimator sees crops"):
        full_config(job, 0)
