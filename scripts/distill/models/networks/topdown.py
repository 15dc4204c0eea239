"""Any top-down pose estimator of mmpose that gives heatmaps: it sees the padded box of one instance.

Of its config the network, its codec, its optimizer and how instances are cropped in training are taken; the
rest is this project's. The boxes in which it predicts are another model's (`boxes` of the study).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from distill.datasets.coco import Coco
from distill.datasets.keypoint_meta import keypoint_meta
from distill.models import (
    augment,
    backbone,
    config_file,
    poses,
)
from distill.models.networks.detector import Detector, parts
from distill.predictions.codecs import Codec
from distill.predictions.crops import Crop
from distill.predictions.heatmap_file import Layout
from distill.program import UserError
from distill.study.limits import of_several

HEAT = {"HeatmapHead", "ViPNASHead", "CPMHead", "MSPNHead"}
SIMCC = {"SimCCHead", "RTMCCHead", "RTMWHead"}
CODECS = {"HEAT": {"MSRAHeatmap", "UDPHeatmap", "MegviiHeatmap"}, "SIMCC": {"SimCCLabel"}}
# What a config says of the crops that it is trained on; the other transforms draw from other generators, or
# need halves of bodies, which no dataset here has.
CROPPING = {"RandomBBoxTransform", "GenerateTarget", "YOLOXHSVRandomAug"}
BRIGHTEST = 255  # of Megvii's heatmaps, whose peaks others put at 1


def is_topdown(cfg: Config) -> bool:
    """Whether a network is a top-down pose estimator of mmpose."""
    return _name(cfg.model.get("type")) == "TopdownPoseEstimator"


class TopDown(Detector):
    """Its optimizer, `paramwise_cfg`, `clip_grad` and learning rate are the config's (`lr: auto`)."""

    task = "keypoints"
    can = frozenset({"heatmaps", "crops"})

    def settle(self, cfg: Config, categories: list[dict], source: str) -> None:
        model: Any = cfg.model
        head: Any = model.get("head") or {}
        decoder = _decoder(head, source)
        sets = [category["keypoints"] for category in categories if category.get("keypoints")]
        if not sets:
            raise UserError(f"{source}: a pose estimator needs a category with keypoints")
        for part in parts(model):
            part.pop("pretrained", None)
            if part is not model.backbone:
                backbone.drop_weights(part)
            if _name(part.get("type", "")) == "KeypointOHKMMSELoss":
                part["topk"] = min(part.get("topk", 8), len(sets[0]))  # 8: its own default
        head.out_channels = len(sets[0])
        if _name(model.backbone.type) == "CPM":
            model.backbone.out_channels = len(sets[0])
        pipeline = _pipeline(cfg)
        affine = next((step for step in pipeline if _name(step["type"]) == "TopdownAffine"), {})
        model.type, model["_scope_"] = "TopdownPoseEstimator", "mmpose"
        model.pop("metainfo", None)
        udp = affine.get("use_udp", _name(decoder["type"]) == "UDPHeatmap")
        model.test_cfg = dict(flip_test=False, use_udp=bool(udp))
        steps = {_name(step["type"]): step for step in pipeline if _name(step["type"]) in CROPPING}
        target = steps.setdefault("GenerateTarget", dict(type="GenerateTarget"))
        if not isinstance(target.get("encoder"), list | tuple):  # of several stages
            target["encoder"] = decoder  # whatever the config that the head's inherits from has
        for step in steps.values():
            step["type"] = f"mmpose.{_name(step['type'])}"
        target.pop("use_dataset_keypoint_weights", None)
        model.train_cfg = dict(compute_acc=False, steps=list(steps.values()))
        preprocessor = model.setdefault("data_preprocessor", dict(type="PoseDataPreprocessor"))
        preprocessor.pop("batch_augments", None)
        config_file.check_types(model, source)

    def optimization(self, cfg: Config, spec: Mapping[str, Any], source: str) -> dict[str, Any]:
        wrapper = super().optimization(cfg, spec, source)
        for part in (wrapper, wrapper["optimizer"]):
            part.pop("_scope_", None)
        if (name := wrapper.get("constructor")) and "." not in name:
            wrapper["constructor"] = f"mmpose.{name}"
        return wrapper

    def check(self, spec: Mapping[str, Any], name: str) -> None:
        super().check(spec, name)
        if mixed := of_several(spec["augment"]):
            raise UserError(
                f"model {name}: augment: {mixed[0]}: a pose estimator sees crops of single objects"
            )

    def samples(
        self, cfg: Config, spec: Mapping[str, Any], strengths: str | dict[str, float], coco: Coco, name: str
    ) -> dict[str, Any]:
        meta = keypoint_meta(coco)
        size = _decoder(cfg.model.head, name).input_size
        own = {_name(step["type"]): dict(step) for step in cfg.model.train_cfg.steps}
        target = own.pop("GenerateTarget")
        colour = own.pop("YOLOXHSVRandomAug", None)
        pipeline = [
            dict(type="LoadImage"),
            dict(type="LoadPose", flip_indices=list(meta.flip_indices) if meta else []),
            dict(type="mmpose.GetBBoxCenterScale"),
            dict(type="mmpose.RandomFlip", direction="horizontal"),
            own.get("RandomBBoxTransform", dict(type="mmpose.RandomBBoxTransform")),
            dict(type="mmpose.TopdownAffine", input_size=size, use_udp=cfg.model.test_cfg.use_udp),
            *([colour] if colour else []),
            *(step for step in augment.pipeline(strengths) if step["type"] == "DistortColour"),
            target,
            dict(type="mmpose.PackPoseInputs"),
        ]
        return dict(type="PoseInstances", pipeline=pipeline)

    def learned(self, coco: Coco, spec: Mapping[str, Any]) -> int:
        return poses.learned_instances(coco)

    def sample_size(self, network: Any) -> tuple[int, int]:
        width, height = self.crop(network).size
        return height, width

    def boxes(self, network: Any, inputs: Tensor, samples: list) -> list:
        raise UserError("a pose estimator has no boxes of its own; `boxes` of a model names the one that has")

    def raw(self, network: Any, inputs: Tensor) -> Any:
        return network.head(network.extract_feat(inputs))

    # --- of crops ---

    def crop(self, network: Any) -> Crop:
        """The geometry of the network's input and heatmaps."""
        codec = network.head.decoder
        size = tuple(codec.input_size)
        heat = not hasattr(codec, "simcc_split_ratio")
        cells = codec.heatmap_size if heat else [int(side * codec.simcc_split_ratio) for side in size]
        udp, kind = bool(network.test_cfg.get("use_udp")), type(codec).__name__
        return Crop(size, tuple(cells), udp, kind == "UDPHeatmap", kind == "MegviiHeatmap")

    def layout(self, network: Any) -> Layout:
        """What its heatmaps are, and how keypoints are read off them."""
        codec, cells = network.head.decoder, self.crop(network).cells
        match type(codec).__name__:
            case "SimCCLabel":
                return Layout("simcc", cells, Codec(sure=_sure(network)))
            case "UDPHeatmap":
                return Layout("heat", cells, Codec("udp", codec.blur_kernel_size))
            case "MegviiHeatmap":
                return Layout("heat", cells, Codec("megvii", codec.kernel_size))
        return Layout("heat", cells, Codec("dark" if codec.unbiased else "quarter", codec.blur_kernel_size))

    def maps(self, network: Any, inputs: Tensor) -> tuple[Tensor, ...]:
        """What the network says of crops (n, 3, h, w), preprocessed, as `heatmap_writer` takes it."""
        given = self.raw(network, inputs)
        if isinstance(given, tuple) and len(given) == 2:
            beta = getattr(network.head.loss_module, "beta", 1.0)
            return given[0] * beta, given[1] * beta
        while not torch.is_tensor(given):  # of several stages, the last one
            given = given[-1]
        return (given / BRIGHTEST if type(network.head.decoder).__name__ == "MegviiHeatmap" else given,)


