"""A model as a checkpoint and a config that mmdet, or mmpose, runs by itself."""

from pathlib import Path
from typing import Any

from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config

from distill.datasets.keypoint_meta import keypoint_meta
from distill.models import config_file
from distill.models.exports.trained import Trained
from distill.models.networks.detector import parts
from distill.models.networks.topdown import is_topdown
from distill.models.published.formats import named, stated
from distill.models.weights import save_weights
from distill.program import UserError

# Classes of ours that only differ in training from mmdet's.
PLAIN = {"DistillRPNHead": "RPNHead", "DistillRoIHead": "StandardRoIHead"}


def to_mmdet(model: Trained, output: Path) -> list[Path]:
    """Writes weights, `output`, and a config for mmdet's init_detector and inference_detector. Raises
    UserError for a pose estimator, and where a part of the network is this project's."""
    if is_topdown(model.cfg):
        what = "is a pose estimator, which mmdet does not have; take --format mmpose"
        raise UserError(f"{model.folder}: {what}")
    net, view = _of_others(model, "mmdet"), model.view
    heads = {key: value for key, value in net.items() if key != "backbone"}
    counts = {part["num_classes"] for part in parts(heads) if "num_classes" in part}
    classes = named(model.meta, max(counts)) if counts else stated("categories", model.meta)
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=(view.max_side, min(view.scale, view.max_side)), keep_ratio=True),
        dict(
            type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
        ),
    ]
    dataset = dict(type="CocoDataset", metainfo=dict(classes=classes), pipeline=pipeline, test_mode=True)
    config = dict(default_scope="mmdet", model=net, test_pipeline=pipeline, test_dataloader=_loader(dataset))
    return _write(output, model.network, {"dataset_meta": {"classes": classes}}, config)


def to_mmpose(model: Trained, output: Path) -> list[Path]:
    """Writes weights, `output`, and a config for mmpose's init_model and inference_topdown, which are given
    the boxes of somebody else. Raises UserError for all but top-down pose estimators of mmpose's parts."""
    categories, network = model.meta["categories"], model.network
    points = keypoint_meta({"categories": categories})
    if not (is_topdown(model.cfg) and points):
        what = "is no pose estimator that sees one box at a time; take another --format"
        raise UserError(f"{model.folder}: {what}")
    net = _of_others(model, "mmpose")
    size, udp = tuple(network.head.decoder.input_size), network.test_cfg["use_udp"]
    net["train_cfg"], net["test_cfg"] = None, dict(flip_test=False)  # as here, where flips are views
    pipeline = [
        dict(type="LoadImage"),
        dict(type="GetBBoxCenterScale", padding=model.view.padding),
        dict(type="TopdownAffine", input_size=size, use_udp=udp),
        dict(type="PackPoseInputs"),
    ]
    partner = {k: other for pair in points.flip_pairs for k, other in (pair, pair[::-1])}
    names = points.names
    about = dict(
        dataset_name=model.meta["model"],
        keypoint_info={
            k: dict(name=name, id=k, type="", swap=names[partner[k]] if k in partner else "")
            for k, name in enumerate(names)
        },
        skeleton_info={n: dict(link=(names[a], names[b]), id=n) for n, (a, b) in enumerate(points.skeleton)},
        joint_weights=[1.0] * len(names),
        sigmas=list(points.sigmas),
    )
    loader = _loader(dict(type="CocoDataset", metainfo=about, pipeline=pipeline, test_mode=True))
    # mmpose takes the names of keypoints from train_dataloader, the pipeline from test_dataloader.
    config = dict(default_scope="mmpose", model=net, train_dataloader=loader, test_dataloader=loader)
    return _write(output, network, {"categories": categories}, config)


def _of_others(model: Trained, package: str) -> dict[str, Any]:
    """The network's config, of parts of a package alone. Raises UserError where one of ours is among them."""
    net = model.cfg.model.to_dict()
    for part in (part for part in parts(net) if isinstance(part.get("type"), str)):
        part["type"] = PLAIN.get(part["type"], part["type"])
        found = MODELS.get(part["type"]) or TASK_UTILS.get(part["type"])
        if found and found.__module__.startswith("distill.") and found.__name__ != "FloatRoIExtractor":
            what = f"{part['type']} is a part of this project, which {package} alone does not have"
            raise UserError(f"{model.folder}: {what}")
    net["data_preprocessor"].pop("non_blocking", None)
    if "init_cfg" in net["backbone"]:
        net["backbone"]["init_cfg"] = None
    return net


def _loader(dataset: dict[str, Any]) -> dict[str, Any]:
    sampler = dict(type="DefaultSampler", shuffle=False)
    return dict(batch_size=1, num_workers=0, sampler=sampler, dataset=dataset)


def _write(output: Path, network: Any, meta: dict[str, Any], config: dict[str, Any]) -> list[Path]:
    save_weights(output, network.state_dict(), meta)
    config_file.write(output.with_suffix(".py"), Config(config))
    return [output, output.with_suffix(".py")]
