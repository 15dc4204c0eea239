"""Networks: built from a model config and the dataset's categories, or loaded from a model's folder."""

from pathlib import Path
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope

from distill.models import (  # noqa: F401, fill mmdet's registries
    anchors,
    backbone,
    config_file,
    efficientnet_lite,
    heads,
    keypoint_head,
)
from distill.models.networks import Kind, kind_of
from distill.models.weights import check_weights, read_weights
from distill.program import UserError, cause
from distill.study import model_config


def load_config(path: str | Path) -> Config:
    """Runs a model config, a path or `package::…`. Raises UserError where it is missing or broken."""
    file = model_config.path_of(str(path))
    try:
        # What stands in {{ }} is not put in from the environment: a config says what it says.
        return Config.fromfile(file, use_predefined_variables=False, use_environment_variables=False)
    except Exception as error:  # whatever it raises, which is code
        raise UserError(f"{path}: cannot read the model config ({cause(error)})") from None


def has_keypoints(cfg: Config) -> bool:
    """Whether the config's network predicts keypoints."""
    return kind_of(cfg).task == "keypoints"


def fit_to_dataset(cfg: Config, categories: list[dict], source: str) -> None:
    """Sets the numbers of categories and keypoints in place; `source` names the dataset in errors."""
    if not categories:
        raise UserError(f"{source}: no categories; a model needs a labelled dataset")
    kind_of(cfg).settle(cfg, categories, source)


def drop_pretrained(cfg: Config) -> None:
    """Leaves out the ImageNet weights that the config's backbone starts from."""
    backbone.drop_weights(cfg.model.backbone)


def build(cfg: Config) -> BaseDetector:
    """The network of a config, in mmdet's scope, without weights."""
    DefaultScope.get_instance("distill", scope_name="mmdet")
    # Convolutions run faster in this layout, on CPU and on tensor cores.
    network = MODELS.build(cfg.model).to(memory_format=torch.channels_last)
    kind_of(cfg).arrange(network)
    return network


def load(folder: str | Path, device: torch.device) -> tuple[BaseDetector, dict[str, Any], Kind]:
    """The trained network of a model artifact in eval mode, its meta (categories, keypoints, name), and kind.

    Nothing in the folder is run. Raises UserError where its files are damaged, or do not belong together.
    """
    config, weights = Path(folder) / "config.py", Path(folder) / "model.pth"
    cfg = config_file.read(config)
    checkpoint = read_weights(weights)
    meta, state = checkpoint["meta"], checkpoint["state_dict"]
    if not {"model", "categories"} <= meta.keys():
        raise UserError(f"{weights}: does not say what it predicts; `import` makes a model of a checkpoint")
    check_weights(state, weights)
    try:
        drop_pretrained(cfg)
        cfg.model.data_preprocessor.non_blocking = True  # images come from pinned memory
        network = revert_sync_batchnorm(build(cfg))
    except Exception as error:  # whatever the part of a network raises that is given something else
        raise UserError(f"{config}: no network can be built of it ({cause(error)})") from None
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # which has a line for every difference
        why = cause(error)[:200]
        raise UserError(f"{weights}: not the weights of the network of {config} ({why} …)") from None
    return network.to(device).eval(), meta, kind_of(cfg)
