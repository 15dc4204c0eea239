"""The training images: keypoints follow every transform, and a draw is a pure function of its key."""

import json

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

from distill.datasets.figures import CATEGORY
from distill.datasets.images import scan
from distill.datasets.keypoint_meta import keypoint_meta
from distill.models.data import ResizeInstances
from distill.models.poses import PoseInstances
from distill.models.training_job import full_config
from distill.predictions.views import View
from distill.program import UserError, _message
from helpers.arrows import colour_at, draw_dataset
from helpers.networks import SPEC, loader_config, training_job


def build(path, tmp_path, keypoints=3, labels=None, **spec):
    DefaultScope.get_instance("distill", scope_name="mmdet")
    job = training_job(tmp_path, "keypoint_rcnn_tiny", path, labels=labels, ratio=[6, 4], **spec)
    return DATASETS.build(loader_config(job)["dataset"])


def test_keypoints_follow_flips_and_scales(arrows, tmp_path):
    dataset = build(arrows, tmp_path, scales=[64, 96, 128])
    flips, shapes, checked = set(), set(), 0
    for index in range(len(dataset)):
        for draw in range(4):
            item = dataset[index, (0, draw, 0)]
            image, sample = item["inputs"].numpy(), item["data_samples"]
            flips.add(sample.flip)
            shapes.add(min(image.shape[1:]))
            instances = sample.gt_instances
            for points, label in zip(instances.keypoints.numpy(), instances.labels, strict=True):
                if label:  # a disc has no keypoints
                    assert (points[:, 2] == 0).all()
                    continue
                # A mirrored arrow has its red barb on its right: the colour stays, the name is swapped.
                left, right = (2, 1) if sample.flip else (1, 2)
                assert colour_at(image, points[left]) > 30  # red
                assert colour_at(image, points[right]) < -30  # blue
                assert points[1, 0] < points[2, 0]  # what is called left stays left of what is called right
                checked += 1
    assert flips == {True, False}
    assert shapes == {64, 96, 128}
    assert checked > 20


def test_boxes_and_keypoints_scale_by_exact_factors(arrows, tmp_path):
    dataset = build(arrows, tmp_path, scales=[77])
    coco = json.loads(arrows.read_text())
    for index in range(len(dataset)):
        sample = dataset[index, (1, index, 0)]["data_samples"]
        image = next(i for i in coco["images"] if i["id"] == sample.img_id)
        height, width = sample.img_shape
        factor = np.array([width / image["width"], height / image["height"]])
        truth = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        for annotation, box in zip(truth, sample.gt_instances.bboxes.tensor.numpy(), strict=True):
            x, y, w, h = annotation["bbox"]
            expected = np.array([x, y, x + w, y + h]) * np.tile(factor, 2)
            if sample.flip:
                expected[[0, 2]] = width - expected[[2, 0]]
            assert np.allclose(box, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "resized"), [((4, 5000), (1, 400)), ((5000, 4), (400, 1)), ((9, 100), (36, 400))]
)
def test_a_very_thin_image_is_as_large_as_its_view(shape, resized):
    resize = ResizeInstances(scale=(400, 100), keep_ratio=True)
    for _ in range(2):  # the second image has nothing of the first
        assert resize({"img": np.zeros((*shape, 3), np.uint8)})["img"].shape[:2] == resized
        width, height = View(100, max_side=400).size(*shape[::-1])
        assert (height, width) == resized
        assert resize({"img": np.zeros((60, 80, 3), np.uint8)})["img"].shape[:2] == (100, 133)


def test_a_draw_depends_on_its_key_alone(arrows, tmp_path):
    dataset = build(arrows, tmp_path, scales=[64, 96, 128])
    first = dataset[3, (0, 5, 1)]["inputs"]
    dataset[4, (0, 6, 0)]
    assert (dataset[3, (0, 5, 1)]["inputs"] == first).all()
    others = [dataset[3, (0, n, 1)]["inputs"] for n in range(6, 16)]
    assert any(o.shape != first.shape or (o != first).any() for o in others)


def test_generated_images_come_after_labelled_ones_and_say_so(arrows, tmp_path):
    labels = draw_dataset(tmp_path / "generated", 5, seed=1)
    dataset = build(arrows, tmp_path, labels=labels, background="ignore")
    assert dataset.sizes == [12, 5]
    metas = [dataset[i, (0, 0, 0)]["data_samples"].metainfo for i in range(17)]
    assert [m["generated"] for m in metas] == [False] * 12 + [True] * 5
    assert [m["background"] for m in metas] == [True] * 12 + [False] * 5


def test_images_without_instances_and_crowds_are_left_out(tmp_path):
    path = draw_dataset(tmp_path / "some", 4, seed=2)
    coco = json.loads(path.read_text())
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] != 2]
    for annotation in coco["annotations"]:
        if annotation["image_id"] == 3:
            annotation["iscrowd"] = 1
    path.write_text(json.dumps(coco))
    assert build(path, tmp_path).sizes == [2]


