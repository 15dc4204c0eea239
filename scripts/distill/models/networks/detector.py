"""Any detector of mmdet: of its config the network and its optimizer are taken, the rest is this project's.

Images, transforms, schedule, checkpoints and evaluation are those of every model here.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.detectors import BaseDetector, SingleStageDetector, TwoStageDetector
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from distill.models import backbone, config_file
from distill.models.networks import own_hooks
from distill.models.networks.kind import Kind
from distill.program import UserError

LEAST_STRIDE = 32  # images are padded to multiples of this, or of the config's own divisor
MASKS = (
    "mask_head", "mask_roi_extractor", "mask_iou_head", "point_head",
    "semantic_head", "semantic_roi_extractor",
)  # fmt: skip
# Of a data preprocessor: what is drawn beside the samples' own transforms, and what is made of masks.
WHOLE_BATCHES = ("batch_augments", "pad_mask", "pad_seg", "mask_pad_value", "seg_pad_value")
OWN = ("model", "initial_settings", "find_unused_parameters")  # what stays of the config


class Detector(Kind):
    """Its optimizer, `paramwise_cfg`, `clip_grad` and learning rate are the config's (`lr: auto`)."""

    def settle(self, cfg: Config, categories: list[dict], source: str) -> None:
        model = cfg.model
        if "detector" in model or not isinstance(model.get("backbone"), dict):
            raise UserError(f"{source}: {model.get('type')} is made of other detectors; take one of them")
        if "language_model" in model:
            raise UserError(f"{source}: {model.type} reads texts, which a dataset of boxes has not")
        for part in parts(model):
            if "num_classes" in part and part is not model.backbone:
                part["num_classes"] = len(categories)
            part.pop("pretrained", None)
            if part.get("type") == "MMSyncBN":  # mmcv's, which one process alone cannot even build
                part["type"] = "SyncBN"
            if part is not model.backbone:
                backbone.drop_weights(part)
        if isinstance(roi_head := model.get("roi_head"), dict):
            if {"mask_iou_head", "point_head"} & roi_head.keys():
                roi_head["type"] = "StandardRoIHead"  # what is left of Mask Scoring R-CNN's and PointRend's
            for key in MASKS:  # the dataset has boxes
                roi_head.pop(key, None)
        preprocessor = model.setdefault("data_preprocessor", dict(type="DetDataPreprocessor"))
        for key in WHOLE_BATCHES:
            preprocessor.pop(key, None)
        preprocessor.pad_size_divisor = math.lcm(LEAST_STRIDE, preprocessor.get("pad_size_divisor") or 1)
        config_file.check_types(model, source)

    def optimization(self, cfg: Config, spec: Mapping[str, Any], source: str) -> dict[str, Any]:
        wrapper = dict(cfg.get("optim_wrapper") or {})
        optimizer = dict(wrapper.pop("optimizer", None) or cfg.get("optimizer") or {})
        if not optimizer:
            raise UserError(f"{source}: has no `optim_wrapper`, so nothing says how it is trained")
        if wrapper.pop("accumulative_counts", 1) != 1:
            raise UserError(f"{source}: accumulative_counts: cannot be resumed exactly; raise `batch`")
        head = (cfg.model.get("roi_head") or {}).get("type", "")
        if head.rpartition(".")[2] == "DynamicRoIHead":  # its thresholds are not saved
            raise UserError(f"{source}: Dynamic R-CNN cannot be resumed exactly; take another network")
        base = _batch(cfg)
        if spec["lr"] != "auto":
            optimizer["lr"] = spec["lr"] * spec["batch"] / 16
        elif "lr" not in optimizer or not base:
            missing = "auto_scale_lr.base_batch_size" if "lr" in optimizer else "optim_wrapper.optimizer.lr"
            raise UserError(f"{source}: has no {missing}; give the model an `lr`")
        else:
            optimizer["lr"] *= spec["batch"] / base
        for key in ("type", "dtype", "loss_scale", "use_fsdp"):  # `amp` of the model says
            wrapper.pop(key, None)
        return dict(optimizer=optimizer, **wrapper)

    def hooks(self, cfg: Config, iterations: int, source: str) -> list[dict[str, Any]]:
        hooks = own_hooks.translated(cfg, iterations, source)
        for key in [key for key in cfg if key not in OWN]:
            cfg.pop(key)
        return hooks

    def arrange(self, network: BaseDetector) -> None:
        """Heads of others reshape what they compute as if its channels came first (CenterNet's does), and
        convolutions of others their weights (those of DetectoRS, which standardise them)."""
        for name, part in network.named_modules():
            if isinstance(part, SSDHead):
                part.loss_cls = None  # which mmdet's prediction asks for, and this head has not
            head = "." not in name and name.endswith("head")
            if head or (isinstance(part, nn.Conv2d) and type(part) is not nn.Conv2d):
                part.to(memory_format=torch.contiguous_format)
        extract = network.extract_feat

        def contiguous(*inputs: Any) -> Any:
            return tree_map_only(Tensor, Tensor.contiguous, extract(*inputs))

        network.extract_feat = contiguous

    def last_layers(self, network: BaseDetector) -> list[nn.Module]:
        """All layers of its heads: which are the last ones, only they know."""
        heads = [part for name, part in network.named_children() if name.endswith("head")]
        layers = (layer for head in heads for layer in head.modules())
        return [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]

    def raw(self, network: BaseDetector, inputs: Tensor) -> Any:
        features = network.extract_feat(inputs)
        head = None
        if isinstance(network, SingleStageDetector):
            head = network.bbox_head
        elif isinstance(network, TwoStageDetector):
            head = network.rpn_head
        return (features, head(features)) if isinstance(head, BaseDenseHead) else features


def _batch(cfg: Config) -> int | None:
    """How many images the config's learning rate is for. Where one GPU has more than `auto_scale_lr` says,
    that was inherited, as RTMDet's 16 from mmdet's usual schedule: its configs are of 8 GPUs."""
    base = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    each = (cfg.get("train_dataloader") or {}).get("batch_size") or 0
    return 8 * each if base and each > base else base


def parts(value: Any) -> Iterator[dict]:
    """All mappings of a config, the outer ones first."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from parts(item)
