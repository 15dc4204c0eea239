"""The formats of published checkpoints: how they name tensors, and how their models were trained.

Each format has
- names: patterns of how the names of its tensors begin, and how ours (mmdet's) do; the first match counts;
- background: where its scores of categories have the background, "first" or "last" (ours: last);
- settings(cfg, state, meta): what in the config's `model` has to change, where the checkpoint was trained
  differently. `state` are its tensors under our names, `meta` what else the file says.

Sources: torchvision's models/detection; mmdet's configs; detectron2's configs, config/defaults.py, modeling.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from distill.datasets.keypoint_meta import COCO_KEYPOINTS
from distill.program import UserError

State = dict[str, Tensor]
BOX_HEAD = "roi_head.bbox_head."
KEYPOINT_HEAD = "roi_head.keypoint_head."
# Detectron's normalisation, in its order of channels; where the standard deviation is 1, the weights hold it.
BGR_MEAN, BGR_STD = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]

# Without the background: 1 to 90, "N/A" where there is none.
_COCO_IDS = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]
_COCO = [name for name in _COCO_IDS if name != "N/A"]


@dataclass(frozen=True)
class Format:
    """See the module."""

    names: tuple[tuple[str, str | Callable[[re.Match], str]], ...]
    background: str
    settings: Callable[[Config, State, dict[str, Any]], dict[str, Any]]

    def ours(self, name: str) -> str:
        """Our name of a tensor; its own where no pattern fits."""
        for pattern, replacement in self.names:
            if re.match(pattern, name):
                return re.sub(rf"^{pattern}", replacement, name)
        return name


def stated(what: str, meta: dict[str, Any]) -> list[str] | None:
    """Names of categories or keypoints that a checkpoint states: ours, mmdet's or mmpose's."""
    about, own = meta.get("dataset_meta"), meta.get("categories")
    if isinstance(about, dict):  # in capitals before mmdet 3.0
        about = {str(key).lower(): value for key, value in about.items()}
    names = meta.get("rows") if what == "categories" else None
    if names is None and isinstance(own, list) and own and all(isinstance(each, dict) for each in own):
        points = [each["keypoints"] for each in own if each.get("keypoints")]
        names = [each.get("name") for each in own] if what == "categories" else (points or [None])[0]
    if names is None and what == "categories":
        names = meta.get("CLASSES") or (about.get("classes") if isinstance(about, dict) else None)
    if names is None and what == "keypoints" and isinstance(about, dict):
        numbered = about.get("keypoint_id2name")
        names = [numbered.get(n) for n in range(len(numbered))] if isinstance(numbered, dict) else None
    names = [names] if isinstance(names, str) else names
    if not (isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names)):
        return None
    return list(names)


def categories(count: int, meta: dict[str, Any]) -> list[str] | None:
    """Names of a checkpoint's categories: those that it states, or COCO's if their number fits."""
    known = {1: ["person"], len(_COCO): _COCO, len(_COCO_IDS): _COCO_IDS}
    return stated("categories", meta) or known.get(count)


def named(meta: dict[str, Any], count: int) -> list[str]:
    """The names of all categories that a network of ours knows: an imported one keeps its own, `rows`.
    UserError where they are not `count`."""
    names = meta.get("rows") or [category["name"] for category in meta["categories"]]
    if len(names) != count:
        raise UserError(f"its network predicts {count} categories, of which {len(names)} have names")
    return names


def keypoints(count: int, meta: dict[str, Any]) -> list[str] | None:
    """The names of a checkpoint's keypoints: those that it states, or COCO's if their number fits."""
    return stated("keypoints", meta) or (list(COCO_KEYPOINTS) if count == len(COCO_KEYPOINTS) else None)


def _torchvision(cfg: Config, state: State, meta: dict[str, Any]) -> dict[str, Any]:
    pooling = dict(roi_layer=dict(sampling_ratio=2, aligned=False))
    loss = dict(type="SmoothL1Loss", beta=1 / 9)
    settings: dict[str, Any] = dict(
        rpn_head=dict(anchor_generator=dict(type="TorchvisionAnchorGenerator"), loss_bbox=loss),
        roi_head=dict(bbox_roi_extractor=pooling, bbox_head=dict(loss_bbox=loss)),
        test_cfg=dict(rpn=dict(min_bbox_size=1e-3)),
    )
    if "keypoint_head" in cfg.model.get("roi_head", {}):
        settings["roi_head"]["keypoint_roi_extractor"] = pooling
    # The published weights have frozen normalisation layers, which count no batches and have no epsilon.
    if not any(name.endswith("num_batches_tracked") for name in state):
        settings["backbone"] = dict(norm_cfg=dict(eps=0.0))
    return settings


def _mmdet(cfg: Config, state: State, meta: dict[str, Any]) -> dict[str, Any]:
    """What the text of the checkpoint's own config says; where it says nothing, our configs are mmdet's."""
    text = str(meta.get("config") or meta.get("cfg") or "")  # mmdet 2, mmdet 3

    def numbers(key: str) -> list[float] | None:
        number = r"\s*(\d+(?:\.\d*)?)\s*"
        found = re.search(rf"\b{key}=[\[(]{number},{number},{number},?\s*[\])]", text)
        return found and [float(channel) for channel in found.groups()]

    mean, std = numbers("mean"), numbers("std")
    if mean and std and max(std) < 1:  # of pixels from 0 to 1: mmpose before 1.0
        mean, std = [255 * value for value in mean], [255 * value for value in std]
    said = {
        "mean": mean,
        "std": std,
        "bgr_to_rgb": (found := re.search(r"to_rgb=(True|False)", text)) and found[1] == "True",
    }
    settings = {"data_preprocessor": {key: value for key, value in said.items() if value is not None}}
    if found := re.search(r"\bstyle=['\"](pytorch|caffe)['\"]", text):
        settings["backbone"] = {"style": found[1]}
    return {key: value for key, value in settings.items() if value}


def _detectron2(cfg: Config, state: State, meta: dict[str, Any]) -> dict[str, Any]:
    # ResNets are Caffe's, with the strides in the 1×1 layers.
    wide = cfg.model.backbone.type == "ResNeXt"
    settings = dict(
        data_preprocessor=dict(mean=BGR_MEAN, std=BGR_STD if wide else [1.0] * 3, bgr_to_rgb=False),
        backbone=dict(style="pytorch" if wide else "caffe"),
    )
    if "keypoint_head" in cfg.model.get("roi_head", {}):
        settings["roi_head"] = dict(bbox_head=dict(loss_bbox=dict(type="SmoothL1Loss", beta=0.5)))
        settings["train_cfg"] = dict(rpn_proposal=dict(max_per_img=1500))
    return settings


_STAGE = r"backbone\.bottom_up\.res(\d)\.(\d+)\."


def _block(rest: str) -> Callable[[re.Match], str]:
    """The stages res2 … res5 of detectron2 are layer1 … layer4."""
    return lambda match: match.expand(f"backbone.layer{int(match[1]) - 1}.\\2.{rest}")


FORMATS = {
    "torchvision": Format(
        (
            (r"backbone\.body\.(\d)\.", r"backbone.layers.\1."),  # EfficientNet-Lite, as we export it
            (r"backbone\.body\.", "backbone."),
            (r"backbone\.fpn\.inner_blocks\.(\d)\.1\.", r"neck.lateral_convs.\1.bn."),
            (r"backbone\.fpn\.layer_blocks\.(\d)\.1\.", r"neck.fpn_convs.\1.bn."),
            (r"backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?", r"neck.lateral_convs.\1.conv."),
            (r"backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?", r"neck.fpn_convs.\1.conv."),
            (r"rpn\.head\.conv\.(?:0\.0\.)?", "rpn_head.rpn_conv."),
            (r"rpn\.head\.cls_logits\.", "rpn_head.rpn_cls."),
            (r"rpn\.head\.bbox_pred\.", "rpn_head.rpn_reg."),
            (r"roi_heads\.box_head\.fc6\.", BOX_HEAD + "shared_fcs.0."),
            (r"roi_heads\.box_head\.fc7\.", BOX_HEAD + "shared_fcs.1."),
            (r"roi_heads\.box_predictor\.cls_score\.", BOX_HEAD + "fc_cls."),
            (r"roi_heads\.box_predictor\.bbox_pred\.", BOX_HEAD + "fc_reg."),
            (
                r"roi_heads\.keypoint_head\.(\d+)\.0\.",
                KEYPOINT_HEAD + r"convs.\1.conv.",
            ),  # with normalisation
            (r"roi_heads\.keypoint_head\.(\d+)\.1\.", KEYPOINT_HEAD + r"convs.\1.gn."),
            # Without, every other module there is a ReLU.
            (r"roi_heads\.keypoint_head\.(\d+)\.", lambda m: f"{KEYPOINT_HEAD}convs.{int(m[1]) // 2}.conv."),
            (r"roi_heads\.keypoint_predictor\.kps_score_lowres\.", KEYPOINT_HEAD + "deconv."),
        ),
        "first",
        _torchvision,
    ),
    "mmdet": Format((), "last", _mmdet),
    # Its files are made by the same program; those before 1.0 have another name for the head.
    "mmpose": Format(((r"keypoint_head\.", "head."),), "last", _mmdet),
    "detectron2": Format(
        (
            (r"backbone\.bottom_up\.stem\.conv1\.norm\.", "backbone.bn1."),
            (r"backbone\.bottom_up\.stem\.", "backbone."),
            (_STAGE + r"shortcut\.norm\.", _block("downsample.1.")),
            (_STAGE + r"shortcut\.", _block("downsample.0.")),
            (_STAGE + r"conv(\d)\.norm\.", _block(r"bn\3.")),
            (_STAGE, _block("")),
            (r"backbone\.fpn_lateral(\d)\.", lambda m: f"neck.lateral_convs.{int(m[1]) - 2}.conv."),
            (r"backbone\.fpn_output(\d)\.", lambda m: f"neck.fpn_convs.{int(m[1]) - 2}.conv."),
            (r"proposal_generator\.rpn_head\.conv\.", "rpn_head.rpn_conv."),
            (r"proposal_generator\.rpn_head\.objectness_logits\.", "rpn_head.rpn_cls."),
            (r"proposal_generator\.rpn_head\.anchor_deltas\.", "rpn_head.rpn_reg."),
            (r"roi_heads\.box_head\.fc(\d)\.", lambda m: f"{BOX_HEAD}shared_fcs.{int(m[1]) - 1}."),
            (r"roi_heads\.box_predictor\.cls_score\.", BOX_HEAD + "fc_cls."),
            (r"roi_heads\.box_predictor\.bbox_pred\.", BOX_HEAD + "fc_reg."),
            (
                r"roi_heads\.keypoint_head\.conv_fcn(\d)\.",
                lambda m: f"{KEYPOINT_HEAD}convs.{int(m[1]) - 1}.conv.",
            ),
            (r"roi_heads\.keypoint_head\.score_lowres\.", KEYPOINT_HEAD + "deconv."),
        ),
        "last",
        _detectron2,
    ),
}