def _name(kind: Any) -> str:
    """Without the package that it is of."""
    return str(kind).rpartition(".")[2]


def _decoder(head: Any, source: str) -> Any:
    """The codec of a head. Raises UserError where it gives no heatmaps that can be merged."""
    name, decoder = _name(head.get("type")), head.get("decoder")
    decoder = decoder[-1] if isinstance(decoder, list | tuple) else decoder or {}
    codec = _name(decoder.get("type"))
    if name not in HEAT | SIMCC:
        what = (
            "coordinates alone, which views cannot be averaged of" if "Regression" in codec else "no heatmaps"
        )
        raise UserError(f"{source}: {name} gives {what}; take a config with a heatmap or SimCC head")
    if codec not in CODECS["HEAT" if name in HEAT else "SIMCC"]:
        raise UserError(f"{source}: {name} with the codec {codec} is not known here; take MSRA, UDP or SimCC")
    if decoder.get("heatmap_type", "gaussian") != "gaussian" or decoder.get("use_dark"):
        raise UserError(
            f"{source}: {codec} with offsets, or with use_dark, is not known here; leave them out"
        )
    return decoder


def _pipeline(cfg: Config) -> list[dict]:
    """The transforms that a config is trained with, if it says so."""
    dataset = (cfg.get("train_dataloader") or {}).get("dataset") or {}
    return [dict(step) for step in dataset.get("pipeline") or cfg.get("train_pipeline") or []]


def _sure(network: Any) -> tuple[float, float]:
    """The peaks of the distributions that training aims at, of a keypoint in the middle."""
    codec, loss = network.head.decoder, network.head.loss_module
    middle = np.array(codec.input_size, np.float32).reshape(1, 1, 2) // 2
    encoded = codec.encode(middle, np.ones((1, 1), np.float32))
    peaks = []
    for axis in "xy":
        label = encoded[f"keypoint_{axis}_labels"][0, 0].astype(np.float64)
        if getattr(loss, "label_softmax", False):
            label = np.exp(label * loss.label_beta)
        peaks.append(float(label.max() / label.sum()))
    return peaks[0], peaks[1]
