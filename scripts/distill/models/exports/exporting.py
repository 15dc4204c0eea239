"""A model for the programs of others: torchvision, mmdet, mmpose, and what runs ONNX.

What is written says the same as the model under its plain view; who runs it needs nothing of this project.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from distill.models import config_file
from distill.models import model as models
from distill.models.exports.to_onnx import to_onnx
from distill.models.exports.to_openmmlab import to_mmdet, to_mmpose
from distill.models.exports.to_torchvision import to_torchvision
from distill.models.exports.trained import Trained
from distill.models.usage import plan_of
from distill.predictions.views import View
from distill.program import UserError


def export_model(model: Path, format: str, output: Path, view: str) -> list[Path]:
    """Writes a model in another format; returns the files.

    model: its folder.
    format: torchvision, mmdet, mmpose or onnx.
    output: the file of weights; others of the same name go with it.
    view: a view of one size, or a view set of one: what images are resized to.

    Raises UserError where the format has no such network, for another ending than .pth, of ONNX .onnx, for
    the folder of a model, and where what goes beside the output would replace something else.
    """
    ending = ".onnx" if format == "onnx" else ".pth"
    if output.suffix != ending:
        raise UserError(f"{output}: for {format} name the file …{ending}; others go beside it")
    if all((output.parent / name).exists() for name in ("model.pth", "config.py")):
        raise UserError(f"{output.parent}: is the folder of a model; give another one")
    beside = [path for end in BESIDE[format] if (path := output.with_suffix(end)).exists()]
    if beside and not output.exists():
        raise UserError(f"{beside[0]}: is of something else, and would be replaced; choose another name")
    plan = plan_of(model, [view])
    first = plan.views[0]
    padding = first.padding if format == "mmpose" else View.padding
    if len(plan.views) > 1 or first != View(first.scale, max_side=first.max_side, padding=padding):
        raise UserError(f"{view}: a network is exported for one view, which neither mirrors nor turns")
    cfg = config_file.read(model / "config.py")
    network, meta, _ = models.load(model, torch.device("cpu"))
    return EXPORTS[format](Trained(model, cfg, network, meta, first), output)


BESIDE = {"torchvision": (".py", ".json"), "mmdet": (".py",), "mmpose": (".py",), "onnx": (".json",)}
EXPORTS: dict[str, Callable[[Trained, Path], list[Path]]] = {
    "torchvision": to_torchvision,
    "mmdet": to_mmdet,
    "mmpose": to_mmpose,
    "onnx": to_onnx,
}
