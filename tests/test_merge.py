import json

import h5py
import numpy as np
import pytest

from distill.datasets.keypoint_meta import KeypointMeta
from distill.files import read_json, write_json
from distill.predictions import boxes as box_math
from distill.predictions import heatmap_file, heatmap_writer
from distill.predictions.coco_results import gather
from distill.predictions.merge import merge_boxes
from distill.predictions.merge_heatmaps import merge_heatmaps
from distill.predictions.views import View
from distill.program import UserError
from helpers import warm
from helpers.options import as_json, expand
from helpers.options import merge_options as Options

META = KeypointMeta(("nose", "left_eye", "right_eye"), ((1, 2),), (), (0.05,) * 3)
VIEWS = expand(
    [{"scales": [400, 700], "flip": True}, {"scale": 500, "rotate": 90}, {"scale": 500, "aspect": 1.25}]
)
SIZES = {3: (640, 480), 7: (333, 500), 9: (50, 41)}
DATASET = {
    "images": [{"id": i, "file_name": f"{i}.png", "width": w, "height": h} for i, (w, h) in SIZES.items()]
}
DATASET |= {"annotations": [], "categories": []}


def truth(jitter=0.0, seed=0):
    """By image: boxes that do not touch (x1, y1, x2, y2), scores, categories; none in image 9."""
    rng = np.random.default_rng(seed)
    corners = np.array([[x, y] for x in range(10, 280, 70) for y in range(10, 400, 90)], dtype=float)
    boxes = np.concatenate([corners, corners + 50], axis=1)
    boxes = boxes + rng.normal(0, jitter, boxes.shape)
    found = {i: (boxes, np.linspace(0.9, 0.2, len(boxes)), np.arange(len(boxes)) % 3 + 1) for i in (3, 7)}
    return found | {9: (np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))}


def write_view(path, view, found, model="m", dataset="d"):
    images, predictions = [], []
    for i, (boxes, scores, categories) in found.items():
        values = (i, *SIZES[i], *view.size(*SIZES[i]))
        images.append(dict(zip(("id", "width", "height", "view_width", "view_height"), values, strict=True)))
        seen = box_math.xyxy_to_xywh(view.forward_boxes(boxes, SIZES[i]))
        for box, score, category in zip(seen.tolist(), scores.tolist(), categories.tolist(), strict=True):
            predictions.append({"image_id": i, "category_id": category, "bbox": box, "score": score})
    header = {"view": view.name, "model": model, "dataset": dataset}
    write_json(path, header | {"images": images, "predictions": predictions})
    return path


def test_planted_boxes_are_found_in_every_view(tmp_path):
    paths = [write_view(tmp_path / f"{view.name}.json", view, truth()) for view in VIEWS]
    merged = list(merge_boxes(paths, DATASET, Options()))
    for i, (boxes, scores, categories) in truth().items():
        mine = [record for record in merged if record["image_id"] == i]
        assert [record["score"] for record in mine] == np.round(scores, 6).tolist()
        assert [record["category_id"] for record in mine] == categories.tolist()
        found = np.array([record["bbox"] for record in mine]).reshape(-1, 4)
        np.testing.assert_allclose(found, box_math.xyxy_to_xywh(boxes).reshape(-1, 4), atol=0.002)
    assert list(merged[0]) == ["image_id", "category_id", "bbox", "score", "agreement"]


def test_views_are_better_than_one_view(tmp_path):
    paths = [write_view(tmp_path / f"{i}.json", view, truth(2.0, i)) for i, view in enumerate(VIEWS)]

    def error(merged):
        mine = [record for record in merged if record["image_id"] == 3]
        exact = box_math.xyxy_to_xywh(truth()[3][0])
        assert len(mine) == len(exact)
        return np.abs(np.array([record["bbox"] for record in mine]) - exact).mean()

    one = error(merge_boxes(paths[:1], DATASET, Options()))
    assert error(merge_boxes(paths, DATASET, Options(nms=0.4, vote=0.6))) < 0.6 * one


def test_boxes_are_clipped_and_those_outside_dropped(tmp_path):
    found = truth() | {
        9: (np.array([[-5.0, 30, 20, 60], [60, 0, 70, 10]]), np.array([0.9, 0.8]), np.array([1, 1]))
    }
    path = write_view(tmp_path / "a.json", View(400, flip=True), found)
    mine = [record["bbox"] for record in merge_boxes([path], DATASET, Options()) if record["image_id"] == 9]
    assert mine == [[0, 30, 20, 11]]


def edit(path, **changes):
    write_json(path, read_json(path) | changes)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.unlink(), "no such file"),
        (lambda p: p.write_text(p.read_text()[:-40]), "not a JSON file"),
        (lambda p: edit(p, predictions=[{"image_id": 3}]), "not a file of predictions"),
        (lambda p: edit(p, predictions=[{"image_id": 5}]), "not a file of predictions"),
        (lambda p: edit(p, view="s0400"), "s0400 of model m comes twice"),
        (lambda p: edit(p, view="s9"), "'s9' names no view"),
        (lambda p: edit(p, view="s0600"), "not predicted in the size of s0600"),
        (lambda p: edit(p, dataset="other"), "predictions of other"),
        (lambda p: edit(p, images=read_json(p)["images"][:-1]), "images are not those of"),
    ],
)
def test_bad_box_files_are_one_clear_line(tmp_path, damage, words):
    paths = [write_view(tmp_path / f"{view.name}.json", view, truth()) for view in VIEWS]
    damage(paths[1])
    with pytest.raises(UserError, match=words) as error:
        list(merge_boxes(paths, DATASET, Options()))
    assert "\n" not in str(error.value)
    assert str(paths[1]) in str(error.value)


