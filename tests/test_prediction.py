"""Prediction: views, shards and batches change nothing but what they should."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from distill.models.prediction import detect_boxes, predict_boxes, predict_heatmaps
from distill.models.predictor import Predictor
from distill.models.sources import batches, in_order_of_shape
from distill.predictions.boxes import xywh_to_xyxy
from distill.predictions.heatmaps import softmax2d
from distill.predictions.views import View
from distill.program import UserError

PLAIN = View(96)
FIXED_BOXES = {"min_score": 0.05, "per_image": 20}


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def predicted(tmp_path_factory, keypoint_model, arrows):
    """Boxes, and heatmaps under a plain and a flipped view, of one shard."""
    folder = tmp_path_factory.mktemp("predictions")
    common = dict(device="cpu")
    detect_boxes(keypoint_model, arrows, PLAIN, (0, 1), FIXED_BOXES, folder / "boxes.json", **common)
    for view in (PLAIN, View(96, flip=True)):
        output = folder / f"{view.name}.h5"
        predict_heatmaps(keypoint_model, arrows, view, (0, 1), output, folder / "boxes.json", **common)
    return folder


def test_boxes_are_candidates_in_original_pixels(predicted, arrows):
    records = read(predicted / "boxes.json")
    sizes = {image["id"]: (image["width"], image["height"]) for image in read(arrows)["images"]}
    assert len(records) > 5
    assert [record["id"] for record in records] == list(range(1, len(records) + 1))
    for record in records:
        x, y, w, h = record["bbox"]
        width, height = sizes[record["image_id"]]
        assert 0 <= x < x + w <= width + 1e-3
        assert 0 <= y < y + h <= height + 1e-3
        assert record["score"] >= FIXED_BOXES["min_score"]
        assert record["category_id"] in (3, 7)
    counts = np.bincount([record["image_id"] for record in records])
    assert counts.max() <= FIXED_BOXES["per_image"]


def test_heatmap_rows_are_the_boxes(predicted):
    records = read(predicted / "boxes.json")
    with h5py.File(predicted / "s0096.h5") as file:
        assert file["heatmap"].shape == (len(records), 3, 56, 56)
        assert file["image_id"][:].tolist() == [record["image_id"] for record in records]
        assert np.allclose(file["box"][:], [record["bbox"] for record in records])
        assert file.attrs["view"] == "s0096"
        assert file.attrs["flip_pairs"].tolist() == [[1, 2]]
        assert list(file.attrs["keypoint_names"]) == ["tip", "left", "right"]


def test_a_flipped_view_is_the_prediction_on_the_mirrored_image(keypoint_model, predicted, arrows):
    """Not inverted: its heatmaps are those of the mirror image with mirrored boxes."""
    records = read(predicted / "boxes.json")
    image = next(i for i in read(arrows)["images"] if i["id"] == records[0]["image_id"])
    rows = [n for n, record in enumerate(records) if record["image_id"] == image["id"]]
    predictor = Predictor(keypoint_model, "cpu")
    from distill.datasets.images import read_image

    pixels = PLAIN.transform_image(read_image(arrows.parent / "images" / image["file_name"]))[:, ::-1].copy()
    data = predictor.network.data_preprocessor({"inputs": [torch.from_numpy(pixels).permute(2, 0, 1)]})
    boxes = PLAIN.forward_boxes(
        xywh_to_xyxy(np.array([records[n]["bbox"] for n in rows])), (image["width"], image["height"])
    )
    boxes[:, [0, 2]] = pixels.shape[1] - boxes[:, [2, 0]]
    rois = torch.tensor(np.c_[np.zeros(len(rows)), boxes], dtype=torch.float32)
    with torch.inference_mode():
        features = predictor.network.extract_feat(data["inputs"])
        expected = predictor.network.roi_head.predict_heatmaps(features, rois)
    with h5py.File(predicted / "s0096-flip.h5") as file:
        found = file["heatmap"][rows]
    peaks = expected.flatten(2).argmax(-1).numpy()
    assert (found.reshape(*peaks.shape, -1).argmax(-1) == peaks).mean() > 0.95


def test_fixed_boxes_are_refined_as_the_networks_own_proposals_are(
    tmp_path, keypoint_model, predicted, arrows, monkeypatch
):
    """With the network's own proposals as fixed boxes, its detections are among what comes back."""
    predictor = Predictor(keypoint_model, "cpu")
    image = read(arrows)["images"][0]
    seen, propose = [], predictor.network.rpn_head.predict

    def proposals(*args, **kwargs):
        seen.append(propose(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(predictor.network.rpn_head, "predict", proposals)
    root = arrows.parent / "images"
    ((_, detected),) = predictor.boxes(root, [image], PLAIN)
    assert len(detected["boxes"]) > 0
    size = (image["width"], image["height"])
    regions = {image["id"]: PLAIN.inverse_boxes(seen[0][0].bboxes.double().numpy(), size)}
    ((_, boxes, scores),) = predictor.refined(root, [image], regions, PLAIN)
    assert boxes.shape == (len(regions[image["id"]]), 2, 4)
    for box, score, category in zip(
        detected["boxes"], detected["scores"], detected["category_ids"], strict=True
    ):
        column = predictor.category_ids.tolist().index(category)
        row = np.abs(boxes[:, column] - box).max(axis=1).argmin()
        np.testing.assert_allclose(boxes[row, column], box, atol=0.01)
        assert scores[row, column] == pytest.approx(score, abs=1e-4)


def test_a_view_in_fixed_boxes_has_one_record_for_each(tmp_path, keypoint_model, predicted, arrows):
    shared = read(predicted / "boxes.json")
    view = View(64, flip=True)
    arguments = (keypoint_model, arrows, view, (0, 1), tmp_path / "x.json", predicted / "boxes.json")
    predict_boxes(*arguments, device="cpu")
    result = read(tmp_path / "x.json")
    for key in ("id", "image_id", "category_id"):
        assert [record[key] for record in result["predictions"]] == [record[key] for record in shared]
    assert len(result["images"]) == 12
    other = [record | {"category_id": 99} for record in shared]
    (tmp_path / "boxes.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match="category 99 is unknown"):
        predict_boxes(*arguments[:-1], tmp_path / "boxes.json", device="cpu")


@pytest.mark.parametrize("shards", [2, 5])
def test_results_do_not_depend_on_the_number_of_shards(tmp_path, keypoint_model, arrows, shards):
    def records(count, workers):
        found = []
        for index in range(count):
            path = tmp_path / f"{index}-{count}.json"
            options = {"device": "cpu", "batch": 1, "workers": workers}
            predict_boxes(keypoint_model, arrows, PLAIN, (index, count), path, **options)
            found += read(path)["predictions"]
        key = lambda r: (r["image_id"], -r["score"], r["bbox"])  # noqa: E731
        return sorted(found, key=key)

    assert records(1, workers=0) == records(shards, workers=1)


def test_batches_agree_with_single_images(tmp_path, keypoint_model, arrows):
    outputs = []
    for batch in (1, 4):
        path = tmp_path / f"{batch}.json"
        predict_boxes(keypoint_model, arrows, PLAIN, (0, 1), path, device="cpu", batch=batch)
        outputs.append(read(path)["predictions"])
    assert len(outputs[0]) == len(outputs[1])
    scores = [np.array([r["score"] for r in output]) for output in outputs]
    assert np.allclose(*scores, atol=1e-3)


def test_header_of_a_view(tmp_path, keypoint_model, arrows):
    view = View(64, flip=True)
    predict_boxes(keypoint_model, arrows, view, (0, 1), tmp_path / "x.json", device="cpu")
    result = read(tmp_path / "x.json")
    assert (result["view"], result["model"], result["dataset"]) == ("s0064-flip", "model", "arrows")
    for image in result["images"]:
        assert (image["view_width"], image["view_height"]) == view.size(image["width"], image["height"])
    assert len(result["images"]) == 12


def test_images_of_like_shape_share_a_batch():
    images = [
        {"id": n, "width": w, "height": h}
        for n, (w, h) in enumerate([(640, 480), (480, 640), (640, 478)] * 4)
    ]
    ordered = in_order_of_shape(images)
    groups = batches(ordered, View(800), 16)
    assert [len(group) for group in groups] == [4, 8]
    assert sorted(index for group in groups for index in group) == list(range(12))
    assert max(map(len, batches(ordered, View(800), 3))) == 3


def test_shard_without_a_box_gives_an_empty_file(tmp_path, keypoint_model, arrows):
    (tmp_path / "boxes.json").write_text("[]")
    predict_heatmaps(
        keypoint_model, arrows, PLAIN, (0, 1), tmp_path / "x.h5", tmp_path / "boxes.json", device="cpu"
    )
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["heatmap"].shape == (0, 3, 56, 56)


def test_boxes_of_another_shard_are_refused(tmp_path, keypoint_model, predicted, arrows):
    with pytest.raises(UserError, match="is not of this shard"):
        predict_heatmaps(
            keypoint_model, arrows, PLAIN, (1, 2), tmp_path / "x.h5", predicted / "boxes.json", device="cpu"
        )


def test_cuda_that_is_not_there_is_one_line(keypoint_model):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match="sees no GPU"):
        Predictor(keypoint_model, "cuda")


def test_mixed_precision_says_nearly_the_same(tmp_path, keypoint_model, predicted, arrows, monkeypatch):
    """bfloat16 keeps 8 bits. Also on CPUs that only emulate it."""
    monkeypatch.setattr("distill.models.predictor.supported", lambda device: True)
    records = read(predicted / "boxes.json")
    arguments = (keypoint_model, arrows, PLAIN, (0, 1))
    options = dict(device="cpu", amp=True)
    predict_heatmaps(*arguments, tmp_path / "x.h5", predicted / "boxes.json", **options)
    with h5py.File(predicted / "s0096.h5") as exact, h5py.File(tmp_path / "x.h5") as near:
        exact, near = exact["heatmap"][:].astype(float), near["heatmap"][:].astype(float)
    assert not np.array_equal(exact, near)
    assert np.abs(softmax2d(exact) - softmax2d(near)).max() < 0.05
    outputs = []
    for amp in (False, True):
        path = tmp_path / f"{amp}.json"
        predict_boxes(*arguments, path, predicted / "boxes.json", device="cpu", amp=amp)
        outputs.append(read(path)["predictions"])
    boxes, scores = zip(*[([r["bbox"] for r in o], [r["score"] for r in o]) for o in outputs], strict=True)
    assert len(boxes[0]) == len(records)
    np.testing.assert_allclose(*scores, atol=0.03)
    np.testing.assert_allclose(*boxes, atol=1)  # pixels, of images of 128


def test_mixed_precision_does_not_round_objectness(keypoint_model, arrows, monkeypatch):
    monkeypatch.setattr("distill.models.predictor.supported", lambda device: True)
    rounded = []
    for amp in (False, True):
        predictor = Predictor(keypoint_model, "cpu", amp=amp)
        found = []
        predictor.network.rpn_head.rpn_cls.register_forward_hook(lambda *io, found=found: found.append(io[2]))
        coco = read(arrows)
        list(predictor.boxes(Path(coco["info"]["image_root"]), coco["images"][:2], PLAIN))
        logits = torch.cat([logits.flatten() for logits in found])
        assert logits.dtype == torch.float32
        rounded.append((logits == logits.bfloat16().float()).float().mean())
    assert max(rounded) < 0.01


def test_weights_that_are_not_finite_are_refused(tmp_path, keypoint_model, arrows):
    model = shutil.copytree(keypoint_model, tmp_path / "model")
    checkpoint = torch.load(model / "model.pth", weights_only=True)
    checkpoint["state_dict"]["roi_head.bbox_head.fc_cls.bias"][0] = float("nan")
    torch.save(checkpoint, model / "model.pth")
    with pytest.raises(
        UserError, match=r"model.pth: 1 of \d+ tensors hold NaN or infinity \(roi_head.bbox_head"
    ):
        predict_boxes(model, arrows, PLAIN, (0, 1), tmp_path / "boxes.json", device="cpu")


@pytest.mark.parametrize(
    ("layer", "value"),
    [
        ("backbone.bn1.weight", 1e38),  # infinity
        ("backbone.bn1.running_var", -1.0),  # NaN
        ("roi_head.keypoint_head.convs.0.conv.weight", 1e38),
    ],
)
def test_outputs_that_are_not_finite_are_refused(tmp_path, keypoint_model, arrows, predicted, layer, value):
    """Of finite weights. NMS would keep no box, and heatmaps would be of no use."""
    model = shutil.copytree(keypoint_model, tmp_path / "model")
    checkpoint = torch.load(model / "model.pth", weights_only=True)
    checkpoint["state_dict"][layer].fill_(value)
    torch.save(checkpoint, model / "model.pth")
    predict, boxes = (
        (predict_heatmaps, predicted / "boxes.json") if "keypoint" in layer else (predict_boxes, None)
    )
    with pytest.raises(
        UserError, match="model: its outputs under s0096 hold NaN or infinity; train"
    ) as error:
        predict(model, arrows, PLAIN, (0, 1), tmp_path / "x.h5", boxes, device="cpu")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        ("config.py", ("type='FPN'", "type='NoSuchNeck'"), "config.py: no network can be built of it"),
        ("config.py", ("type='FPN'", "type='FPN', surplus=1"), "config.py: no network can be built of it"),
        ("config.py", ("num_classes=2", "num_classes=3"), "model.pth: not the weights of the network of"),
        ("config.py", ("model = dict(", "model = print("), "config.py: a model's config is plain values"),
        ("model.pth", None, "model.pth: does not say what it predicts; `import` makes a model"),
    ],
)
def test_a_model_folder_that_was_spoilt_is_refused_in_one_line(tmp_path, keypoint_model, file, edit, message):
    model = shutil.copytree(keypoint_model, tmp_path / "model")
    if edit:
        text = (model / file).read_text()
        assert edit[0] in text
        (model / file).write_text(text.replace(*edit))
    else:
        torch.save(torch.load(model / file, weights_only=True)["state_dict"], model / file)
    with pytest.raises(UserError, match=message) as error:
        Predictor(model, "cpu")
    assert "\n" not in str(error.value)
