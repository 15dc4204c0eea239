"""An R-CNN of config/models as torchvision's FasterRCNN or KeypointRCNN.

Settings are read off the config, and tensors renamed. A config of somebody else's may say what is not looked
for here, so both networks have to compute the same of noise before anything is written.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from distill.files import replacing, write_json
from distill.models.efficientnet_lite import STAGES
from distill.models.exports import torchvision_loader
from distill.models.exports.trained import Trained
from distill.models.folding import alike
from distill.models.published.formats import FORMATS, State, named
from distill.predictions.views import View
from distill.program import UserError

SIDE = 128  # of the noise, pixels
INPUT = "(3, height, width), float32, RGB from 0 to 1, of any size: it is resized to min_size and max_size"
OUTPUTS = {
    "boxes": "(N, 4) x1, y1, x2, y2 in pixels of the image, the best first",
    "labels": "(N,) numbers of the categories",
    "scores": "(N,) from 0 to 1",
    "keypoints": "(N, K, 3) x, y in pixels of the image, and 1",
    "keypoints_scores": "(N, K) logits",
}
REGIONS = [[8.0, 4.0, 60.0, 90.0], [30.0, 40.0, 127.0, 120.0], [5.0, 5.0, 12.0, 9.0]]  # in it


def to_torchvision(model: Trained, output: Path) -> list[Path]:
    """Writes `output`, a state dict of torchvision's network, and beside it what that is built of, and a
    loader. Raises UserError for another network."""
    settings, exported = as_torchvision(model, "torchvision")
    state = exported.state_dict()
    with replacing(output) as temporary:
        torch.save({name: value.contiguous().clone() for name, value in state.items()}, temporary)
    write_json(output.with_suffix(".json"), settings)
    with replacing(output.with_suffix(".py")) as temporary:
        shutil.copyfile(torchvision_loader.__file__, temporary)
    return [output, output.with_suffix(".json"), output.with_suffix(".py")]


@torch.no_grad()
def as_torchvision(model: Trained, format: str) -> tuple[dict[str, Any], FasterRCNN]:
    """The same network of torchvision's classes. format: what it is exported as, for messages.

    Returns the settings, for people and for `torchvision_loader.build`, and what it makes of them, with the
    weights, in eval mode. Raises UserError for other networks.
    """
    cfg, network = model.cfg, model.network
    try:
        settings = settings_of(cfg, network, model.meta, model.view)
        exported = torchvision_loader.build(settings).eval()
        exported.load_state_dict(renamed(network.state_dict(), exported.state_dict(), cfg))
        if not _same(network, exported, bool(cfg.model.data_preprocessor.bgr_to_rgb)):
            raise ValueError("torchvision's, of the same weights, computes something else")
    except UserError:
        raise
    except Exception as error:  # whatever a network raises that is made of other parts
        why = " ".join(" ".join(map(str, error.args)).split())[:200]
        what = f"for {format} the R-CNNs of config/models are exported; this is another network ({why})"
        raise UserError(f"{model.folder}: {what}") from None
    return settings, exported


def renamed(state: State, expected: State, cfg: Config) -> State:
    """Our tensors under torchvision's names, of images in RGB, with the background before the categories."""
    taken = {name: state[FORMATS["torchvision"].ours(name)] for name in expected}
    if len(taken) != len(state):
        raise ValueError("it has layers of its own")
    for key in ("weight", "bias"):  # the background has no boxes to move
        scores, boxes = (f"roi_heads.box_predictor.{layer}.{key}" for layer in ("cls_score", "bbox_pred"))
        taken[scores] = taken[scores].roll(1, 0)
        taken[boxes] = torch.cat([torch.zeros_like(taken[boxes][:4]), taken[boxes]])
    if not cfg.model.data_preprocessor.bgr_to_rgb:
        stem = next(iter(taken))
        taken[stem] = taken[stem].flip(1)
    return taken


