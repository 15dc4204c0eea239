"""What a training starts from: the weights of another model, or of a checkpoint in a layout of others."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from distill.models import model as models
from distill.models import settings as imported
from distill.program import UserError, log

# What DataParallel, torch.compile, Lightning, contrastive learning put in front of the names of tensors.
WRAPPERS = re.compile(r"^((module|_orig_mod|model|network|net|encoder_q|student|teacher)\.)+")

State = dict[str, Tensor]


def settings(path: Path) -> dict[str, Any]:
    """The settings of an imported model that the training starts from, directly or through others: its
    weights mean nothing under, say, another normalisation of the pixels."""
    found = models.read_weights(path)["meta"].get("settings")
    return imported.checked(found, path) if found else {}


def load(network: nn.Module, path: Path) -> None:
    """Weights of another model, or of a backbone, where names and shapes agree; the rest starts anew.

    Raises UserError where less than half of the backbone agrees: they are of another network.
    """
    own = network.state_dict()
    renamed = _renamed(models.read_weights(path)["state_dict"])
    state = max(renamed, key=lambda state: (len(_fitting(state, own)), len(state.keys() & own.keys())))
    fitting = _fitting(state, own)
    odd = [
        f"{key} {tuple(value.shape)} for {tuple(own[key].shape)}"
        for key, value in state.items()
        if key in own and key not in fitting
    ]
    said = f"{len(fitting)} of the model's {len(own)} tensors fit"
    said += f"; {len(odd)} are of another shape ({models.some(odd)})" if odd else ""
    backbone = [key in fitting for key in own if key.startswith("backbone.")]
    if not fitting or 2 * sum(backbone) < len(backbone):
        said += "" if fitting or odd else f"; it has {models.some(state)}"
        raise UserError(f"{path}: of another network than `config`: {said}; change `init` or `config`")
    models.check_weights(fitting, path)
    network.load_state_dict(fitting, strict=False)
    log.info("%s: %s; the others start anew", path, said)


def unwrapped(state: State) -> State:
    """The tensors under their names without those of wrappers."""
    return {WRAPPERS.sub("", key): value for key, value in state.items()}


def _renamed(state: State) -> list[State]:
    """The tensors under the names that they may have here: their own, without wrappers, as a backbone's."""
    bare = unwrapped(state)
    return [state, bare, *({f"backbone.{key}": value for key, value in s.items()} for s in (state, bare))]


def _fitting(state: State, own: State) -> State:
    return {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
