"""Building, saving and loading networks from a model config and the dataset's categories."""

import json
import os
import pickle
from collections.abc import Iterable
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope

from distill.cluster.gpus import visible
from distill.files import open_file, replacing
from distill.models import (  # noqa: F401, fill mmdet's registries
    anchors,
    backbone,
    config_file,
    efficientnet_lite,
    heads,
    keypoint_head,
)
from distill.models.networks import Kind, kind_of
from distill.models.safe_tensors import ENDING, read_safe_tensors
from distill.models.tensor_pickle import read_tensors
from distill.program import UserError, log, processors
from distill.strict import is_line
from distill.study import model_config

MOST_WORKERS = 16  # more wait for the disk
SHOWN = 3  # names in a message
# Where checkpoints keep their state dict. What mmengine saves as `state_dict` is already the average, if it
# averages weights (EMA).
LAYOUTS = (
    "state_dict", "model", "model_state_dict", "ema_state_dict", "state_dict_ema", "model_ema", "ema",
    "teacher", "student", "network", "net", "module", "weights",
)  # fmt: skip


def load_config(path: str | Path) -> Config:
    """Runs a model config, a path or `package::…`. Raises UserError where it is missing or broken."""
    file = model_config.path_of(str(path))
    try:
        # What stands in {{ }} is not put in from the environment: a config says what it says.
        return Config.fromfile(file, use_predefined_variables=False, use_environment_variables=False)
    except Exception as error:  # whatever it raises, which is code
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot read the model config ({why})") from None


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


def save(path: Path, state_dict: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
    """Writes weights and meta such that the same content gives the same bytes."""
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in sorted(state_dict.items())}
    # A pickle depends on which equal strings are one object; those of a parsed text always are the same ones.
    meta = json.loads(json.dumps(meta))
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.save({"state_dict": weights, "meta": meta}, file)


def read_weights(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint's {"state_dict", "meta"} without unpickling anything but tensors and plain types.

    The state dict may be the file itself or under one of `LAYOUTS`. Raises UserError where there is none.
    """
    open_file(path).close()  # a pipe, say, would be waited for
    try:
        try:
            if Path(path).suffix == ENDING:
                checkpoint = read_safe_tensors(Path(path))
            else:
                checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # it holds something else too
            checkpoint = read_tensors(path)
    except Exception as error:  # torch raises half a dozen kinds for a file that is not a checkpoint
        why = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path}: not a checkpoint of tensors ({why})") from None
    state = _state_dict(checkpoint)
    if not state:
        keys = f" but {some(map(str, checkpoint))}" if isinstance(checkpoint, dict) and checkpoint else ""
        raise UserError(f"{path}: holds no state dict of tensors{keys}; save the network's state_dict()")
    meta = checkpoint.get("meta")
    return {"state_dict": state, "meta": meta if isinstance(meta, dict) else {}}


def _state_dict(content: Any, depth: int = 3) -> dict[str, torch.Tensor]:
    """The tensors by name of a checkpoint, wherever it keeps them."""
    if not isinstance(content, dict) or not depth:
        return {}
    for key in LAYOUTS:
        if found := _state_dict(content.get(key), depth - 1):
            return found
    return {key: value for key, value in content.items() if isinstance(key, str) and torch.is_tensor(value)}


def some(names: Iterable[str]) -> str:
    """The first names, for a message."""
    shown = [f"{n:.80}" if is_line(n) else f"{n!r:.80}" for n in islice(names, SHOWN + 1)]
    return ", ".join([*shown[:SHOWN], *["…"] * (len(shown) > SHOWN)])


def check_weights(state: dict[str, torch.Tensor], path: str | Path) -> None:
    """Raises UserError for tensors that no network computes with, and where a weight is, in float32, NaN or
    infinite: such a network would silently predict nothing."""
    for key, value in state.items():
        if why := _unfit(value):
            raise UserError(f"{path}: {key:.80} {why}; save plain numbers, state_dict() of the network")
    if bad := [key for key, value in state.items() if not torch.isfinite(value.float()).all()]:
        count = f"{len(bad)} of {len(state)} tensors hold NaN or infinity"
        raise UserError(f"{path}: {count} ({some(bad)}); take other weights, or train again")


def _unfit(value: torch.Tensor) -> str:
    if value.layout != torch.strided:
        return "is a sparse tensor"
    if value.is_meta:
        return "is without values"
    if value.is_complex() or value.is_quantized or value.dtype == torch.bool:
        return f"is of {str(value.dtype).removeprefix('torch.')}"
    return ""


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
        raise UserError(f"{config}: no network can be built of it ({' '.join(str(error).split())})") from None
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # which has a line for every difference
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{weights}: not the weights of the network of {config} ({why} …)") from None
    return network.to(device).eval(), meta, kind_of(cfg)


def pick_workers(device: torch.device) -> int:
    """How many processes load images for one GPU: its share of the CPUs that this job may use, but for one.
    0 on a CPU, which the network itself keeps busy."""
    if device.type == "cpu":
        return 0
    return max(1, min(MOST_WORKERS, processors() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


@cache
def _warn_of_driver() -> None:
    if visible(os.environ):
        log.warning("there is a GPU, and torch cannot use it (is its driver too old?): this runs on the CPU")


def pick_device(name: str) -> torch.device:
    """cpu, cuda or auto (cuda where there is one). Raises UserError where cuda is asked for and missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu":
            _warn_of_driver()
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for but torch sees no GPU; set `device: auto` or `cpu`")
    return torch.device(name)
