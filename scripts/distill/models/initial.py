"""What a training starts from: the weights of another model, or of a checkpoint in a layout of others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from distill.models import checkpoints, named_rows
from distill.models.published.formats import FORMATS, State, stated
from distill.models.settings import checked
from distill.models.weights import check_weights, read_weights
from distill.program import UserError, log
from distill.strict import some

Spec = Mapping[str, Any]


def settings(path: Path, published: Spec | None = None, cfg: Config | None = None) -> dict[str, Any]:
    """What of a config's `model` has to be as where the weights come from: they mean nothing under, say,
    another normalisation of the pixels.

    path: model.pth, whose settings are those of an imported model that it comes from, directly or through
        others; or a published checkpoint.
    published: format, checkpoint, … of that; else None.
    cfg: the model config.
    """
    if published and cfg:
        return checkpoints.ours(*checkpoints.read(path), FORMATS[published["format"]], cfg)[2]
    found = read_weights(path)["meta"].get("settings")
    return checked(found, path) if found else {}


def trainings(path: Path) -> int:
    """How many trainings of this project the weights of a model have behind them."""
    meta = read_weights(path)["meta"]
    found = meta.get("trainings", int("iterations" in meta))  # before it was counted: at least its own
    return found if isinstance(found, int) and found > 0 else 0


def load(
    network: nn.Module,
    path: Path,
    published: Spec | None = None,
    cfg: Config | None = None,
    categories: list[dict[str, Any]] | None = None,
) -> frozenset[str]:
    """Weights of another model, or of a backbone, where names and shapes agree; the rest starts anew.

    published: see `settings`.
    cfg: the network's config, as it is read.
    categories: of the network; they and their keypoints keep the rows of those of the same name. Without,
        rows are kept where their number is the same.

    Returns the names of the network's tensors that are of it.
    Raises UserError where less than half of the backbone agrees: they are of another network.
    """
    own = network.state_dict()
    if published and cfg:
        tensors, meta = checkpoints.read(path)
        renamed = _renamed(checkpoints.ours(tensors, meta, FORMATS[published["format"]], cfg)[0])
    else:
        content = read_weights(path)
        renamed, meta = _renamed(content["state_dict"]), content["meta"]
    state = max(renamed, key=lambda state: (len(_fitting(state, own)), len(state.keys() & own.keys())))
    kept = _keep_names(state, own, meta, published, cfg, categories, path) if cfg and categories else []
    fitting = _fitting(state, own)
    odd = [
        f"{key} {tuple(value.shape)} for {tuple(own[key].shape)}"
        for key, value in state.items()
        if key in own and key not in fitting
    ]
    said = f"{len(fitting)} of the model's {len(own)} tensors fit"
    said += f"; {len(odd)} are of another shape ({some(odd)})" if odd else ""
    backbone = [key in fitting for key in own if key.startswith("backbone.")]
    if not fitting or 2 * sum(backbone) < len(backbone):
        said += "" if fitting or odd else f"; it has {some(state)}"
        raise UserError(f"{path}: of another network than `config`: {said}; change `init` or `config`")
    check_weights(fitting, path)
    network.load_state_dict(fitting, strict=False)
    log.info("%s: %s; the others start anew", path, said)
    for line in kept:
        log.info("%s: %s", path, line)
    return frozenset(fitting)


def _keep_names(
    state: State,
    own: State,
    meta: dict[str, Any],
    published: Spec | None,
    cfg: Config,
    categories: list[dict[str, Any]],
    path: Path,
) -> list[str]:
    """Puts the rows of categories and keypoints of the same name where they are here, in place; those of
    other names are as in `own`. Returns a line on each that says which."""
    if all(key.startswith("backbone.") for key in state.keys() & own.keys()):
        return []
    points = [category["keypoints"] for category in categories if category.get("keypoints")]
    wanted = {
        "categories": [category["name"] for category in categories],
        "keypoints": points[0] if points else [],
    }
    lines = []
    for (what, names), rows in zip(wanted.items(), named_rows.of_network(cfg), strict=True):
        present = {tensor: state[tensor] for tensor in rows if tensor in state and tensor in own}
        if not (count := named_rows.name_count(present, rows)):
            continue
        known = _names(what, count, names, meta, published, path)
        pairs = [(known.index(name), here) for here, name in enumerate(names) if name in known]
        for tensor, value in present.items():
            moved = named_rows.taken(value, own[tensor], rows[tensor], (count, len(names)), pairs)
            if moved is not None:
                state[tensor] = moved
        anew = [name for name in names if name not in known]
        kept = f"{what} kept: {', '.join(name for name in names if name in known) or 'none'}"
        lines.append(f"{kept}; started anew: {', '.join(anew) or 'none'}")
    return lines


def _names(
    what: str, count: int, wanted: list[str], meta: dict[str, Any], published: Spec | None, path: Path
) -> list[str]:
    """The names of the checkpoint's categories or keypoints; none where they are not known. Of a checkpoint
    that says nothing at all, as many as here are taken to be the same."""
    silent = not published and not stated(what, meta)
    known = wanted if silent and count == len(wanted) else None
    known = known or checkpoints.names_of(what, count, dict(published or {}), meta) or []
    if published and what in published and len(known) != count:
        raise UserError(f"{path}: has {count} {what}, and {len(known)} names; give init.{what} in its order")
    return known if len(known) == count else []


def _renamed(state: State) -> list[State]:
    """The tensors under the names that they may have here: their own, without wrappers, as a backbone's."""
    bare = checkpoints.unwrapped(state)
    return [
        dict(state),
        bare,
        *({f"backbone.{key}": value for key, value in s.items()} for s in (state, bare)),
    ]


def _fitting(state: State, own: State) -> State:
    return {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
