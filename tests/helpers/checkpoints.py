"""Stand-ins for published checkpoints: random weights with the scale of trained ones, and small images."""

import json
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torchvision.models.detection import (
    FasterRCNN_ResNet50_FPN_Weights,
    KeypointRCNN_ResNet50_FPN_Weights,
)

import distill.models  # noqa: F401, before anything imports mmdet's models
from distill.datasets.images import read_image
from distill.datasets.keypoint_meta import COCO_KEYPOINTS
from distill.files import write_json
from distill.models.importing import import_model
from distill.predictions.views import View
from distill.study.model_config import path_of
from helpers import ROOT

SIDE = 224  # shorter side of the images
COCO = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
COCO_80 = [{"id": i, "name": name} for i, name in enumerate(COCO) if i and name != "N/A"]
PERSON = {"id": 1, "name": "person", "keypoints": list(COCO_KEYPOINTS)}
assert KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.meta["keypoint_names"] == PERSON["keypoints"]


def scale_like_trained(network: nn.Module, spread: dict[str, float], run: Callable[[], object]) -> None:
    """Gives normalisation layers the statistics of what they see in `run` and random weights, and the outputs
    of the named layers mean 0 in each channel and the given standard deviation over all."""
    random = torch.Generator().manual_seed(1)
    hooks = []

    def normalise(layer, inputs):
        layer.running_mean.copy_(inputs[0].mean((0, 2, 3)))
        layer.running_var.copy_(inputs[0].var((0, 2, 3)) + 1e-3)
        layer.weight.copy_(0.5 + torch.rand(layer.weight.shape, generator=random))
        layer.bias.copy_(0.2 * torch.randn(layer.bias.shape, generator=random))

    def stretch(wanted):
        def hook(layer, inputs, output):
            if layer in seen:
                return None
            seen.add(layer)
            mean = output.mean([d for d in range(output.ndim) if d != 1], keepdim=True)
            factor = wanted / (output - mean).std()
            layer.weight.mul_(factor)
            layer.bias.sub_(mean.flatten()).mul_(factor)
            return (output - mean) * factor

        return hook

    seen: set[nn.Module] = set()
    layers = dict(network.named_modules())
    hooks += [m.register_forward_pre_hook(normalise) for m in layers.values() if hasattr(m, "running_var")]
    hooks += [layers[name].register_forward_hook(stretch(wanted)) for name, wanted in spread.items()]
    with torch.no_grad():
        network.eval()
        run()
    for hook in hooks:
        hook.remove()


def small_dataset(folder: Path, coco: dict, root: Path, images: int, categories: list[dict]) -> Path:
    """A dataset artifact of the first images with a person all of whose size is known, SIDE pixels high or
    wide, with the boxes and keypoints of their people. Stored without loss."""
    folder.mkdir(parents=True)
    view, small = View(SIDE), {"info": {"image_root": str(folder)}, "images": [], "annotations": []}
    posed = {a["image_id"] for a in coco["annotations"] if sum(v > 0 for v in a["keypoints"][2::3]) > 5}
    for image in [image for image in coco["images"] if image["id"] in posed][:images]:
        size = (image["width"], image["height"])
        pixels = view.transform_image(read_image(root / image["file_name"], size))
        cv2.imwrite(str(folder / f"{image['id']}.png"), pixels)
        record = {"id": image["id"], "file_name": f"{image['id']}.png"}
        small["images"].append(record | dict(zip(("width", "height"), view.size(*size), strict=True)))
        for annotation in coco["annotations"]:
            if annotation["image_id"] == image["id"] and not annotation.get("iscrowd"):
                x, y, w, h = annotation["bbox"]
                left, top, right, bottom = view.forward_boxes(np.array([x, y, x + w, y + h]), size).tolist()
                points = np.array(annotation["keypoints"], float).reshape(-1, 3)
                points[:, :2] = view.forward_points(points[:, :2], size)
                moved = annotation | {"bbox": [left, top, right - left, bottom - top], "category_id": 1}
                moved |= {"keypoints": points.flatten().tolist()}
                if "keypoints" not in categories[0]:
                    del moved["keypoints"], moved["num_keypoints"]
                small["annotations"].append(moved)
    small["categories"] = categories
    (folder / "dataset.json").write_text(json.dumps(small))
    return folder / "dataset.json"


