"""Pose estimators of mmpose, trained and predicting through this project, against mmpose itself."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.datasets.images import read_image
from distill.files import write_json
from distill.models import model as models
from distill.models.exports.exporting import export_model
from distill.models.importing import import_model
from distill.models.networks import kind_of
from distill.models.prediction import detect_boxes, predict_boxes, predict_heatmaps
from distill.models.predictor import Predictor
from distill.models.training import train
from distill.predictions.merge_heatmaps import merge_heatmaps
from distill.predictions.views import View
from distill.program import UserError
from helpers import SCRIPTS
from helpers.estimators import config_of
from helpers.networks import training_job
from helpers.options import expand, merge_options
from helpers.trial import trial

PLAIN = View(96)
VIEWS = expand([{"scales": [96], "flip": True, "paddings": [1.1, 1.25], "turns": [0, 10]}])


def job_of(folder, name, labelled, **options):
    job = training_job(folder, "faster_rcnn_tiny", labelled, name, **{"lr": 0.02, **options})
    return replace(job, config=config_of(folder / "configs", name))


@pytest.fixture(scope="module")
def estimators(tmp_path_factory, arrows):
    """Three estimators, trained a little: of heat, of heat with UDP, of distributions of x and y."""
    folder = tmp_path_factory.mktemp("estimators")
    for name, lr in (("hrnet", 0.004), ("udp", 0.004), ("rtmpose", 0.004)):
        train(job_of(folder, name, arrows, iterations=40, batch=8, lr=lr))
    return folder


@pytest.fixture(scope="module")
def boxes(tmp_path_factory, arrows):
    """The annotated boxes of arrows, a little off, as a detector's."""
    coco = json.loads(arrows.read_text())
    rng = np.random.default_rng(0)
    from distill.models.sources import in_order_of_shape

    order = {image["id"]: n for n, image in enumerate(in_order_of_shape(coco["images"]))}
    found = sorted(
        (a for a in coco["annotations"] if a["category_id"] == 3), key=lambda a: order[a["image_id"]]
    )
    records = [
        {"id": n, "image_id": a["image_id"], "category_id": 3, "score": 0.9,
         "bbox": (np.array(a["bbox"]) + rng.uniform(-2, 2, 4)).round(3).tolist()}
        for n, a in enumerate(found, 1)
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("boxes") / "boxes.json"
    path.write_text(json.dumps(records))
    return path


def predicted(model, dataset, boxes, view, folder):
    path = folder / f"{view.name}.h5"
    predict_heatmaps(model, dataset, view, (0, 1), path, boxes, device="cpu")
    return path


def of_mmpose(predictor, pixels, boxes, udp):
    """Keypoints (n, K, 2) by mmpose's transforms and its `predict`."""
    from mmpose.datasets.transforms import GetBBoxCenterScale, PackPoseInputs, TopdownAffine

    size = predictor.kind.crop(predictor.network).size
    steps = [GetBBoxCenterScale(), TopdownAffine(size, use_udp=udp), PackPoseInputs()]
    found = []
    for x, y, w, h in boxes:
        sample = {"img": pixels, "img_shape": pixels.shape[:2], "bbox_score": np.ones(1, np.float32)}
        sample["bbox"] = np.array([[x, y, x + w, y + h]], np.float32)
        for step in steps:
            sample = step(sample)
        data = {"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]}
        with torch.inference_mode():
            (result,) = predictor.network.test_step(data)
        found.append(result.pred_instances)
    return found


@pytest.mark.parametrize("name", ["hrnet", "udp", "rtmpose"])
def test_keypoints_are_those_of_mmposes_own_prediction(tmp_path, estimators, arrows, boxes, name):
    """Through the file and the merging, to half a pixel of the network's input."""
    path = predicted(estimators / name, arrows, boxes, PLAIN, tmp_path)
    coco = json.loads(arrows.read_text())
    merged = list(merge_heatmaps([path], coco, merge_options(), boxes))
    predictor = Predictor(estimators / name, "cpu", workers=0)
    crop = predictor.kind.crop(predictor.network)
    off = []
    for record in merged:
        image = next(image for image in coco["images"] if image["id"] == record["image_id"])
        pixels = read_image(arrows.parent / "images" / image["file_name"])
        (theirs,) = of_mmpose(predictor, pixels, [record["bbox"]], crop.udp)
        mine = np.array(record["keypoints"]).reshape(-1, 3)[:, :2]
        box = np.array(record["bbox"])
        box = np.array([[*box[:2], *(box[:2] + box[2:])]])
        scale = crop.matrices(box, PLAIN)[0][:, :2].diagonal()
        good = theirs.keypoint_scores[0] > 0
        off += (np.abs(mine - 0.5 - theirs.keypoints[0]) * scale)[good].max(-1).tolist()
    assert len(off) > 20
    assert max(off) < 0.5


@pytest.mark.parametrize("name", ["hrnet", "rtmpose"])
def test_views_of_crops_are_merged(tmp_path, estimators, arrows, boxes, name):
    """A little training finds the keypoints roughly, under every view; merged, they score from 0 to 1."""
    coco = json.loads(arrows.read_text())
    paths = [predicted(estimators / name, arrows, boxes, view, tmp_path) for view in VIEWS]
    truth = {
        a["image_id"]: np.reshape(a["keypoints"], (-1, 3)) for a in coco["annotations"] if "keypoints" in a
    }
    merged = list(merge_heatmaps(paths, coco, merge_options(), boxes))
    found = np.array([record["keypoints"] for record in merged]).reshape(len(merged), -1, 3)
    exact = np.array([truth[record["image_id"]] for record in merged])
    print(name, np.abs(found[..., :2] - exact[..., :2]).mean(), found[..., 2].mean(), found[..., 2].max())
    assert (found[..., 2] >= 0).all()
    assert (found[..., 2] <= 1.2).all()


@pytest.mark.parametrize("name", ["udp", "rtmpose"])
def test_an_estimator_in_use_says_what_it_says_in_the_workflow(
    tmp_path, estimators, keypoint_model, arrows, name
):
    """In the boxes of the model that its study names; files round heatmaps."""
    results, options = tmp_path / "results", merge_options(plain=96)
    limits = {"min_score": 0.05, "per_image": 5}
    shutil.copytree(estimators / name, results / "models/student")
    shutil.copytree(keypoint_model, results / "models/detector")
    merged = {views: {"views": views, "options": options.__dict__} for views in ("plain", "crops")}
    views = {"plain": ["s0096"], "crops": [view.name for view in VIEWS]}
    study = {"views": views, "merged": merged, "fixed_boxes": limits}
    write_json(results / "study.json", {**study, "models": {"student": {"boxes": "detector"}}})
    coco = json.loads(arrows.read_text())
    names = [arrows.parent / "images" / image["file_name"] for image in coco["images"]]
    ids = {image["file_name"]: image["id"] for image in coco["images"]}
    predictor = Predictor(results / "models/student", "cpu", workers=0)
    found = [
        record | {"image_id": ids[Path(image["file_name"]).name]}
        for image, records in predictor.predict(names, ["crops"])
        for record in records
    ]
    boxes = tmp_path / "boxes.json"
    detect_boxes(keypoint_model, arrows, PLAIN, (0, 1), limits, boxes, device="cpu", workers=0)
    paths = [predicted(estimators / name, arrows, boxes, view, tmp_path) for view in VIEWS]
    expected = list(merge_heatmaps(paths, coco, options, boxes))
    keys = ("image_id", "category_id", "bbox", "score")
    found.sort(key=lambda record: record["image_id"])
    expected.sort(key=lambda record: record["image_id"])
    assert len(found) > 10
    assert [[r[key] for key in keys] for r in found] == [[r[key] for key in keys] for r in expected]
    posed = [place for place, record in enumerate(found) if record["category_id"] == 3]
    assert [place for place, record in enumerate(found) if "keypoints" in record] == posed
    ours, theirs = (
        np.array([one[place]["keypoints"] for place in posed]).reshape(-1, 3) for one in (found, expected)
    )
    assert (np.abs(ours - theirs).max(1) < 0.05).mean() > 0.98


def test_an_estimator_in_use_needs_boxes(tmp_path, estimators, keypoint_model, arrows):
    image = sorted((arrows.parent / "images").iterdir())[0]
    with pytest.raises(UserError, match="finds no instances itself; --boxes names a model that does"):
        list(Predictor(estimators / "udp", "cpu").predict(image, ["s0096"]))
    with pytest.raises(UserError, match="finds boxes itself, and needs no"):
        list(Predictor(keypoint_model, "cpu").predict(image, ["s0096"], boxes=estimators / "udp"))
    ((_, found),) = Predictor(estimators / "udp", "cpu").predict(image, ["s0096"], boxes=keypoint_model)
    assert {record["category_id"] for record in found if "keypoints" in record} == {3}


def test_what_a_detector_does_is_refused(tmp_path, estimators, arrows, boxes):
    with pytest.raises(UserError, match="a pose estimator has no boxes of its own"):
        predict_boxes(estimators / "hrnet", arrows, PLAIN, (0, 1), tmp_path / "x.json", device="cpu")
    with pytest.raises(
        UserError, match="is a pose estimator, which mmdet does not have; take --format mmpose"
    ):
        export_model(estimators / "hrnet", "mmdet", tmp_path / "mine.pth", PLAIN.name)
    with pytest.raises(UserError, match="s0096-r090 turns or stretches"):
        predicted(estimators / "hrnet", arrows, boxes, View(96, rotate=90), tmp_path)


@pytest.mark.parametrize("name", ["hrnet", "rtmpose"])
def test_an_imported_checkpoint_of_mmpose_keeps_the_keypoints_of_the_dataset(
    tmp_path, estimators, arrows, name
):
    """They are in another order, if they do not look at each other with one more, and have names there."""
    weights = torch.load(estimators / name / "model.pth", weights_only=True)["state_dict"]
    points = next(c["keypoints"] for c in json.loads(arrows.read_text())["categories"] if "keypoints" in c)
    more = int(name == "hrnet")
    theirs = [*reversed(points), *["antenna"] * more]
    state = dict(weights)
    for key in ("head.final_layer.weight", "head.final_layer.bias"):
        state[key] = torch.cat([weights[key].flip(0), weights[key][:more] + 1])
    meta = {
        "cfg": config_of(tmp_path, name).read_text(),
        "dataset_meta": {"keypoint_id2name": dict(enumerate(theirs)), "sigmas": np.ones(len(theirs))},
    }
    torch.save({"meta": meta, "state_dict": state, "message_hub": {}}, tmp_path / "published.pth")
    spec = {"format": "mmpose", "checkpoint": str(tmp_path / "published.pth")}
    import_model("zoo", tmp_path / f"{name}.py", spec, arrows, tmp_path / "zoo")
    imported = torch.load(tmp_path / "zoo/model.pth", weights_only=True)
    assert imported["meta"]["task"] == "keypoints"
    assert imported["state_dict"].keys() == weights.keys()
    assert all(torch.equal(imported["state_dict"][key], value) for key, value in weights.items())
    predictor = Predictor(tmp_path / "zoo", "cpu")
    assert predictor.kind.crop(predictor.network)
    meta["dataset_meta"]["keypoint_id2name"].pop(0)
    torch.save({"meta": meta, "state_dict": state}, tmp_path / "published.pth")
    with pytest.raises(UserError, match=f"has {len(theirs)} keypoints; name them in its order with import"):
        import_model("zoo", tmp_path / f"{name}.py", spec, arrows, tmp_path / "zoo")


def test_heads_that_give_coordinates_alone_are_refused(tmp_path, arrows):
    with pytest.raises(UserError, match="RLEHead gives coordinates alone"):
        train(job_of(tmp_path, "deeppose", arrows))


def test_no_more_hard_keypoints_are_mined_than_there_are():
    cfg = models.load_config(
        "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_rsn18_8xb32-210e_coco-256x192.py"
    )
    kind_of(cfg).settle(cfg, [{"id": 1, "name": "arrow", "keypoints": ["tip", "left", "right"]}], "test")
    assert cfg.model.head.loss[-1].topk == 3


RUN = """
import json, sys
import distill.models  # stands in for compiled operators and xtcocotools; its own modules it does not load
import numpy as np
from mmpose.apis import inference_topdown, init_model
instances, found = json.load(sys.stdin), []
for name in sys.argv[1:]:
    model = init_model(f"{name}.py", f"{name}.pth", device="cpu")
    about = {key: model.dataset_meta[key] for key in ("keypoint_id2name", "flip_indices", "skeleton_links")}
    poses = [inference_topdown(model, path, np.array([box]), "xywh")[0] for path, box in instances]
    poses = [pose.pred_instances for pose in poses]
    found.append([about, [[pose.keypoints[0].tolist(), pose.keypoint_scores[0].tolist()] for pose in poses]])
assert "distill.models.poses" not in sys.modules
print(json.dumps(found))
"""


def test_exported_they_say_the_same_in_mmpose(tmp_path, estimators, arrows, boxes):
    """In pixels of the image, of which mmpose counts from the centre of the first one."""
    names, view = ["udp", "rtmpose"], View(96, padding=1.4)
    for name in names:
        export_model(estimators / name, "mmpose", tmp_path / f"{name}.pth", view.name)
    coco, merged = json.loads(arrows.read_text()), {}
    for name in names:
        path = predicted(estimators / name, arrows, boxes, view, tmp_path)
        merged[name] = list(merge_heatmaps([path], coco, merge_options(), boxes))
    files = {image["id"]: str(arrows.parent / "images" / image["file_name"]) for image in coco["images"]}
    instances = [[files[record["image_id"]], record["bbox"]] for record in merged["udp"]]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *names],
        input=json.dumps(instances),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for name, (about, poses) in zip(names, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert about["keypoint_id2name"] == {"0": "tip", "1": "left", "2": "right"}
        assert (about["flip_indices"], about["skeleton_links"]) == ([0, 2, 1], [[0, 1], [0, 2]])
        off = []
        for record, (points, scores) in zip(merged[name], poses, strict=True):
            mine = np.reshape(record["keypoints"], (-1, 3))[:, :2]
            off += np.abs(mine - 0.5 - points)[np.array(scores) > 0].max(-1).tolist()
        assert len(off) > 20
        assert max(off) < 0.1


@pytest.mark.parametrize("name", ["hrnet", "rtmpose"])
def test_an_estimator_goes_the_whole_way(tmp_path, arrows, name):
    """An interrupted training ends with the same bytes; the samples' transforms are keyed by the draw."""
    seen = trial(config_of(tmp_path / "configs", name), arrows, tmp_path)
    assert {check: text for check, text in seen.items() if text.startswith("no")} == {}
    assert int(seen["folds"]) > 10


def test_vitpose_goes_the_whole_way(tmp_path, arrows):
    pytest.importorskip("mmpretrain")
    seen = trial(config_of(tmp_path / "configs", "vitpose"), arrows, tmp_path)
    assert {check: text for check, text in seen.items() if text.startswith("no: ")} == {}
