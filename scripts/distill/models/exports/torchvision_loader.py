"""Loads a detector that was exported for torchvision: this file, NAME.json and NAME.pth, side by side.

    from NAME import load
    detections = load()([image])  # (3, H, W), RGB from 0 to 1

It needs torch and torchvision only. NAME.json has the settings that `build` makes torchvision's FasterRCNN or
KeypointRCNN of, NAME.pth its state dict. The parts are torchvision's, in the widths of the network; here are
those that it lacks: EfficientNet-Lite, and the anchors and RoIAlign of mmdet, for what was trained with them;
images are resized as they were in training.
"""

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.onnx.operators import shape_as_tensor
from torchvision.models.detection import FasterRCNN, KeypointRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1
from torchvision.ops import Conv2dNormActivation, MultiScaleRoIAlign, roi_align

STRIDES = (4, 8, 16, 32, 64)
POOLED = ["0", "1", "2", "3"]  # levels
RESNETS = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


def resnet(depth: int, width: int, groups: int, base_width: int) -> nn.Sequential:
    """torchvision's ResNet or ResNeXt, under its names, whose first layer may be narrower than 64."""
    block, counts = RESNETS[depth]
    layers = OrderedDict(
        conv1=nn.Conv2d(3, width, 7, 2, 3, bias=False),
        bn1=nn.BatchNorm2d(width),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(3, 2, 1),
    )
    before = width
    for number, count in enumerate(counts):
        stage, inner = nn.Sequential(), width * 2**number
        after = inner * block.expansion
        for stride in (2 if number else 1, *[1] * (count - 1)):
            shortcut = None
            if stride > 1 or before != after:
                shortcut = nn.Sequential(conv1x1(before, after, stride), nn.BatchNorm2d(after))
            stage.append(block(before, inner, stride, shortcut, groups, base_width))
            before = after
        layers[f"layer{number + 1}"] = stage
    return nn.Sequential(layers)


