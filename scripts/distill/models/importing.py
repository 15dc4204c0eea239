"""Published checkpoints as models of a study: the same artifacts as a training's, except its history.

The dataset says what the model is to predict: its categories and keypoints are found by name among the
checkpoint's. Categories that only the checkpoint has compete for a box as before, and `predictor` leaves them
out; what only the dataset has is not predicted.
"""

import time
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from distill.datasets.keypoint_meta import keypoint_meta
from distill.files import read_json, write_json
from distill.models import checkpoints, config_file, named_rows
from distill.models import model as models
from distill.models.provenance import digests, provenance
from distill.models.published.formats import FORMATS, Format, State
from distill.models.weights import check_weights, save_weights
from distill.program import UserError, log
from distill.strict import some
from distill.study.schema import suggestion

ALIKE = 0.8  # of names that are misspelt rather than others


def import_model(name: str, config: Path, spec: dict[str, Any], labelled: Path, output: Path) -> None:
    """Writes model.pth, config.py and run.json of a checkpoint.

    name: of the model.
    config: the model config.
    spec: format, checkpoint, and optionally categories and keypoints: names, in the checkpoint's order, of
        what it predicts.
    labelled: the dataset whose categories and keypoints the model is to predict.
    output: the model's folder.

    Raises UserError where the file cannot be read safely, is of another architecture, lacks a keypoint of the
    dataset, or has none of its categories, or one of nearly the same name.
    """
    start = time.time()
    path = Path(spec["checkpoint"])
    coco = read_json(labelled)
    if not coco["categories"]:
        raise UserError(f"{labelled}: has no categories; a model needs those of a labelled dataset")
    cfg = models.load_config(config)
    tensors, meta = checkpoints.read(path)
    state, unused, settings = translate(tensors, meta, FORMATS[spec["format"]], cfg, path)
    of_categories, of_keypoints = named_rows.of_network(cfg)
    predicted, known = coco["categories"], None  # a pose estimator knows none: its boxes have them
    classes = len(predicted)
    if of_categories:
        classes = named_rows.name_count(state, of_categories) or 0
        known = complete(checkpoints.names_of("categories", classes, spec, meta), classes, "categories", path)
        predicted = known_categories(predicted, known, "categories" in spec, path, labelled)
    keypoints = len(coco["categories"][0].get("keypoints") or [])
    if of_keypoints and (points_meta := keypoint_meta(coco)):
        count = named_rows.name_count(state, of_keypoints) or 0
        points = complete(checkpoints.names_of("keypoints", count, spec, meta), count, "keypoints", path)
        order = positions(points_meta.names, points, "keypoints", path, labelled)
        if order != list(range(count)):
            _select(state, of_keypoints, order, count, path)
        keypoints = len(points_meta.names)
    cfg = Config({"model": named_rows.of_size(cfg, classes, keypoints).model})
    check_weights(state, path)
    for key in unused:
        log.info("not used: %s", key)
    log.info("%s: %d tensors taken, %d not used", path, len(tensors) - len(unused), len(unused))
    about = {
        "model": name,
        "categories": predicted,
        "rows": known,
        "task": "keypoints" if models.has_keypoints(cfg) else "boxes",
        "settings": settings,
    }
    save_weights(output / "model.pth", state, about)
    config_file.write(output / "config.py", cfg)
    inputs = digests({"checkpoint": path, "labelled": labelled})
    write_json(
        output / "run.json",
        {
            **provenance(name, inputs, time.time() - start, torch.device("cpu")),
            "import": spec,
            "settings": settings,
            "unused": unused,
        },
    )


def _select(
    state: State, of_keypoints: dict[str, named_rows.Rows], order: list[int], count: int, path: Path
) -> None:
    """Keeps some of a network's `count` keypoints, in another order, in place. Raises UserError where they
    look at each other, so that the others would say something else then.

    of_keypoints: the tensors that have rows of them. path: of the checkpoint, for messages.
    """
    mixed = any(".gau." in name for name in state) and len(order) < count  # RTMPose's attention
    if mixed or any(rows.others for rows in of_keypoints.values()):  # a stage sees those of the one before
        what = f"its {count} keypoints look at each other: it predicts all of them, in its order, or none"
        raise UserError(f"{path}: {what}; take it as `init` of a training, or give the dataset all of them")
    for tensor, rows in of_keypoints.items():
        where = rows.of_names(count)[torch.tensor(order)].flatten()
        state[tensor] = state[tensor].index_select(rows.axis, where)


