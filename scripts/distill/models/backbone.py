"""The weights of ImageNet that a model config names, from a file that is there: no job downloads anything."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet.registry import MODELS
from mmengine.runner.checkpoint import get_external_models, get_torchvision_models

from distill.models.efficientnet_lite import SCHEME
from distill.program import UserError
from distill.study.pretrained import FOLDER

NAMES = {"torchvision": get_torchvision_models, "open-mmlab": get_external_models}


def address(checkpoint: str) -> str:
    """The URL or path that a checkpoint of mmengine's `init_cfg` stands for (torchvision://resnet50, …)."""
    scheme, _, name = checkpoint.partition("://")
    return NAMES[scheme]()[name] if scheme in NAMES else checkpoint


def drop_weights(part: dict[str, Any]) -> None:
    """Has a part of a config start from random weights, if its `init_cfg` names others, in place."""
    given = part.get("init_cfg")
    if any("checkpoint" in each for each in (given if isinstance(given, list) else [given]) if each):
        part["init_cfg"] = None


def learn_all(model: dict[str, Any]) -> None:
    """Has the backbone of a model's config learn as a whole, in place: what nobody has trained is not to be
    frozen, nor are statistics to be kept of batches that were never taken."""
    part = model["backbone"]
    with MODELS.switch_scope_and_registry(model.get("_scope_", "mmdet")) as registry:
        kinds = inspect.getmro(registry.get(part["type"]) or object)
    part.pop("frozen_stages", None)  # none of mmdet's and mmpose's backbones freezes any unless told to
    if any("norm_eval" in inspect.signature(kind).parameters for kind in kinds):
        part["norm_eval"] = False


def weights_file(init_cfg: Mapping[str, Any] | None) -> Path | None:
    """Where the weights are that a backbone's `init_cfg` names, if it names any.

    Raises UserError, which says where they come from, if they are not there.
    """
    if not isinstance(init_cfg, Mapping) or "checkpoint" not in init_cfg:  # PVT's has no type
        return None
    if init_cfg["checkpoint"].startswith(SCHEME):
        return None  # in an installed package, which the backbone knows
    source = address(init_cfg["checkpoint"])
    path = Path(FOLDER, source.rpartition("/")[2]) if "://" in source else Path(source)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, the weights that `init: pretrained` starts from ({source}); "
            "put it there; of models of config/models, `snakemake --configfile … -- download` gets it"
        )
    return path