def same(
    before: int, after: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    """A normalised convolution with TensorFlow's padding, of maps whose sides the stride divides: the odd row
    and column of it are at the bottom and at the right."""
    padding = kernel - stride
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        pad=nn.ZeroPad2d((padding // 2, padding - padding // 2) * 2),
        conv=nn.Conv2d(before, after, kernel, stride, groups=groups, bias=False),
        bn=nn.BatchNorm2d(after),
        act=nn.ReLU6(inplace=True) if act else nn.Identity(),
    )
    return nn.Sequential(layers)


class Block(nn.Module):
    """An inverted residual without squeeze-and-excitation."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide, self.residual = before * expansion, stride == 1 and before == after
        self.expand_conv = same(before, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise_conv = same(wide, wide, kernel, stride, groups=wide)
        self.linear_conv = same(wide, after, 1, act=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear_conv(self.depthwise_conv(self.expand_conv(x)))
        return x + y if self.residual else y


def efficientnet_lite(stages: list[list[int]]) -> nn.Sequential:
    """EfficientNet-Lite (arXiv 1905.11946) of stages: kernel, channels, blocks, stride, expansion. A stage of
    stride 1 belongs to the level before."""
    levels, before = [same(3, 32, 3, 2), nn.Sequential()], 32
    for kernel, after, blocks, first, expansion in stages:
        if first > 1:
            levels.append(nn.Sequential())
        for stride in (first, *[1] * (blocks - 1)):
            levels[-1].append(Block(before, after, kernel, stride, expansion))
            before = after
    return nn.Sequential(*levels)


# A function of settings, and which of its children are the levels of strides 4 to 32.
BACKBONES: dict[str, tuple[Callable[..., nn.Sequential], tuple[str, ...]]] = {
    "resnet": (resnet, ("layer1", "layer2", "layer3", "layer4")),
    "efficientnet_lite": (efficientnet_lite, ("2", "3", "4", "5")),
}


class Anchors(AnchorGenerator):
    """mmdet's: sides are not rounded, distances are those of the strides whatever the size of the image."""

    def generate_anchors(self, scales, aspect_ratios, dtype=torch.float32, device="cpu") -> Tensor:
        ratio = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        width, height = scales[0] / ratio, scales[0] * ratio
        return torch.stack([-width, -height, width, height], 1) / 2

    def forward(self, image_list, feature_maps: list[Tensor]) -> list[Tensor]:
        first = feature_maps[0]
        self.set_cell_anchors(first.dtype, first.device)
        strides = [[torch.tensor(s, device=first.device)] * 2 for s in STRIDES]
        anchors = self.grid_anchors([level.shape[-2:] for level in feature_maps], strides)
        return [torch.cat(anchors)] * len(image_list.image_sizes)


class Pooling(MultiScaleRoIAlign):
    """mmdet's SingleRoIExtractor: the centre of a cell is at +0.5 (RoIAlign's `aligned`)."""

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes) -> Tensor:
        rois = torch.cat([torch.cat([torch.full_like(b[:, :1], i), b], 1) for i, b in enumerate(boxes)])
        sides = rois[:, 3:] - rois[:, 1:3]
        level = (sides.prod(1).sqrt() / 56 + 1e-6).log2().floor().clamp(0, 3)
        where = [torch.where(level == number)[0] for number in range(len(POOLED))]
        pooled = [
            roi_align(x[name], rois[here], self.output_size, 1 / stride, self.sampling_ratio, aligned=True)
            for name, here, stride in zip(POOLED, where, STRIDES[:4], strict=True)
        ]
        return torch.cat(pooled)[torch.cat(where).argsort()]


def pooling(size: int, samples: int, aligned: bool) -> MultiScaleRoIAlign:
    """samples: in a bin, along each side; 0: as many as it has cells."""
    return (Pooling if aligned else MultiScaleRoIAlign)(POOLED, size, samples)


class GroupNorm(nn.GroupNorm):
    """torch's, whose form in ONNX fails where there is no detection: it leaves a side to be found out."""

    def forward(self, x: Tensor) -> Tensor:
        groups = x.unflatten(1, (self.num_groups, self.num_channels // self.num_groups))
        centred = groups - groups.mean((2, 3, 4), keepdim=True)
        deviation = (centred.square().mean((2, 3, 4), keepdim=True) + self.eps).sqrt()
        return (centred / deviation).reshape(x.shape) * self.weight[:, None, None] + self.bias[:, None, None]


def keypoint_head(before: int, widths: list[int], groups: int) -> nn.Module:
    """groups: of the normalisation, which torchvision's own has not; 0: none."""
    if not groups:
        return KeypointRCNNHeads(before, widths)
    layers = nn.Sequential()
    for width in widths:
        layers.append(Conv2dNormActivation(before, width, norm_layer=lambda n: GroupNorm(groups, n)))
        before = width
    return layers


class Resizing(GeneralizedRCNNTransform):
    """torchvision's, but for the sides, which it cuts off to whole pixels, and training has rounded."""

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        if target is not None:  # to be trained on
            return super().resize(image, target)
        sides = shape_as_tensor(image)[-2:].double()
        scale = torch.minimum(self.min_size[-1] / sides.min(), self.max_size / sides.max())
        height, width = (sides * scale + 0.5).floor().clamp(min=1).long()
        return nn.functional.interpolate(image[None], size=[height, width], mode="bilinear")[0], target


def build(settings: dict) -> FasterRCNN:
    """torchvision's network of NAME.json, without its weights."""
    neck, anchors, box = (settings[part] for part in ("neck", "anchors", "box_head"))
    make, levels = BACKBONES[settings["backbone"]]
    norm = nn.BatchNorm2d if neck["norm"] else None
    body = make(**settings["body"])
    for layer in body.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = settings["eps"]
    channels, names = neck["out"], dict(zip(levels, POOLED, strict=True))
    backbone = BackboneWithFPN(body, names, neck["in"], channels, norm_layer=norm)
    sizes = tuple((anchors["scale"] * stride,) for stride in STRIDES)
    generator = AnchorGenerator if anchors["rounded"] else Anchors
    parts = {
        "rpn_anchor_generator": generator(sizes, (tuple(anchors["ratios"]),) * len(sizes)),
        "box_roi_pool": pooling(**box["pooling"]),
        "box_head": TwoMLPHead(channels * box["pooling"]["size"] ** 2, box["width"]),
        "box_predictor": FastRCNNPredictor(box["width"], len(settings["categories"])),
    }
    if points := settings.get("keypoint_head"):
        parts |= {
            "keypoint_roi_pool": pooling(**points["pooling"]),
            "keypoint_head": keypoint_head(channels, points["widths"], points["groups"]),
            "keypoint_predictor": KeypointRCNNPredictor(points["widths"][-1], points["keypoints"]),
        }
    network = (KeypointRCNN if points else FasterRCNN)(backbone, **parts, **settings["arguments"])
    plain = network.transform
    network.transform = Resizing(
        plain.min_size, plain.max_size, plain.image_mean, plain.image_std, plain.size_divisible
    )
    return network


def load(weights: Path | None = None) -> FasterRCNN:
    """The trained network, which predicts. Its labels are the numbers of `categories` in NAME.json, its
    keypoints in the order of `keypoints`."""
    weights = weights or Path(__file__).with_suffix(".pth")
    network = build(json.loads(weights.with_suffix(".json").read_text(encoding="utf-8")))
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
