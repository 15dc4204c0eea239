"""A model for the programs of others: torchvision, mmdet, and what runs ONNX.

What is written says the same as the model under its plain view; who runs it needs nothing of this project.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config

from distill.models import config_file
from distill.models import model as models
from distill.models.published.formats import named, stated
from distill.models.published.to_onnx import to_onnx
from distill.models.published.to_torchvision import to_torchvision
from distill.models.usage import plan_of
from distill.predictions.views import View
from distill.program import UserError

# Classes of ours that only differ in training from mmdet's.
PLAIN = {"DistillRPNHead": "RPNHead", "DistillRoIHead": "StandardRoIHead"}


def export_model(model: Path, format: str, output: Path, view: str) -> list[Path]:
    """Writes a model in another format; returns the files.

    model: its folder.
    format: torchvision, mmdet or onnx.
    output: the file of weights; others of the same name go with it.
    view: a view of one size, or a view set of one: what images are resized to.

    Raises UserError where the format has no such network, and for another ending than .pth, of ONNX .onnx.
    """
    ending = ".onnx" if format == "onnx" else ".pth"
    if output.suffix != ending:
        raise UserError(f"{output}: for {format} name the file …{ending}; others go beside it")
    plan = plan_of(model, [view])
    if len(plan.views) > 1 or plan.views[0] != View(plan.views[0].scale, max_side=plan.views[0].max_side):
        raise UserError(f"{view}: a network is exported for one view, which neither mirrors nor turns")
    cfg = config_file.read(model / "config.py")
    network, meta, _ = models.load(model, torch.device("cpu"))
    return EXPORTS[format](cfg, network, meta, plan.views[0], output, model)


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
    heads = {key: value for key, value in net.items() if key != "backbone"}
    counts = {part["num_classes"] for part in _parts(heads) if "num_classes" in part}
    classes = named(meta, max(counts)) if counts else stated("categories", meta)
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
    "onnx": to_onnx,
}