def test_another_dataset_is_refused(tmp_path):
    path = write_view(tmp_path / "a.json", VIEWS[0], truth())
    other = {"images": [image | {"width": 641} for image in DATASET["images"]]}
    with pytest.raises(UserError, match="image 3"):
        list(merge_boxes([path], other, Options()))


BOXES = np.array(
    [[20.25, 31.5, 200, 150], [0, 0, 333, 500], [100, 100, 60, 40.75], [5, 5, 30, 30]]
)  # x, y, w, h
IMAGES = np.array([3, 7, 7, 9])


def keypoints():
    return BOXES[:, None, :2] + np.random.default_rng(5).uniform(0.1, 0.9, (4, 3, 2)) * BOXES[:, None, 2:]


def write_heatmaps(path, view, boxes=BOXES, images=IMAGES):
    """Heatmaps of a network that sees each keypoint where it is, as a bump 4 cells wide."""
    centre = np.arange(56) + 0.5
    with heatmap_writer.writing(path, view, "m", "d", META) as writer:
        for box, image, points in zip(boxes, images, keypoints()[: len(boxes)], strict=True):
            roi = view.forward_boxes(box_math.xywh_to_xyxy(box), SIZES[image])
            x, y = ((view.forward_points(points, SIZES[image]) - roi[:2]) / (roi[2:] - roi[:2]) * 56).T
            distance = (centre - x[:, None, None]) ** 2 + (centre[:, None] - y[:, None, None]) ** 2
            heatmap = 9 * np.exp(-distance / 8)[[0, 2, 1] if view.flip else [0, 1, 2]]
            writer.append(heatmap[None], [image], box[None], [0.75], [1])
    return path


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(average="logit"),
        Options(average="max_logit"),
        Options(upsample=True),
        Options(upsample=True, average="logit"),
        Options(size_dependent=5000, plain=500),
    ],
)
def test_planted_keypoints_are_found_in_every_view(tmp_path, options):
    paths = [write_heatmaps(tmp_path / f"{view.name}.h5", view) for view in VIEWS]
    merged = list(merge_heatmaps(paths, DATASET, options, block=3))
    assert [record["image_id"] for record in merged] == IMAGES.tolist()
    assert [record["bbox"] for record in merged] == BOXES.tolist()
    found = np.array([record["keypoints"] for record in merged]).reshape(4, 3, 3)
    cell = np.maximum(BOXES[:, None, 2:] / 56, 1 if options.upsample else 0)  # there, a whole pixel
    assert (np.abs(found[..., :2] - keypoints()) <= cell / 2 + 0.01).all()
    assert (found[..., 2] > 0.02).all()
    np.testing.assert_allclose([record["keypoint_logits"] for record in merged], 9, atol=0.6)
    usual = ["image_id", "category_id", "bbox", "score", "keypoints", "keypoint_logits"]
    assert list(merged[0]) == [*usual, "agreement"]
    spread = np.array([record["agreement"]["spread"] for record in merged])
    if not options.upsample:
        assert (spread <= np.linalg.norm(cell, axis=-1)).all()  # every view sees them where they are


def test_where_scales_depend_on_size_the_wrong_ones_say_nothing(tmp_path):
    """Under the small view small objects look elsewhere, under the large one large objects do."""
    areas, boxes = BOXES[:, 2] * BOXES[:, 3], BOXES.copy()
    paths = []
    for scale, misled in ((400, areas < 5000), (500, areas < 0), (700, areas >= 5000)):
        path = tmp_path / f"{scale}.h5"
        with heatmap_writer.writing(path, View(scale), "m", "d", META) as writer:
            for row, wrong in enumerate(misled):
                heatmap = np.zeros((1, 3, 56, 56))
                heatmap[..., 10, 50 if wrong else 20] = 30 if wrong else 9
                writer.append(heatmap, [IMAGES[row]], boxes[row][None], [0.75], [1])
        paths.append(path)
    options = Options(average="logit", size_dependent=5000, plain=500)
    for record, box in zip(merge_heatmaps(paths, DATASET, options), boxes, strict=True):
        np.testing.assert_allclose(
            record["keypoints"][:2], box[:2] + np.array([20.5, 10.5]) / 56 * box[2:], atol=0.01
        )
    with pytest.raises(UserError, match="needs views both up to and from the plain scale, 500"):
        list(merge_heatmaps(paths[:1], DATASET, options))


