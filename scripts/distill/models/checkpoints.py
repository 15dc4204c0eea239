"""Checkpoints of anybody, read without running them, under the names that tensors have here."""

import re
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from distill.models.published import formats
from distill.models.published.array_pickle import read_arrays
from distill.models.published.formats import BOX_HEAD, Format, State
from distill.models.weights import read_weights

# What DataParallel, torch.compile, Lightning, contrastive learning put in front of the names of tensors.
WRAPPERS = re.compile(r"^((module|_orig_mod|model|network|net|encoder_q|student|teacher)\.)+")


# What OpenMMLab's files hold beside the network: how pixels are normalised, which their config says too, and,
# in older ones, the running means of the weights, which are the others' again.
BESIDE = ("data_preprocessor.", "ema_")


def read(path: Path) -> tuple[State, dict[str, Any]]:
    """The tensors of a checkpoint, without what wrappers put in front of their names, and its meta."""
    if path.suffix == ".pkl":
        return {key: torch.from_numpy(array.copy()) for key, array in read_arrays(path).items()}, {}
    content = read_weights(path)
    tensors = unwrapped(content["state_dict"])
    return {key: value for key, value in tensors.items() if not key.startswith(BESIDE)}, content["meta"]


def unwrapped(state: State) -> State:
    """The tensors under their names without those of wrappers."""
    return {WRAPPERS.sub("", key): value for key, value in state.items()}


def ours(
    tensors: State, meta: dict[str, Any], layout: Format, cfg: Config
) -> tuple[State, dict[str, str], dict[str, Any]]:
    """A published checkpoint's tensors under our names, the names that they have there, and what has to
    change in the config's `model`, where its training was another.

    tensors, meta: of `read`. layout: the checkpoint's format. cfg: the model config.
    """
    names = {layout.ours(name): name for name in tensors}
    state = {name: tensors[theirs] for name, theirs in names.items()}
    found = layout.settings(cfg, state, meta)
    settings = {part: changed for part, changed in found.items() if part in cfg.model}
    if layout.background == "first":
        background_last(state)
    return state, names, settings


def background_last(state: State) -> None:
    """Moves the background from the first row of the box head's last layers to where it is in mmdet: the
    last row of the scores, and none of the box regression. In place; what is not there stays so."""
    for key in ("weight", "bias"):
        if (name := f"{BOX_HEAD}fc_cls.{key}") in state:
            state[name] = state[name].roll(-1, 0)
        if (name := f"{BOX_HEAD}fc_reg.{key}") in state:
            state[name] = state[name][4:]


def names_of(what: str, count: int, spec: dict[str, Any], meta: dict[str, Any]) -> list[str] | None:
    """The names of a checkpoint's categories or keypoints, in its order, if they are known: those that the
    study gives, those that the file states, or COCO's where their number fits.

    what: "categories" or "keypoints". count: how many it has. spec: format, checkpoint, …. meta: of `read`.
    """
    known = formats.categories if what == "categories" else formats.keypoints
    return spec.get(what) or known(count, meta)