def detections(path: Path) -> list[dict]:
    """Those of a file of boxes, as `share_in_common` takes them."""
    records = json.loads(path.read_text())["predictions"]
    keys = ("image_id", "category_id", "score")
    boxes = [(r["bbox"][0], r["bbox"][1], *np.add(r["bbox"][:2], r["bbox"][2:])) for r in records]
    return [{**{key: r[key] for key in keys}, "box": box} for r, box in zip(records, boxes, strict=True)]


def share_in_common(first: list[dict], second: list[dict], pixels=0.5, score=1e-3) -> tuple[float, list]:
    """The share of detections {image_id, category_id, box x1 y1 x2 y2, score} that agree one to one, and
    the pairs of their indices."""
    pairs, free = [], list(range(len(second)))
    for i, one in enumerate(first):
        for j in free:
            other = second[j]
            same = (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
            near = np.abs(np.subtract(one["box"], other["box"])).max() <= pixels
            if same and near and abs(one["score"] - other["score"]) <= score:
                pairs.append((i, j))
                free.remove(j)
                break
    return len(pairs) / max(len(first), len(second), 1), pairs


def dataset_of(folder, categories=(PERSON,)):
    write_json(folder / "d.json", {"images": [], "annotations": [], "categories": list(categories)})
    return folder / "d.json"


def imports(folder, config, format, checkpoint, categories=(PERSON,), **options):
    """The folder of the model. config: as a study's, placed."""
    spec = {"format": format, "checkpoint": str(checkpoint), **options}
    import_model("zoo", path_of(config, ROOT), spec, dataset_of(folder, categories), folder / "zoo")
    return folder / "zoo"


@cache
def detectron2_arrays(depth=50, groups=1, keypoints=False):
    """Random arrays of the names and shapes of detectron2's models: ResNet or ResNeXt, FPN, RPN, heads."""
    random, arrays = np.random.default_rng(0), {}

    def layer(name, *shape, bias=True, norm=False):
        spread = np.float32(np.prod(shape[1:]) ** -0.5)
        arrays[f"{name}.weight"] = random.standard_normal(shape, np.float32) * spread
        if bias:
            arrays[f"{name}.bias"] = random.normal(0, 0.1, shape[0]).astype(np.float32)
        if norm:
            for key in ("weight", "bias", "running_mean", "running_var"):
                values = random.uniform(0.5, 1, shape[0]) * (1 if key in ("weight", "running_var") else 0.1)
                arrays[f"{name}.norm.{key}"] = values.astype(np.float32)

    trunk = "backbone.bottom_up."
    layer(f"{trunk}stem.conv1", 64, 3, 7, 7, bias=False, norm=True)
    wide, before = (1 if groups == 1 else 4), 64
    for stage, blocks in enumerate({50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth]):
        inner, out = wide * 64 * 2**stage, 256 * 2**stage
        for block in range(blocks):
            name = f"{trunk}res{stage + 2}.{block}"
            if block == 0:
                layer(f"{name}.shortcut", out, before, 1, 1, bias=False, norm=True)
            layer(f"{name}.conv1", inner, before, 1, 1, bias=False, norm=True)
            layer(f"{name}.conv2", inner, inner // groups, 3, 3, bias=False, norm=True)
            layer(f"{name}.conv3", out, inner, 1, 1, bias=False, norm=True)
            before = out
        layer(f"backbone.fpn_lateral{stage + 2}", 256, out, 1, 1)
        layer(f"backbone.fpn_output{stage + 2}", 256, 256, 3, 3)
    layer("proposal_generator.rpn_head.conv", 256, 256, 3, 3)
    layer("proposal_generator.rpn_head.objectness_logits", 3, 256, 1, 1)
    layer("proposal_generator.rpn_head.anchor_deltas", 12, 256, 1, 1)
    for level in range(5):
        arrays[f"proposal_generator.anchor_generator.cell_anchors.{level}"] = np.zeros((3, 4), np.float32)
    layer("roi_heads.box_head.fc1", 1024, 256 * 49)
    layer("roi_heads.box_head.fc2", 1024, 1024)
    classes = 1 if keypoints else 80
    layer("roi_heads.box_predictor.cls_score", classes + 1, 1024)
    layer("roi_heads.box_predictor.bbox_pred", 4 * classes, 1024)
    if keypoints:
        for number in range(8):
            layer(f"roi_heads.keypoint_head.conv_fcn{number + 1}", 512, 512 if number else 256, 3, 3)
        layer("roi_heads.keypoint_head.score_lowres", 512, 17, 4, 4)
        arrays["roi_heads.keypoint_head.score_lowres.bias"] = np.zeros(17, np.float32)
    return arrays


def published(path, arrays, protocol=4):
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}, protocol))
    return path
