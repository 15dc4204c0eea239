"""A model in use says what it says in the workflow, whatever images come from, however often it stops."""

import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import predict_images
import pytest
from pycocotools.coco import COCO

from distill.datasets.images import read_image
from distill.datasets.videos import frames
from distill.files import read_json, write_json
from distill.models import Predictor, applied
from distill.models.prediction import detect_boxes, predict_boxes, predict_heatmaps
from distill.models.sources import Source
from distill.models.usage import plan_of
from distill.predictions.merge import merge_boxes
from distill.predictions.merge_heatmaps import merge_heatmaps
from distill.predictions.views import View
from distill.program import UserError
from helpers.films import unevenly
from helpers.in_use import LIMITS, VIEWS, study
from helpers.networks import random_model
from helpers.options import merge_options

CATEGORIES = [{"id": 3, "name": "tip"}, {"id": 7, "name": "tail"}]


def run(*args):
    """The program, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["predict_images.py", "--device", "cpu", *map(str, args)])
        predict_images.main()


@pytest.fixture(scope="module")
def box_model(tmp_path_factory):
    return random_model("faster_rcnn_tiny", CATEGORIES, tmp_path_factory.mktemp("boxes") / "model")


@pytest.fixture(scope="module")
def images(tmp_path_factory, arrows):
    """A folder of images of several shapes, and the dataset of them."""
    folder, coco = tmp_path_factory.mktemp("images"), read_json(arrows)
    root, records = Path(coco["info"]["image_root"]), []
    for number, image in enumerate(coco["images"][:7], 1):
        pixels = read_image(root / image["file_name"])
        pixels = pixels[: -20 * (number % 3) or None]
        name = f"{'sub/' * (number % 2)}{number}.png"
        (folder / "sub").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), pixels)
        records.append({"file_name": name, "width": pixels.shape[1], "height": pixels.shape[0]})
    records = [{"id": i, **one} for i, one in enumerate(sorted(records, key=lambda r: r["file_name"]), 1)]
    data = folder.with_name("data.json")
    info = {"image_root": str(folder)}
    write_json(data, {"info": info, "images": records, "annotations": [], "categories": []})
    return folder, data


def workflow(model, data, options, folder, views=VIEWS, posed=False):
    """What the jobs of a study make of the dataset, in the order of image ids."""
    boxes, shard = None, (0, 1)
    if posed or options.boxes == "average":
        boxes = folder / "boxes.json"
        detect_boxes(model, data, View(128), shard, LIMITS, boxes, device="cpu")
    paths = []
    for view in map(View.parse, views):
        paths.append(folder / f"{view.name}.{'h5' if posed else 'json'}")
        predict = predict_heatmaps if posed else predict_boxes
        predict(model, data, view, shard, paths[-1], boxes, device="cpu")
    coco = read_json(data)
    merged = merge_heatmaps(paths, coco, options, boxes) if posed else merge_boxes(paths, coco, options)
    return sorted(merged, key=lambda record: record["image_id"])


@pytest.mark.parametrize("boxes", ["union", "average"])
def test_boxes_are_those_of_the_workflow(tmp_path, box_model, images, boxes):
    options = merge_options(boxes=boxes, score="avg", plain=128)
    model = study(tmp_path / "results", box_model, options)
    run("--model", model, "--images", images[0], "--views", "all", "--output", tmp_path / "out.json")
    found = read_json(tmp_path / "out.json")
    assert len(found) > 30
    assert found == workflow(model, images[1], options, tmp_path)
    coco = COCO(str(tmp_path / "out.images.json"))
    assert len(coco.loadRes(str(tmp_path / "out.json")).getAnnIds()) == len(found)
    assert [coco.imgs[i]["file_name"] for i in sorted(coco.imgs)] == [
        i["file_name"] for i in read_json(images[1])["images"]
    ]
    assert not (tmp_path / "out.json.parts").exists()


def test_the_score_that_counts_is_that_of_all_views(tmp_path, box_model, images, monkeypatch):
    """Of refined boxes; under the plain view, which finds them, all score less."""
    model = study(tmp_path / "results", box_model, merge_options(boxes="average", score="avg", plain=128))

    def sure(self, batch, refinements=Predictor.refinements):
        return ((boxes, np.ones_like(scores)) for boxes, scores in refinements(self, batch))

    monkeypatch.setattr(Predictor, "refinements", sure)
    for least in (0.0, 0.999999):
        found = Predictor(model, device="cpu").predict(images[0], "all", min_score=least)
        assert sum(len(records) for _, records in found) > 30


@pytest.mark.parametrize("views", [["s0128"], VIEWS])
@pytest.mark.parametrize("options", [{"upsample": True, "size_dependent": 400.0}, {"average": "logit"}])
def test_keypoints_are_those_of_the_workflow(tmp_path, keypoint_model, images, options, views, monkeypatch):
    # Files round heatmaps; of averages of logits, this is to matter less here.
    monkeypatch.setattr("distill.predictions.compact.STEPS", ((60, 1 / 2048),))
    monkeypatch.setattr("distill.predictions.compact.FLOOR", 60)
    options = merge_options(**options, plain=128)
    model = study(tmp_path / "results", keypoint_model, options, views)
    predictor = Predictor(model, "cpu")
    found = [record for _, records in predictor.predict(images[0], ["all"]) for record in records]
    found.sort(key=lambda record: record["image_id"])
    expected = workflow(model, images[1], options, tmp_path, views, posed=True)
    keys = ("image_id", "category_id", "bbox", "score")
    assert len(found) > 10
    assert [[r[key] for key in keys] for r in found] == [[r[key] for key in keys] for r in expected]
    posed = [place for place, record in enumerate(found) if record["category_id"] == 3]
    assert 0 < len(posed) < len(found)
    assert [place for place, record in enumerate(found) if "keypoints" in record] == posed
    ours, theirs = (
        np.array([one[place]["keypoints"] for place in posed]).reshape(-1, 3) for one in (found, expected)
    )
    # A peak may be another of two cells that are nearly equal.
    assert (np.abs(ours - theirs).max(1) < 0.01).mean() > 0.98


def test_an_interrupted_run_goes_on(tmp_path, box_model, images, monkeypatch):
    monkeypatch.setattr(Source, "length", 2)
    plan, source = plan_of(box_model, ["s0112"]), Source.of([images[0]])
    predictor = Predictor(box_model, "cpu")

    def predict(name, views=("s0112",), stop_after=None):
        seen = []

        def each(count):
            seen.append(count)
            if len(seen) == stop_after:
                raise KeyboardInterrupt

        used = predictor.application(plan_of(box_model, views), 0.0)
        applied.predict_files(predictor, source, used, tmp_path / name, each)
        return sum(seen)

    assert predict("whole.json") == 7
    with pytest.raises(KeyboardInterrupt):
        predict("out.json", stop_after=6)
    parts = tmp_path / "out.json.parts"
    left = {path: path.stat().st_mtime_ns for path in parts.glob("*.json")}
    assert 0 < len(left) < 4
    asked = []
    order = Source._order

    def counted(*args):
        for part in order(*args):
            asked.append(part)
            yield part

    monkeypatch.setattr(Source, "_order", counted)
    assert predict("out.json") == 7
    assert {part.shard for part in asked} == set(range(4)) - {int(path.stem) for path in left}
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    # Parts of another run are not taken.
    with pytest.raises(KeyboardInterrupt):
        predict("out.json", ("s0128",), stop_after=6)
    predict("out.json")
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert plan.views == (View(112),)


def test_broken_images_are_listed_and_left_out(tmp_path, box_model, images, caplog):
    folder = tmp_path / "images"
    shutil.copytree(images[0], folder)
    whole = (folder / "2.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])  # its header is fine
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    args = ["--model", box_model, "--views", "s0112", "s0112-flip", "--output", tmp_path / "out.json"]
    run(*args, "--images", folder)
    about = read_json(tmp_path / "out.images.json")
    assert sorted(one["file_name"] for one in about["info"]["skipped"]) == [
        "cut.png",
        "empty.jpg",
        "text.jpg",
    ]
    assert all(f"left out: {name}" in caplog.text for name in ("cut.png", "empty.jpg", "text.jpg"))
    assert len(about["images"]) == 7
    found = named(tmp_path)
    run(*args, "--images", images[0])
    assert named(tmp_path) == found


def named(folder):
    """The results of out.json, with the names of their images in the place of ids."""
    names = {i["id"]: i["file_name"] for i in read_json(folder / "out.images.json")["images"]}
    return [{**record, "image_id": names[record["image_id"]]} for record in read_json(folder / "out.json")]


@pytest.fixture(scope="module")
def video(tmp_path_factory, images):
    pictures = (read_image(images[0] / image["file_name"]) for image in read_json(images[1])["images"])
    return unevenly(tmp_path_factory.mktemp("video") / "clip.mp4", pictures)


def test_a_video_is_its_frames(tmp_path, box_model, video, monkeypatch):
    args = ["--model", box_model, "--views", "s0112", "s0128-flip", "--min-score", 0.2]
    run(*args, "--images", video, "--output", tmp_path / "v.json", "--draw", tmp_path / "drawn")
    (tmp_path / "frames").mkdir()
    decoded = list(frames(video))
    for frame in decoded:
        cv2.imwrite(str(tmp_path / f"frames/{frame.number:03d}.png"), frame.pixels)
    run(*args, "--images", tmp_path / "frames", "--output", tmp_path / "f.json")
    by_frame, by_file = read_json(tmp_path / "v.json"), read_json(tmp_path / "f.json")
    assert by_frame
    assert [{**record, "image_id": record["image_id"] + 1} for record in by_frame] == by_file
    about = read_json(tmp_path / "v.images.json")["images"]
    moments = [n / 5 + part for n in range(7) for part in (0, 0.06)]
    assert [image["seconds"] for image in about] == pytest.approx(moments)
    drawn = list(frames(tmp_path / "drawn/clip.mp4.mp4"))
    assert [frame.seconds for frame in drawn] == pytest.approx(moments, abs=1e-4)
    changes = [np.abs(a.pixels.astype(int) - b.pixels).max() for a, b in zip(drawn, decoded, strict=True)]
    assert np.mean(changes) > 60
    # Frames of finished parts are decoded, but not used again.
    monkeypatch.setattr(Source, "length", 4)
    source, predictor = Source.of([video]), Predictor(box_model, "cpu")
    rest = [part for part, _ in predictor.parts(source, [View(112)], done={0, 2})]
    assert {part.shard for part in rest} == {1, 3}
    assert [image["id"] for part in rest for image in part.images] == [4, 5, 6, 7, 12, 13]
    assert [part.shard for part in rest if part.ends == "shard"] == [1, 3]


def test_pictures_show_what_was_found(tmp_path, keypoint_model, images):
    args = [
        "--model",
        keypoint_model,
        "--views",
        "s0128",
        "--min-score",
        0.05,
        "--output",
        tmp_path / "o.json",
    ]
    run(*args, "--images", images[0], "--draw", tmp_path / "drawn", "--draw-score", 0.2)
    results = read_json(tmp_path / "o.json")
    found = {record["image_id"] for record in results if record["score"] >= 0.2}
    assert found
    assert min(record["score"] for record in results) < 0.2  # the file has them all
    for image in read_json(tmp_path / "o.images.json")["images"]:
        drawn = read_image(tmp_path / f"drawn/{image['file_name']}.jpg", (image["width"], image["height"]))
        changed = np.abs(drawn.astype(int) - read_image(images[0] / image["file_name"])).max()
        assert (changed > 100) == (image["id"] in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--images": ["EMPTY"]}, "no images in this folder"),
        ({"--images": ["nowhere"]}, "nowhere: no such file or folder"),
        ({"--images": ["IMAGES", "EMPTY"]}, "is a folder; give one folder, or files"),
        ({"--model": ["EMPTY"]}, "EMPTY: not the folder of a model"),
        ({"--model": ["IMAGES"], "--views": ["all"]}, "not the folder of a model"),
        ({"--views": ["all"]}, "'all' names no view"),
        ({"--views": ["s0112", "s0112"]}, "the view s0112 is given twice"),
        ({"--images": ["BROKEN"]}, "no image of it can be read"),
        ({"--images": ["VIDEO"]}, "no.mp4: is not a readable video"),
        ({"--draw": ["FILE"]}, "--draw names a folder"),
    ],
)
def test_mistakes_are_one_line(tmp_path, box_model, images, change, message):
    places = {name: tmp_path / name for name in ("EMPTY", "BROKEN", "FILE", "VIDEO")}
    for name in ("EMPTY", "BROKEN"):
        places[name].mkdir()
    (places["BROKEN"] / "a.jpg").write_text("no image")
    places["FILE"].touch()
    places["VIDEO"] = tmp_path / "no.mp4"
    places["VIDEO"].write_text("no video")
    places["IMAGES"] = images[0]
    args = {"--model": [box_model], "--images": [images[0]], "--views": ["s0112"], **change}
    args["--output"] = [tmp_path / "out.json"]
    words = [str(places.get(str(w), w)) for key, value in args.items() for w in (key, *value)]
    with pytest.raises(UserError, match=re.escape(message.replace("EMPTY", str(places["EMPTY"])))) as said:
        run(*words)
    assert "\n" not in str(said.value)
    assert not (tmp_path / "out.json").exists()
