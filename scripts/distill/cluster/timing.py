"""A study of a few images that is run before a large one, to see how long that takes."""

import os
import re
from collections.abc import Mapping
from typing import Any

from distill.study.types import Model, Study

FEW = 16  # images
ITERATIONS = 100  # of a training: the first ones, and the start of its loaders, take longer


def timing(config: dict, study: Study, images: Mapping[str, int]) -> dict:
    """The configuration of a timing run, a study of a few images that is run before a large one: a short
    training of each model config, and predictions under two views. Neither seeds nor folds are repeated: of
    seeds, which may name files, it is the first.

    config: as it was written. study: the same, resolved.
    images: dataset → its number of images, as far as they are known.
    """
    datasets = {name: _unfolded(spec) for name, spec in config["datasets"].items()}
    trained = next(iter(study["models"].values()))["labelled"]
    tested = next(iter(study["evaluate"]["on"]))
    for name, whole in (("few", trained), ("few-val", tested)):
        of = _as_written(whole, config["datasets"])
        stated = config["datasets"].get(of, {}).get("images")
        most = min(FEW, images.get(whole, FEW), stated if isinstance(stated, int) else FEW)
        datasets[name] = {"kind": "subset", "of": of, "images": most}
    configs = list(dict.fromkeys(model["config"] for model in study["models"].values()))
    names, data = {each: f"model{n}" for n, each in enumerate(configs)}, study["data"]
    models: dict[str, dict[str, Any]] = {}
    for model in study["models"].values():
        path = model["config"]
        short: dict[str, Any] = {key: model[key] for key in ("scales", "max_side", "amp") if key in model}
        if "batch" in model:  # which imported ones have not; one GPU's share
            short["batch"] = model["batch"] // (model["gpus"] * model["nodes"])
        if path.endswith(".py") and "::" not in path:
            path = os.path.relpath(path, data)
        if "boxes" in model:
            short["boxes"] = names[study["models"][model["boxes"]]["config"]]
        common = {"config": path, "labelled": "few", "iterations": ITERATIONS}
        if _start(model, study) != "pretrained":  # from which the first stages are frozen, and take no memory
            common["init"] = "none"
        models.setdefault(names[model["config"]], {**common, **short})
    return {
        "results": f"{study['results']}/timing",
        **{key: config[key] for key in ("data", "device", "threads", "predict_amp") if key in config},
        **({"seeds": study["seeds"][:1]} if "seeds" in config else {}),
        "datasets": datasets,
        "models": models,
        "views": {"plain": study["views"]["plain"], "all": [{"scale": 400}]},
        "evaluate": {"on": "few-val", "views": ["plain", "all"]},
        "tables": {name: {"rows": [name]} for name in models},
    }


def _start(model: Model, study: Study) -> Any:
    """What the first model starts from that this one goes on from, or goes on from one that does."""
    start = model["init"]
    while isinstance(start, str) and start in study["models"]:
        start = study["models"][start]["init"]
    return start


def _as_written(dataset: str, written: Mapping[str, Any]) -> str:
    """The name in the configuration of a dataset of one seed or fold, of a union that of its first member."""
    first = dataset.partition("+")[0]
    return first if first in written else re.sub(r"-(seed|fold)\d+$", "", first)


def _unfolded(spec: Any) -> Any:
    """A dataset without folds: halves that have no image in common."""
    if not isinstance(spec, dict) or "fold" not in spec:
        return spec
    part = {"held": [0.5, 1], "rest": [0, 0.5]}[spec["fold"]]
    return {key: value for key, value in spec.items() if key != "fold"} | {"range": part}
