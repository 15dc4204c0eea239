"""A model as one ONNX file, which ONNX Runtime and others run: torchvision's network of it, traced.

torchvision's detectors are written for the exporter that traces: sizes and numbers of detections stay open,
keypoints are read off in a loop.
"""

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.files import replacing, write_json
from distill.models.exports.to_torchvision import as_torchvision
from distill.models.exports.trained import Trained
from distill.program import UserError

OPSET = 17  # from 16 on, RoIAlign may be aligned


class _OneImage(nn.Module):
    """(3, H, W) → the outputs, in their order."""

    def __init__(self, network: nn.Module, outputs: list[str]) -> None:
        super().__init__()
        self.network, self.outputs = network, outputs

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        (found,) = self.network([image])
        return tuple(found[name] for name in self.outputs)


def to_onnx(model: Trained, output: Path) -> list[Path]:
    """Writes `output`, the graph with its weights, and beside it the settings, which say what goes in and
    comes out. Raises UserError for another network, and where the package onnx is missing."""
    if find_spec("onnx") is None:
        raise UserError("the package onnx, which writes the file, is missing: pip install onnx")
    settings, exported = as_torchvision(model, "onnx")
    outputs = list(settings["outputs"])
    side = model.view.scale
    image = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))
    with replacing(output) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a trace could hold fast
        torch.onnx.export(
            _OneImage(exported, outputs).eval(),
            (image,),
            str(temporary),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=outputs,
            dynamic_axes={"image": {1: "height", 2: "width"}, **{name: {0: "found"} for name in outputs}},
        )
    write_json(output.with_suffix(".json"), settings)
    return [output, output.with_suffix(".json")]
