"""Published checkpoints as models of a study: the same artifacts as a training's, except its history.

The dataset says what the model is to predict: its categories and keypoints are found by name among the
checkpoint's, whose rows are put in the dataset's order. Categories that only the checkpoint has come last:
they compete for a box as before, and `prediction` leaves them out.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from distill.datasets.keypoint_meta import keypoint_meta
from distill.files import read_json, write_json
from distill.models import config_file, initial
from distill.models import model as models
from distill.models.provenance import digests, provenance
from distill.models.published import formats
from distill.models.published.array_pickle import read_arrays
from distill.models.published.formats import BOX_HEAD, FORMATS, KEYPOINT_HEAD, Format, State
from distill.program import UserError, log
from distill.study.schema import suggestion


def import_model(name: str, config: Path, spec: dict[str, Any], labelled: Path, output: Path) -> None:
    """Writes model.pth, config.py and run.json of a checkpoint.

    name: of the model.
    config: the model config.
    spec: format, checkpoint, and optionally categories and keypoints: names, in the checkpoint's order, of
        what it predicts.
    labelled: the dataset whose categories and keypoints the model is to predict.
    output: the model's folder.

    Raises UserError where the file cannot be read safely, is of another architecture, or lacks a category
    or a keypoint of the dataset.
    """
    start = time.time()
    path = Path(spec["checkpoint"])
    coco = read_json(labelled)
    cfg = models.load_config(config)
    tensors, meta = read(path)
    state, unused, settings = translate(tensors, meta, FORMATS[spec["format"]], cfg, path)
    classes = len(state[BOX_HEAD + "fc_cls.bias"]) - 1
    known = spec.get("categories") or formats.categories(classes, meta)
    wanted = [category["name"] for category in coco["categories"]]
    order = positions(wanted, known, classes, "categories", path, labelled)
    order += [row for row in range(classes) if row not in order]
    arrange_categories(state, order)
    models.fit_to_dataset(cfg, coco["categories"], str(labelled))
    cfg.model.roi_head.bbox_head.num_classes = classes
    if models.has_keypoints(cfg) and (points_meta := keypoint_meta(coco)):
        count = len(state[KEYPOINT_HEAD + "deconv.bias"])
        points = spec.get("keypoints") or formats.keypoints(count)
        rows = positions(points_meta.names, points, count, "keypoints", path, labelled)
        for key, axis in (("weight", 1), ("bias", 0)):
            tensor = state[f"{KEYPOINT_HEAD}deconv.{key}"]
            state[f"{KEYPOINT_HEAD}deconv.{key}"] = tensor.index_select(axis, torch.tensor(rows))
    models.check_weights(state, path)
    for key in unused:
        log.info("not used: %s", key)
    log.info("%s: %d tensors taken, %d not used", path, len(tensors) - len(unused), len(unused))
    about = {
        "model": name,
        "categories": coco["categories"],
        "task": "keypoints" if models.has_keypoints(cfg) else "boxes",
        "settings": settings,
    }
    models.save(output / "model.pth", state, about)
    config_file.write(output / "config.py", cfg)
    write_json(
        output / "run.json",
        {
            **provenance(name, digests({"checkpoint": path, "labelled": labelled}), time.time() - start),
            "import": spec,
            "settings": settings,
            "unused": unused,
        },
    )


def read(path: Path) -> tuple[State, dict[str, Any]]:
    """The tensors of a checkpoint, and its meta; nothing in the file is run."""
    if path.suffix == ".pkl":
        return {key: torch.from_numpy(array.copy()) for key, array in read_arrays(path).items()}, {}
    content = models.read_weights(path)
    return initial.unwrapped(content["state_dict"]), content["meta"]


def translate(
    tensors: State, meta: dict[str, Any], layout: Format, cfg: Config, source: Path
) -> tuple[State, list[str], dict[str, Any]]:
    """A checkpoint's tensors under our names. The format's settings, and the numbers of categories and
    keypoints, are merged into the config.

    tensors, meta: of `read`.
    layout: the checkpoint's format.
    cfg: the model config.
    source: path of the checkpoint, for messages.

    Returns the tensors of the config's network, the names of those that it does not need, and the settings.
    Raises UserError where a tensor is missing, has another shape, or shows another architecture.
    """
    names = {layout.ours(name): name for name in tensors}
    state = {name: tensors[theirs] for name, theirs in names.items()}
    settings = layout.settings(cfg, state, meta)
    cfg.merge_from_dict({"model": settings})
    if layout.background == "first":
        background_last(state)
    expected = shapes(cfg, state)
    check(state, expected, models.has_keypoints(cfg), source)
    unused = [theirs for name, theirs in names.items() if name not in expected]
    missing = torch.tensor(0)  # all that may be missing are normalisation layers' counts of batches
    return {name: state.get(name, missing) for name in expected}, unused, settings


def background_last(state: State) -> None:
    """Moves the background from the first row of the box head's last layers to where it is in mmdet: the
    last row of the scores, and none of the box regression. In place; what is not there stays so."""
    for key in ("weight", "bias"):
        if (name := f"{BOX_HEAD}fc_cls.{key}") in state:
            state[name] = state[name].roll(-1, 0)
        if (name := f"{BOX_HEAD}fc_reg.{key}") in state:
            state[name] = state[name][4:]


def arrange_categories(state: State, order: list[int]) -> None:
    """Puts the rows of the box head's last layers in another order of the categories, in place."""
    for key in ("weight", "bias"):
        scores, boxes = (f"{BOX_HEAD}{layer}.{key}" for layer in ("fc_cls", "fc_reg"))
        state[scores] = state[scores][[*order, len(order)]]
        state[boxes] = state[boxes].unflatten(0, (len(order), 4))[order].flatten(0, 1)