def test_heatmaps_are_read_in_blocks(tmp_path, monkeypatch):
    """Flat memory: never more rows at a time than a block, and the block's size changes nothing."""
    paths = [write_heatmaps(tmp_path / f"{view.name}.h5", view) for view in VIEWS[:2]]
    whole = list(merge_heatmaps(paths, DATASET, Options()))
    read, sizes = heatmap_file.read_block, []

    def counted(path, start, stop):
        rows = read(path, start, stop)
        sizes.append(len(rows.heatmap))
        return rows

    monkeypatch.setattr(heatmap_file, "read_block", counted)
    assert list(merge_heatmaps(paths, DATASET, Options(), block=1)) == whole
    assert sizes == [1] * 8


def test_files_that_do_not_say_their_kind_are_of_logits(tmp_path):
    """As those of older versions."""
    paths = [write_heatmaps(tmp_path / f"{view.name}.h5", view) for view in VIEWS[:2]]
    merged = json.dumps(list(merge_heatmaps(paths, DATASET, Options())))
    for path in paths:
        with h5py.File(path, "r+") as file:
            del file.attrs["kind"]
    assert json.dumps(list(merge_heatmaps(paths, DATASET, Options()))) == merged


def test_heatmap_files_that_disagree_are_refused(tmp_path):
    first = write_heatmaps(tmp_path / "a.h5", VIEWS[0])
    boxes = tmp_path / "boxes.json"
    records = [
        {"id": i, "image_id": int(image), "category_id": 1, "bbox": box.tolist(), "score": 0.75}
        for i, (image, box) in enumerate(zip(IMAGES, BOXES, strict=True))
    ]
    write_json(boxes, records)
    assert len(list(merge_heatmaps([first], DATASET, Options(), boxes))) == 4
    records[2]["bbox"][0] += 1
    write_json(boxes, records)
    higher = write_heatmaps(tmp_path / "b.h5", VIEWS[1], BOXES * 1.01)
    fewer = write_heatmaps(tmp_path / "c.h5", VIEWS[1], BOXES[:3], IMAGES[:3])
    twice = write_heatmaps(tmp_path / "d.h5", VIEWS[0])
    for others, dataset, expected, words in (
        ([higher], DATASET, None, "instances are not"),
        ([fewer], DATASET, None, "count differs"),
        ([twice], DATASET, None, "comes twice"),
        ([tmp_path / "e.h5"], DATASET, None, "no such file"),
        ([], DATASET, boxes, "not those of"),
        ([], {"images": DATASET["images"][1:]}, None, "image 3 is not in the dataset"),
    ):
        with pytest.raises(UserError, match=words):
            list(merge_heatmaps([first, *others], dataset, Options(), expected))


def test_the_programs_merge_and_join_shards(tmp_path):
    write_json(tmp_path / "d.json", DATASET)
    shards = [tmp_path / "0.json", tmp_path / "1.json", tmp_path / "again.json"]
    for shard, images in zip(shards, [[3], [7, 9], [7, 9]], strict=True):
        found = {i: truth()[i] for i in images}
        paths = [write_view(tmp_path / f"{view.name}.json", view, found) for view in VIEWS]
        options = ["--dataset", tmp_path / "d.json", "--options", as_json(Options(max_per_image=5))]
        result = warm.run("merge_views.py", *options, "--output", shard, *paths)
        assert result.returncode == 0, result.stderr
    assert shards[1].read_bytes() == shards[2].read_bytes()
    result = warm.run("gather_shards.py", "--output", tmp_path / "all.json", *shards[:2])
    assert result.returncode == 0, result.stderr
    assert read_json(tmp_path / "all.json") == read_json(shards[0]) + read_json(shards[1])
    assert [record["image_id"] for record in read_json(tmp_path / "all.json")] == [3] * 5 + [7] * 5
    with pytest.raises(UserError, match="is in"):
        list(gather(shards))


def test_the_predictions_of_a_subset(tmp_path):
    records = [{"image_id": i, "score": i / 10} for i in (1, 1, 2, 3, 5)]
    write_json(tmp_path / "merged.json", records)
    images = [{"id": i, "file_name": f"{i}.png", "width": 9, "height": 9} for i in (1, 3, 4)]
    write_json(tmp_path / "dataset.json", {"images": images, "annotations": [], "categories": []})
    paths = {name: tmp_path / f"{name}.json" for name in ("dataset", "merged", "output")}
    result = warm.run(
        "select_predictions.py", *(part for name in paths for part in (f"--{name}", paths[name]))
    )
    assert result.returncode == 0, result.stderr
    assert read_json(tmp_path / "output.json") == [records[0], records[1], records[3]]


def test_wrong_options_are_one_clear_line(tmp_path):
    write_json(tmp_path / "d.json", DATASET)
    path = write_view(tmp_path / "a.json", VIEWS[0], truth())
    for options in (
        {"score": "sum"},
        {"nms": 0},
        {"mean": 1},
        {"beta": -1},
        {"average": "max"},
        {"nms": "a"},
    ):
        options = json.dumps(vars(Options()) | options)
        inputs = ["--dataset", tmp_path / "d.json", "--output", tmp_path / "o.json", path]
        result = warm.run("merge_views.py", "--options", options, *inputs)
        assert result.returncode == 1
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "o.json").exists()
