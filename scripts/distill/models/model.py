"""Building, saving and loading networks from a model config and the dataset's categories."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from distill.datasets.images import workers
from distill.files import replacing
from distill.models import anchors, efficientnet_lite, heads, keypoint_head  # noqa: F401, fill mmdet's registries
from distill.models.tensor_pickle import read_tensors
from distill.program import UserError

MOST_WORKERS = 16  # more wait for the disk


def load_config(path: str | Path) -> Config:
    """Reads a model config of config/models. Raises UserError where it is missing or broken."""
    try:
        return Config.fromfile(path)
    except (OSError, SyntaxError, KeyError, TypeError, ImportError) as error:
        raise UserError(f"{path}: cannot read the model config ({error})") from None


def has_keypoints(cfg: Config) -> bool:
    """Whether the config has a keypoint head."""
    return cfg.model.roi_head.get("keypoint_head") is not None


def fit_to_dataset(cfg: Config, categories: list[dict], source: str) -> None:
    """Sets the numbers of categories and keypoints in place; `source` names the dataset in errors."""
    if not categories:
        raise UserError(f"{source}: no categories; a model needs a labelled dataset")
    cfg.model.roi_head.bbox_head.num_classes = len(categories)
    if has_keypoints(cfg):
        counts = {len(category["keypoints"]) for category in categories if category.get("keypoints")}
        if len(counts) != 1:
            raise UserError(f"{source}: a keypoint model needs categories with one set of keypoints")
        cfg.model.roi_head.keypoint_head.keypoints = counts.pop()


def build(cfg: Config) -> BaseDetector:
    """The network of a config, in mmdet's scope, without weights."""
    DefaultScope.get_instance("distill", scope_name="mmdet")
    # Convolutions run faster in this layout, on CPU and on tensor cores.
    return MODELS.build(cfg.model).to(memory_format=torch.channels_last)


def save(path: Path, state_dict: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
    """Writes weights and meta such that the same content gives the same bytes."""
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in sorted(state_dict.items())}
    # A pickle depends on which equal strings are one object; those of a parsed text always are the same ones.
    meta = json.loads(json.dumps(meta))
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.save({"state_dict": weights, "meta": meta}, file)


def read_weights(path: str | Path) -> dict[str, Any]:
    """Reads a model file's {"state_dict", "meta"} without unpickling anything but tensors and plain types."""
    try:
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # it holds something else too
            checkpoint = read_tensors(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # torch raises half a dozen kinds for a file that is not a checkpoint
        raise UserError(f"{path}: not a checkpoint of tensors ({str(error).splitlines()[0]})") from None
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path}: not a checkpoint of tensors")
    return checkpoint if "state_dict" in checkpoint else {"state_dict": checkpoint, "meta": {}}


def load(folder: str | Path, device: torch.device) -> tuple[BaseDetector, dict[str, Any]]:
    """The trained network of a model artifact in eval mode, and its meta (categories, keypoints, name)."""
    cfg = Config.fromfile(Path(folder) / "config.py")
    checkpoint = read_weights(Path(folder) / "model.pth")
    cfg.model.backbone.init_cfg = None
    cfg.model.data_preprocessor.non_blocking = True  # images come from pinned memory
    network = build(cfg)
    network.load_state_dict(checkpoint["state_dict"])
    return network.to(device).eval(), checkpoint["meta"]


def pick_workers(device: torch.device) -> int:
    """How many processes load images for one GPU: its share of the CPUs that this job may use, but for one.
    None on a CPU, which the network itself keeps busy."""
    if device.type == "cpu":
        return 0
    return max(1, min(MOST_WORKERS, workers() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


def pick_device(name: str) -> torch.device:
    """cpu, cuda or auto (cuda where there is one). Raises UserError where cuda is asked for and missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for but torch sees no GPU; set `device: auto` or `cpu`")
    return torch.device(name)