def shapes(cfg: Config, state: State) -> dict[str, torch.Size]:
    """Name and shape of every tensor of the config's network, with the checkpoint's numbers of categories and
    keypoints. Writes the numbers into the config."""
    cfg.model.backbone.init_cfg = None
    if (name := BOX_HEAD + "fc_cls.bias") in state:
        cfg.model.roi_head.bbox_head.num_classes = len(state[name]) - 1
    if models.has_keypoints(cfg) and (name := KEYPOINT_HEAD + "deconv.bias") in state:
        cfg.model.roi_head.keypoint_head.keypoints = len(state[name])
    return {key: value.shape for key, value in models.build(cfg).state_dict().items()}


def check(state: State, expected: dict[str, torch.Size], has_keypoints: bool, source: Path) -> None:
    """Raises UserError unless `state` holds the expected tensors; others may only be those of heads that the
    network lacks, and such as it computes itself."""
    spare = ["num_batches_tracked", "mask_", "anchor_generator", "pixel_mean", "pixel_std"]
    spare += [] if has_keypoints else ["keypoint_"]
    wrong = {
        "missing": [k for k in expected if k not in state and not k.endswith("num_batches_tracked")],
        "of another shape": [k for k in expected if k in state and state[k].shape != expected[k]],
        "too many": [k for k in state if k not in expected and not any(word in k for word in spare)],
    }
    if any(wrong.values()):
        found = "; ".join(
            f"{len(keys)} tensors {what} ({models.some(keys)})" for what, keys in wrong.items() if keys
        )
        raise UserError(f"{source}: not of this architecture; choose another `config`: {found}")


def positions(
    wanted: Sequence[str], known: list[str] | None, count: int, what: str, path: Path, labelled: Path
) -> list[int]:
    """Finds the dataset's categories or keypoints by name.

    wanted: names in the dataset.
    known: names in the checkpoint, in its order; None where it states none.
    count: how many the checkpoint has.
    what: "categories" or "keypoints".
    path, labelled: of checkpoint and dataset, for messages.

    Returns where each of `wanted` is among `known`.
    Raises UserError where `known` is not complete, or lacks one.
    """
    if known is None or len(known) != count:
        given = f", and {len(known)} names" if known else ""
        raise UserError(f"{path}: has {count} {what}{given}; name them in its order with import.{what}")
    for name in wanted:
        if name not in known:
            raise UserError(
                f"{labelled}: {name!r} is not among the {what} of {path}{suggestion(name, known)}; "
                f"if it has another name there, name them all with import.{what}"
            )
    return [known.index(name) for name in wanted]