def test_shapes_are_those_of_the_samples(tmp_path):
    path = draw_dataset(tmp_path / "some", 4, seed=2)
    tall = [image["height"] > image["width"] for image in json.loads(path.read_text())["images"]]
    assert len(set(tall)) == 2
    assert [found.tolist() for found in build(path, tmp_path, labels=path).tall] == [tall, tall]
    instances = PoseInstances(ann_file=str(path), pipeline=[])
    assert len(instances) not in (0, 4)  # not as many as images
    assert instances.tall.tolist() == [False] * len(instances)  # crops


def test_images_without_a_visible_keypoint_are_left_out_where_the_recipe_says_so(tmp_path):
    path = draw_dataset(tmp_path / "some", 4, seed=2)
    coco = json.loads(path.read_text())
    for annotation in coco["annotations"]:
        if annotation["image_id"] == 2 and "keypoints" in annotation:
            annotation["keypoints"][2::3] = [0, 0, 0]
    path.write_text(json.dumps(coco))
    posed = {a["image_id"] for a in coco["annotations"] if any(a.get("keypoints", [])[2::3])}
    assert 2 not in posed
    assert build(path, tmp_path).sizes == [4]
    dataset = build(path, tmp_path, unposed="drop")
    assert {dataset[i, (0, 0, 0)]["data_samples"].img_id for i in range(len(dataset))} == posed


@pytest.mark.parametrize("batch", [1, 2])
def test_processes_get_their_share_of_the_batch(arrows, tmp_path, batch):
    job = training_job(tmp_path, "keypoint_rcnn_tiny", arrows, batch=batch)
    loader = loader_config(job)
    assert loader["batch_size"] == batch
    assert loader["sampler"]["batch"] == batch
    assert SPEC["batch"] == 2


def test_an_image_that_went_missing_is_named(arrows, tmp_path):
    path = draw_dataset(tmp_path / "gone", 3, seed=3)
    dataset = build(path, tmp_path)
    (tmp_path / "gone/images/0000.png").unlink()
    with pytest.raises(UserError, match=r"0000\.png"):
        dataset[0, (0, 0, 0)]
    assert cv2.imread(str(tmp_path / "gone/images/0001.png")) is not None


def test_mmpose_agrees_on_cocos_keypoints():
    from mmpose.datasets.datasets.utils import parse_pose_metainfo  # after distill.models has prepared it

    theirs = parse_pose_metainfo({"from_file": "configs/_base_/datasets/coco.py"})
    ours = keypoint_meta({"categories": [CATEGORY]})
    assert list(ours.flip_indices) == theirs["flip_indices"]
    assert np.allclose(ours.sigmas, theirs["sigmas"])


def test_an_image_that_was_exchanged_is_noticed(tmp_path):
    """Also from the processes that load images, in one line."""
    path = draw_dataset(tmp_path / "drawn", 3, seed=1)
    coco = json.loads(path.read_text())
    for image in coco["images"]:
        image["hash"] = scan(path.parent / "images" / image["file_name"]).hash
    path.write_text(json.dumps(coco))
    dataset = build(path, tmp_path)
    assert dataset[1, (0, 0, 0)]["inputs"].shape[0] == 3
    name = coco["images"][1]["file_name"]
    exchanged = cv2.imread(str(path.parent / "images" / name))[::-1]
    cv2.imwrite(str(path.parent / "images" / name), exchanged)
    loader = DataLoader(dataset, sampler=[(1, (0, 0, 0))], num_workers=1, collate_fn=list)
    with pytest.raises(UserError) as caught:
        list(loader)
    assert _message(caught.value).startswith(f"{path.parent}/images/{name}: is not the image that it was")
    assert "\n" not in _message(caught.value)


def test_labels_of_other_categories_are_refused(arrows, tmp_path):
    """The outputs of the network would mean one thing for the labelled images, another for the others."""
    coco = json.loads(arrows.read_text())
    for change in (
        [{**coco["categories"][0], "id": 9}, {**coco["categories"][1], "id": 2}],
        coco["categories"][:1],
    ):
        other = tmp_path / "other.json"
        ids = {old["id"]: new["id"] for old, new in zip(coco["categories"], change, strict=False)}
        annotations = [
            a | {"category_id": ids[a["category_id"]]} for a in coco["annotations"] if a["category_id"] in ids
        ]
        categories = sorted(change, key=lambda c: c["id"])
        other.write_text(json.dumps({**coco, "annotations": annotations, "categories": categories}))
        job = training_job(tmp_path, "keypoint_rcnn_tiny", arrows, labels=other, ratio=[6, 4])
        with pytest.raises(UserError, match="its categories or keypoints are not those of"):
            full_config(job, 0)
