"""The generated figures are reproducible, their annotations true, and left and right no matter of colour."""

import contextlib
import dataclasses
import hashlib
import io
import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from distill.datasets.figures import image_size, sample_scene
from distill.datasets.figures.mannequin import Figure
from distill.datasets.figures.patches import FINE, Canvas
from distill.datasets.figures.scene import STYLES
from distill.datasets.figures.skeleton import (
    FLIP_PAIRS,
    KEYPOINTS,
    PARTS,
    SKELETON,
    Pose,
    Shape,
    own_parts,
    pose_body,
    sample_pose,
)
from distill.datasets.figures.wardrobe import sample_outfit
from distill.program import UserError
from helpers.options import generate

SWAP = np.array([0, *np.array(FLIP_PAIRS)[:, ::-1].ravel()])
AVERAGE = Shape(1.0, 1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene(7, i, image_size(7, i, (320, 240)), "photo") for i in range(60)]


def keypoints_of(annotation):
    return np.array(annotation["keypoints"], float).reshape(17, 3)


def instances(scenes):
    for scene in scenes:
        for i, (figure, annotation) in enumerate(zip(scene.figures, scene.annotations, strict=True), 1):
            yield scene, i, figure, annotation


def mirrored(pose: Pose) -> Pose:
    swapped = {field.name: getattr(pose, field.name)[::-1] for field in dataclasses.fields(pose)}
    turned = {name: getattr(pose, name) * [1, -1, -1] for name in ("spine", "head", "view")}
    return Pose(**(swapped | turned))


def standing(yaw: float) -> Pose:
    pair = np.full(2, 0.1)
    return Pose(*[pair] * 7, np.zeros(3), np.zeros(3), np.array([0.0, 0.0, yaw]))


