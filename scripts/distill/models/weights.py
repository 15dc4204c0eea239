"""Files of weights: written so that the same content gives the same bytes, read without running them."""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from distill.files import open_file, replacing
from distill.models.tensor_pickle import read_tensors
from distill.program import UserError
from distill.strict import some

# Where checkpoints keep their state dict. What mmengine saves as `state_dict` is already the average, if it
# averages weights (EMA).
LAYOUTS = (
    "state_dict", "model", "model_state_dict", "ema_state_dict", "state_dict_ema", "model_ema", "ema",
    "teacher", "student", "network", "net", "module", "weights",
)  # fmt: skip


def save_weights(path: Path, state_dict: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
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
            if Path(path).suffix == ".safetensors":
                checkpoint = load_file(path)
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
