"""A model as one ONNX file, which ONNX Runtime and others run: torchvision's network of the model, traced.

torch's exporter by tracing is the one that torchvision's detectors are written for.
"""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from distill.files import replacing, write_json
from distill.models.published.to_torchvision import as_torchvision
from distill.predictions.views import View
from distill.program import UserError

OPSET = 17  # from 16 on, RoIAlign may be aligned
OUTPUTS = {
    "boxes": "(N, 4) x1, y1, x2, y2 in pixels of the image, the best first",
    "labels": "(N,) numbers of the categories",
    "scores": "(N,) from 0 to 1",
    "keypoints": "(N, K, 3) x, y in pixels of the image, and 1",
    "keypoints_scores": "(N, K) logits",
}
INPUT = "(3, height, width), float32, RGB from 0 to 1, of any size: the network resizes it to the view"


class _OneImage(nn.Module):
    """(3, H, W) → the outputs, in their order."""

    def __init__(self, network: nn.Module, outputs: list[str]) -> None:
        super().__init__()
        self.network, self.outputs = network, outputs

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        (found,) = self.network([image])
        return tuple(found[name] for name in self.outputs)


def to_onnx(
    cfg: Config, network: Any, meta: dict[str, Any], view: View, output: Path, model: Path
) -> list[Path]:
    """A graph with its weights, and what its input and outputs are."""
    if find_spec("onnx") is None:
        raise UserError("the package onnx, which writes the file, is missing: pip install onnx")
    settings, exported = as_torchvision(cfg, network, meta, view, f"{model}: for onnx")
    outputs = {
        name: text for name, text in OUTPUTS.items() if "keypoints" in settings or "keypoint" not in name
    }
    single = _OneImage(exported, list(outputs)).eval()
    dynamic = {"image": {1: "height", 2: "width"}, **{name: {0: "found"} for name in outputs}}
    image = torch.rand(3, view.scale, view.scale, generator=torch.Generator().manual_seed(0))
    with replacing(output) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a trace holds fast: torchvision has seen to it
        torch.onnx.export(
            single,
            (image,),
            str(temporary),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(outputs),
            dynamic_axes=dynamic,
        )
    about = {key: settings[key] for key in ("categories", "keypoints") if key in settings}
    about |= {"view": {"scale": view.scale, "max_side": view.max_side}, "input": {"image": INPUT}}
    write_json(output.with_suffix(".json"), {**about, "outputs": outputs})
    return [output, output.with_suffix(".json")]
