"""A model for the programs of others: torchvision's own classes, mmdet.

What is written says the same as the model under its plain view; who runs it needs nothing of this project.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config

from distill.files import replacing, write_json
from distill.models import config_file
from distill.models import model as models
from distill.models.published import torchvision_loader
from distill.models.published.formats import FORMATS, State
from distill.models.usage import plan_of
from distill.predictions.views import View
from distill.program import UserError

# Classes of ours that only differ in training from mmdet's.
PLAIN = {"DistillRPNHead": "RPNHead", "DistillRoIHead": "StandardRoIHead"}


def export_model(model: Path, format: str, output: Path, view: str) -> list[Path]:
    """Writes a model in another format; returns the files.

    model: its folder.
    format: torchvision or mmdet.
    output: the file of weights; others of the same name go with it.
    view: a view of one size, or a view set of one: what images are resized to.

    Raises UserError where the format has no such network.
    """
    plan = plan_of(model, [view])
    if len(plan.views) > 1 or plan.views[0] != View(plan.views[0].scale, max_side=plan.views[0].max_side):
        raise UserError(f"{view}: a network is exported for one view, which neither mirrors nor turns")
    cfg = config_file.read(model / "config.py")
    network, meta, _ = models.load(model, torch.device("cpu"))
    return EXPORTS[format](cfg, network, meta, plan.views[0], output, model)


def _names(cfg: Config, meta: dict[str, Any], count: int) -> list[str]:
    """Of all categories that the network knows: an imported one keeps its own, `rows`."""
    names = meta.get("rows") or [category["name"] for category in meta["categories"]]
    if len(names) != count:
        raise UserError(f"its network predicts {count} categories, of which {len(names)} have names")
    return names


def to_torchvision(
    cfg: Config, network: Any, meta: dict[str, Any], view: View, output: Path, model: Path
) -> list[Path]:
    """A state dict of torchvision's Faster R-CNN, R-50 FPN; its arguments; and a loader."""
    what = f"{model}: for torchvision, Faster R-CNN, R-50 FPN, is exported; this is another network"
    if cfg.model.get("roi_head", {}).get("keypoint_head"):
        raise UserError(f"{what} (it has keypoints)")
    try:
        settings = _torchvision_settings(cfg, meta, view)
        expected = torchvision_loader.build(settings).state_dict()
        state = network.state_dict()
        taken = {name: state[FORMATS["torchvision"].ours(name)] for name in expected}
    except (AttributeError, KeyError) as error:
        raise UserError(f"{what} ({error})") from None
    _background_first(taken)
    if not cfg.model.data_preprocessor.bgr_to_rgb:
        taken["backbone.body.conv1.weight"] = taken["backbone.body.conv1.weight"].flip(1)
    odd = [name for name, value in taken.items() if value.shape != expected[name].shape]
    wrong = odd or cfg.model.backbone.type != "ResNet" or cfg.model.backbone.get("style") != "pytorch"
    if wrong or len(taken) != len(state):
        raise UserError(f"{what} ({odd[0] if odd else cfg.model.backbone.type})")
    with replacing(output) as temporary:
        torch.save({name: value.contiguous().clone() for name, value in taken.items()}, temporary)
    write_json(output.with_suffix(".json"), settings)
    with replacing(output.with_suffix(".py")) as temporary:
        shutil.copyfile(torchvision_loader.__file__, temporary)
    return [output, output.with_suffix(".json"), output.with_suffix(".py")]


def _background_first(state: State) -> None:
    """The inverse of `checkpoints.background_last`, under torchvision's names. It has no boxes to move."""
    for key in ("weight", "bias"):
        scores, boxes = (f"roi_heads.box_predictor.{layer}.{key}" for layer in ("cls_score", "bbox_pred"))
        state[scores] = state[scores].roll(1, 0)
        state[boxes] = torch.cat([torch.zeros_like(state[boxes][:4]), state[boxes]])


def _torchvision_settings(cfg: Config, meta: dict[str, Any], view: View) -> dict[str, Any]:
    """What torchvision_loader.build takes. KeyError, AttributeError for a config of another network."""
    net, test = cfg.model, cfg.model.test_cfg
    pixels, roi, anchors = net.data_preprocessor, net.roi_head, net.rpn_head.anchor_generator
    order = slice(None) if pixels.bgr_to_rgb else slice(None, None, -1)
    names = _names(cfg, meta, roi.bbox_head.num_classes)
    arguments = {
        "num_classes": len(names) + 1,
        "min_size": view.scale,
        "max_size": view.max_side,
        "image_mean": [value / 255 for value in pixels.mean[order]],
        "image_std": [value / 255 for value in pixels.std[order]],
        "rpn_pre_nms_top_n_test": test.rpn.nms_pre,
        "rpn_post_nms_top_n_test": test.rpn.max_per_img,
        "rpn_nms_thresh": test.rpn.nms.iou_threshold,
        "box_score_thresh": test.rcnn.score_thr,
        "box_nms_thresh": test.rcnn.nms.iou_threshold,
        "box_detections_per_img": test.rcnn.max_per_img,
    }
    settings: dict[str, Any] = {"categories": ["background", *names], "arguments": arguments}
    settings["eps"] = net.backbone.norm_cfg.get("eps", 1e-5)
    layer = roi.bbox_roi_extractor.roi_layer
    if layer.get("aligned", True):
        settings["pooling"] = {"boxes": layer.get("sampling_ratio", 0)}
    if anchors.type != "TorchvisionAnchorGenerator":
        settings["anchors"] = {"scale": anchors.scales[0], "ratios": list(anchors.ratios)}
    return settings


def to_mmdet(
    cfg: Config, network: Any, meta: dict[str, Any], view: View, output: Path, model: Path
) -> list[Path]:
    """A checkpoint and a config, for mmdet's init_detector and inference_detector."""
    net = cfg.model.to_dict()
    for part in _parts(net):
        part["type"] = PLAIN.get(part["type"], part["type"])
        found = MODELS.get(part["type"]) or TASK_UTILS.get(part["type"])
        if found and found.__module__.startswith("distill.") and found.__name__ != "FloatRoIExtractor":
            raise UserError(
                f"{model}: {part['type']} is a part of this project, which mmdet alone does not have"
            )
    net["data_preprocessor"].pop("non_blocking", None)
    if "init_cfg" in net["backbone"]:
        net["backbone"]["init_cfg"] = None
    head: Any = (cfg.model.get("roi_head") or {}).get("bbox_head")
    known = len(meta["categories"])
    classes = _names(cfg, meta, head["num_classes"] if isinstance(head, dict) else known)
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=(view.max_side, view.scale), keep_ratio=True),
        dict(
            type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
        ),
    ]
    loader = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(type="CocoDataset", metainfo=dict(classes=classes), pipeline=pipeline, test_mode=True),
    )
    config = dict(default_scope="mmdet", model=net, test_pipeline=pipeline, test_dataloader=loader)
    models.save(output, network.state_dict(), {"dataset_meta": {"classes": classes}})
    config_file.write(output.with_suffix(".py"), Config(config))
    return [output, output.with_suffix(".py")]


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """The parts of a network's config, each with a `type`."""
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            yield value
        for inner in value.values():
            yield from _parts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _parts(inner)


EXPORTS: dict[str, Callable[..., list[Path]]] = {
    "torchvision": to_torchvision,
    "mmdet": to_mmdet,
}