def settings_of(cfg: Config, network: Any, meta: dict[str, Any], view: View) -> dict[str, Any]:
    """What `torchvision_loader.build` takes. Some exception or other for a config of another network."""
    net, test = cfg.model, cfg.model.test_cfg
    pixels, roi, anchors = net.data_preprocessor, net.roi_head, net.rpn_head.anchor_generator
    if test.rcnn.nms.get("type", "nms") != "nms" or set(net.rpn_head.bbox_coder.target_stds) != {1}:
        raise ValueError("its NMS, or how it encodes boxes")
    order = slice(None) if pixels.bgr_to_rgb else slice(None, None, -1)
    names = named(meta, roi.bbox_head.num_classes)
    points = roi.get("keypoint_head")
    ids = {category["name"]: category["id"] for category in meta["categories"]}
    settings: dict[str, Any] = {"categories": ["background", *names]}
    settings["category_ids"] = [None, *map(ids.get, names)]  # in the dataset
    if points:
        posed = next(each for each in meta["categories"] if "keypoints" in each)
        settings |= {key: posed[key] for key in ("keypoints", "skeleton", "flip_pairs") if key in posed}
    settings["input"] = INPUT
    settings["outputs"] = {name: OUTPUTS[name] for name in (OUTPUTS if points else list(OUTPUTS)[:3])}
    settings["arguments"] = {
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
        "size_divisible": pixels.pad_size_divisor,
        "bbox_reg_weights": [1 / deviation for deviation in roi.bbox_head.bbox_coder.target_stds],
    }
    settings["backbone"], settings["body"] = _body(net.backbone)
    settings["eps"] = next(m.eps for m in network.backbone.modules() if isinstance(m, nn.BatchNorm2d))
    normed = net.neck.get("norm_cfg") is not None
    settings["neck"] = {"in": list(net.neck.in_channels), "out": net.neck.out_channels, "norm": normed}
    settings["anchors"] = {
        "scale": anchors.scales[0],
        "ratios": list(anchors.ratios),
        "rounded": anchors.type == "TorchvisionAnchorGenerator",
    }
    settings["box_head"] = {
        "pooling": _pooling(roi.bbox_roi_extractor),
        "width": roi.bbox_head.fc_out_channels,
    }
    if points:
        settings["keypoint_head"] = {
            "pooling": _pooling(roi.keypoint_roi_extractor),
            "widths": [points.get("channels", 512)] * points.get("convs", 8),
            "groups": points.norm_cfg.num_groups if points.get("norm_cfg") else 0,
            "keypoints": points.keypoints,
        }
    return settings


def _body(backbone: Any) -> tuple[str, dict[str, Any]]:
    """The backbone's name in `torchvision_loader.BACKBONES`, and its arguments."""
    match backbone.type:
        case "EfficientNetLite":
            return "efficientnet_lite", {"stages": STAGES[backbone.arch]}
        case "ResNet" | "ResNeXt":
            width = backbone.get("base_channels", 64)
            wide = backbone.type == "ResNeXt"
            groups, base = (backbone.groups, backbone.base_width) if wide else (1, 64)
            return "resnet", {"depth": backbone.depth, "width": width, "groups": groups, "base_width": base}
    raise ValueError(backbone.type)


def _pooling(extractor: Any) -> dict[str, Any]:
    layer = extractor.roi_layer
    if layer.type != "RoIAlign":
        raise ValueError(layer.type)
    samples, aligned = layer.get("sampling_ratio", 0), layer.get("aligned", True)
    return {"size": layer.output_size, "samples": samples, "aligned": aligned}


def _same(ours: Any, theirs: FasterRCNN, rgb: bool) -> bool:
    """Whether both networks compute the same of noise before anything is chosen by score."""
    noise = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found, others = _ours(ours, noise), _theirs(theirs, noise if rgb else noise.flip(1))
    return len(found) == len(others) and all(map(alike, found, others))


def _ours(network: Any, inputs: Tensor) -> list[Tensor]:
    """Features, outputs of the RPN, and of the heads in `REGIONS`."""
    features, head = network.extract_feat(inputs), network.roi_head
    rois = bbox2roi([torch.tensor(REGIONS)])
    found = head._bbox_forward(features, rois)
    scores, boxes = network.rpn_head(features)
    maps = [head.predict_heatmaps(features, rois)] if getattr(head, "keypoint_head", None) else []
    return [*features, *scores, *boxes, found["cls_score"], found["bbox_pred"], *maps]


def _theirs(network: Any, inputs: Tensor) -> list[Tensor]:
    """The same of torchvision's."""
    features, heads = network.backbone(inputs), network.roi_heads
    regions = features, [torch.tensor(REGIONS)], [(SIDE, SIDE)]
    classes, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(*regions)))
    scores, boxes = network.rpn.head(list(features.values()))
    maps = []
    if heads.has_keypoint():
        maps = [heads.keypoint_predictor(heads.keypoint_head(heads.keypoint_roi_pool(*regions)))]
    return [*features.values(), *scores, *boxes, classes.roll(-1, 1), deltas[:, 4:], *maps]