def translate(
    tensors: State, meta: dict[str, Any], layout: Format, cfg: Config, source: Path
) -> tuple[State, list[str], dict[str, Any]]:
    """A checkpoint's tensors under our names. The format's settings are merged into the config.

    tensors, meta: of `checkpoints.read`.
    layout: the checkpoint's format.
    cfg: the model config.
    source: path of the checkpoint, for messages.

    Returns the tensors of the config's network, of as many categories and keypoints as the checkpoint has,
    the names of those that it does not need, and the settings.
    Raises UserError where a tensor is missing, has another shape, or shows another architecture.
    """
    models.drop_pretrained(cfg)
    state, names, settings = checkpoints.ours(tensors, meta, layout, cfg)
    cfg.merge_from_dict({"model": settings})
    sizes = [named_rows.name_count(state, rows) or 1 for rows in named_rows.of_network(cfg)]
    expected = named_rows.shapes(named_rows.of_size(cfg, *sizes))
    check(state, expected, models.has_keypoints(cfg), source)
    unused = [theirs for name, theirs in names.items() if name not in expected]
    missing = torch.tensor(0)  # all that may be missing are normalisation layers' counts of batches
    return {name: state.get(name, missing) for name in expected}, unused, settings


def check(state: State, expected: dict[str, torch.Size], has_keypoints: bool, source: Path) -> None:
    """Raises UserError unless `state` holds the expected tensors; others may only be those of heads that the
    network lacks, and such as it computes itself."""
    spare = ["num_batches_tracked", "mask_", "point_head", "anchor_generator", "pixel_mean", "pixel_std"]
    spare += [] if has_keypoints else ["keypoint_"]
    wrong = {
        "missing": [k for k in expected if k not in state and not k.endswith("num_batches_tracked")],
        "of another shape": [k for k in expected if k in state and state[k].shape != expected[k]],
        "too many": [k for k in state if k not in expected and not any(word in k for word in spare)],
    }
    if any(wrong.values()):
        found = "; ".join(
            f"{len(keys)} tensors {what} ({some(keys)})" for what, keys in wrong.items() if keys
        )
        raise UserError(f"{source}: not of this architecture; choose another `config`: {found}")


def complete(known: list[str] | None, count: int, what: str, path: Path) -> list[str]:
    """The names of a checkpoint's `count` categories or keypoints. Raises UserError where they are not known,
    or not as many.

    what: "categories" or "keypoints". path: of the checkpoint, for messages.
    """
    if known is None or len(known) != count:
        given = f", and {len(known)} names" if known else ""
        raise UserError(f"{path}: has {count} {what}{given}; name them in its order with import.{what}")
    return known


def known_categories(
    wanted: list[dict[str, Any]], known: list[str], named: bool, path: Path, labelled: Path
) -> list[dict[str, Any]]:
    """The dataset's categories that the checkpoint knows, by name; the log says which it does not.

    wanted: the dataset's. known: names in the checkpoint. named: somebody has named them for this study.
    path, labelled: of checkpoint and dataset, for messages.

    Raises UserError where it knows none, or one only under a name that is nearly the same, unless `named`.
    """
    names = [category["name"] for category in wanted]
    missing = [name for name in names if name not in known]
    free = [name for name in known if name not in names]
    alike = [] if named else [name for name in missing if get_close_matches(name, free, n=1, cutoff=ALIKE)]
    if alike or len(missing) == len(names):
        positions(alike or missing, known, "categories", path, labelled)
    if missing:
        log.warning("%s: does not know %s; the model predicts the others", path, ", ".join(missing))
    return [category for category in wanted if category["name"] in known]


def positions(wanted: Sequence[str], known: list[str], what: str, path: Path, labelled: Path) -> list[int]:
    """Where the dataset's categories or keypoints are among the checkpoint's. Raises UserError if one is not.

    wanted: names in the dataset. known: names in the checkpoint, in its order. what: "categories" or
    "keypoints". path, labelled: of checkpoint and dataset, for messages.
    """
    for name in wanted:
        if name not in known:
            raise UserError(
                f"{labelled}: {name!r} is not among the {what} of {path}{suggestion(name, known)}; "
                f"if it has another name there, name them all with import.{what}"
            )
    return [known.index(name) for name in wanted]