def digest(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_same_bytes_and_more_images_only_add(tmp_path):
    few, many = generate(tmp_path / "few", 4, 3), generate(tmp_path / "many", 6, 3)
    first, second = digest(tmp_path / "few"), digest(tmp_path / "many")
    assert first.items() <= second.items()
    assert len(second) == 6
    assert few["images"] == many["images"][:4]
    assert few["annotations"] == [a for a in many["annotations"] if a["image_id"] <= 4]
    generate(tmp_path / "other", 4, 4)
    assert not set(digest(tmp_path / "other").values()) & set(second.values())


def test_coco_reads_it(tmp_path):
    dataset = generate(tmp_path / "images", 8, 0)
    (tmp_path / "d.json").write_text(json.dumps(dataset))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "d.json")
        found = coco.loadRes([a | {"score": 1.0} for a in dataset["annotations"]])
    assert len(found.getAnnIds()) == len(coco.getAnnIds()) > 8
    for image in coco.loadImgs(coco.getImgIds()):
        pixels = cv2.imread(str(tmp_path / "images" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3)
    (category,) = dataset["categories"]
    assert category["keypoints"] == KEYPOINTS
    assert len(KEYPOINTS) == 17
    for a, b in category["flip_pairs"]:
        assert KEYPOINTS[a].replace("left", "right") == KEYPOINTS[b] != KEYPOINTS[a]
    ends = {frozenset(KEYPOINTS[i - 1] for i in edge) for edge in SKELETON}
    assert frozenset(["left_knee", "left_ankle"]) in ends
    assert not any({"left_knee", "right_ankle"} <= edge for edge in ends)


def test_visible_keypoints_lie_on_the_figure(scenes):
    seen = 0
    for scene, number, _, annotation in instances(scenes):
        for k, (x, y, v) in enumerate(keypoints_of(annotation)):
            if v == 2:
                owner, part = divmod(int(scene.owners[int(y * FINE), int(x * FINE)]), PARTS)
                assert owner == number
                assert part in own_parts(k)
                seen += 1
    assert seen > 500


def test_hidden_keypoints_are_hidden_and_unlabelled_ones_have_a_reason(scenes):
    counts = {"hidden by another": 0, "hidden by oneself": 0, "outside": 0, "turned away": 0, "far": 0}
    for scene, number, figure, annotation in instances(scenes):
        height, width = scene.image.shape[:2]
        for k, (x, y, v) in enumerate(keypoints_of(annotation)):
            true_x, true_y = figure.keypoints[k]
            inside = 0 <= true_x < width and 0 <= true_y < height
            if v:
                assert inside
                assert np.hypot(x - true_x, y - true_y) < 0.01
            else:
                assert (x, y) == (0, 0)
            if v == 1:
                own = int(scene.owners[int(y * FINE), int(x * FINE)]) // PARTS == number
                counts["hidden by oneself" if own else "hidden by another"] += 1
            elif v == 0:
                counts["outside" if not inside else "turned away" if figure.turned_away[k] else "far"] += 1
    assert min(counts.values()) >= 5, counts


def test_boxes_and_areas_are_those_of_what_is_seen(scenes):
    for scene, number, _, annotation in instances(scenes):
        rows, columns = np.nonzero(scene.owners // PARTS == number)
        x, y, w, h = annotation["bbox"]
        assert (x, y) == (columns.min() / FINE, rows.min() / FINE)
        assert (x + w, y + h) == ((columns.max() + 1) / FINE, (rows.max() + 1) / FINE)
        assert annotation["area"] == len(rows) / FINE**2 <= w * h
        assert annotation["num_keypoints"] == (keypoints_of(annotation)[:, 2] > 0).sum() >= 5


def test_pictures_vary_in_count_size_and_shape(scenes):
    counts = np.array([len(scene.annotations) for scene in scenes])
    assert 1.5 < counts.mean() < 3.5
    assert counts.min() == 0
    assert counts.max() >= 4
    heights = np.array([a["bbox"][3] for *_, a in instances(scenes)])
    assert np.percentile(heights, 95) > 2 * np.percentile(heights, 5)  # in pixels, of 240
    assert (heights > 120).mean() > 0.1
    assert {scene.image.shape for scene in scenes} == {(240, 320, 3), (320, 240, 3), (280, 280, 3)}


@pytest.mark.parametrize("seed", range(20))
def test_mirroring_a_pose_swaps_left_and_right(seed):
    pose = sample_pose(np.random.default_rng(seed))
    joints, mirror = (pose_body(p, AVERAGE).joints for p in (pose, mirrored(pose)))
    np.testing.assert_allclose(mirror, joints[SWAP] * [-1, 1, 1], atol=1e-12)


def test_a_mirrored_picture_is_the_picture_of_the_mirrored_figure():
    """So flips with swapped names are true examples: no colour or mark tells left from right by itself."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pose, outfit = sample_pose(rng), dataclasses.replace(sample_outfit(rng), pattern=None)
        pictures = []
        for p, light in ((pose, 0.5), (mirrored(pose), -0.5)):
            canvas = Canvas(np.full((240, 240, 3), 128, np.uint8), "photo")
            for patch in Figure(p, AVERAGE, outfit, 160.0, np.array([120.0, 120.0]), light).patches:
                canvas.paint(patch, 1)
            pictures.append(canvas.colours.astype(float))
        difference = np.abs(pictures[0] - pictures[1][:, ::-1]).max(2) > 8
        drawn = (pictures[0] != 128).any(2)
        assert (difference & drawn).sum() < 0.03 * drawn.sum(), seed  # edges are rounded to 1/16 pixel


def test_left_is_on_the_right_of_a_front_view_and_the_picture_tells_front_from_back():
    rng = np.random.default_rng(0)
    outfit = dataclasses.replace(sample_outfit(rng), beard=False, headgear="none", hairstyle="short")
    skin, hair = np.array([120.0, 160.0, 220.0]), np.array([10.0, 10.0, 10.0])
    outfit = dataclasses.replace(outfit, skin=skin, hair=hair)
    shares = []
    for yaw in (0.0, np.pi):
        figure = Figure(standing(yaw), AVERAGE, outfit, 200.0, np.array([120.0, 120.0]))
        left, right = figure.keypoints[np.array(FLIP_PAIRS)[2:]].transpose(1, 0, 2)
        assert ((left[:, 0] > right[:, 0]) == (yaw == 0)).all()
        assert figure.turned_away[:3].all() == (yaw != 0)
        canvas = Canvas(np.full((240, 240, 3), 128, np.uint8), "photo")
        for patch in figure.patches:
            canvas.paint(patch, 1)
        x, y = (figure.keypoints[3:5].mean(0) * FINE).astype(int)
        head = canvas.colours[y - 20 : y + 20, x - 12 : x + 12].astype(float)
        shares.append((np.abs(head - skin).max(2) < 30).mean())
    assert shares[0] > 0.4
    assert shares[1] < 0.05


def test_bent_joints_bend_the_human_way():
    bend = np.full(2, 1.5)
    body = pose_body(dataclasses.replace(standing(0.0), elbow=bend, elbow_turn=0 * bend, knee=bend), AVERAGE)
    elbows, wrists, _, knees, ankles = body.joints[7:].reshape(5, 2, 3)
    assert (wrists[:, 2] > elbows[:, 2] + 0.1).all()
    assert (ankles[:, 2] < knees[:, 2] - 0.1).all()
    assert (body.toes[:, 1] < body.heels[:, 1]).all()


def test_styles_share_the_scene_rules_but_not_the_look():
    photo, sketch = (
        np.concatenate([sample_scene(0, i, (160, 120), style).image.reshape(-1, 3) for i in range(8)])
        for style in STYLES
    )
    assert sketch.mean() > photo.mean() + 25
    assert np.ptp(sketch.astype(float), axis=1).mean() < 0.5 * np.ptp(photo.astype(float), axis=1).mean()


@pytest.mark.parametrize(
    "arguments",
    [{"images": 0}, {"seed": -1}, {"size": (20, 300)}, {"size": (300, 5000)}, {"style": "oil"}],
)
def test_senseless_arguments_are_one_line(tmp_path, arguments):
    with pytest.raises(UserError, match="figures: ") as caught:
        generate(tmp_path, **({"images": 1, "seed": 0} | arguments))
    assert "\n" not in str(caught.value)
