"""A study: one configuration, validated and resolved into everything that the workflow is to make.

`resolve` is pure: no file is written and nothing is imported that takes time. `types` says what it gives.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

from distill.predictions.views import View, reach_around
from distill.program import UserError
from distill.strict import LARGEST, is_line, read_yaml
from distill.study import entries, limits, paths, schema
from distill.study.references import check
from distill.study.rows import find_evaluations, tables
from distill.study.seeds import repeat
from distill.study.types import Merge, Merged, Model, Study, Task, Training

TRAINING_OPTIONS = tuple(key for key in Training.__annotations__ if key != "ratio")  # which students have
TASKS: tuple[Task, ...] = get_args(Task)
DONE = ("model", "merge", "calibrate")  # keys that are in each model and label set of a resolved study


def read(path: Path) -> dict[str, Any]:
    """A configuration file as it is written. Raises UserError where it is no YAML mapping, or something in it
    would be lost or misread."""
    config = read_yaml(path)
    if not isinstance(config, dict):
        raise UserError(f"{path}: not a configuration; it must be a mapping")
    if "__use_yte__" in config:
        raise UserError(f"{path}: __use_yte__ has Snakemake run what the file says; remove it")
    return config


def resolve(config: Mapping[str, Any], root: Path) -> Study:
    """The resolved study. `root`: the project's folder, for schemas and model configs.

    Raises UserError, one line, for an unknown key, a bad value, a missing reference or a cycle.
    """
    config = _checked_texts(config)
    schema.validate(config, root)
    config = paths.checked(config)
    filled = _completed(config, root)
    check(filled)
    filled["tables"] = tables(filled, root)
    limits.check(config, filled, root)
    study = repeat(_connected(filled))
    study["selected"] = {
        name: str(spec["of"]) for name, spec in study["datasets"].items() if spec.get("share_predictions")
    }
    for spec in study["datasets"].values():
        spec.pop("share_predictions", None)
    study["merged"] = _merged(study, filled["merge"])
    for name, entry in study["labels"].items():
        if entry["teachers"]:
            own = f"{entry['views']}~{name}"
            entry["merged"] = own if own in study["merged"] else entry["views"]
    find_evaluations(study)
    return study


def _completed(config: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The configuration with all options. Each step needs those before it: models name datasets, views depend
    on models, labels on both."""
    study = schema.with_defaults(root, config, "study")
    for name, keys in (("study", ("fixed_boxes", "evaluate")), ("labels", ("merge", "calibrate"))):
        study |= {key: schema.with_defaults(root, study[key], name, key) for key in keys}
    study["model"] = entries.common(study.get("model", {}))
    datasets = study["datasets"]
    study["datasets"] = {name: entries.dataset(name, own, study, root) for name, own in datasets.items()}
    models = study["models"] if "models" in study else entries.usual_models(study, root)
    study["models"] = {name: entries.model(name, own, study, root) for name, own in models.items()}
    written = (config.get("model", {}), *models.values())
    for name, union in entries.unions((each for each in written if isinstance(each, dict)), study, root):
        study["datasets"].setdefault(name, union)
    study["views"] = entries.view_sets(study, root)
    labels = study["labels"] if "labels" in study else entries.usual_labels(study, root)
    study["labels"] = {name: entries.label_set(name, own, study, root) for name, own in labels.items()}
    on = study["evaluate"]["on"]
    study["evaluate"]["on"] = dict.fromkeys(TASKS, on) if isinstance(on, str) else on
    return study


def training(model: Model) -> Training:
    """The options of a model that the training program takes."""
    options: Mapping[str, Any] = model
    keys = (*TRAINING_OPTIONS, *(["ratio"] if model["labels"] else []))
    return cast(Training, {key: options[key] for key in keys})


def _checked_texts(value: Any, where: str = "") -> Any:
    """YAML reads a bare `on` as true and 101 as a number; keys are text. Numbers are finite, texts lines."""
    if isinstance(value, list):
        return [_checked_texts(item, where) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: {value} is no finite number")
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise UserError(f"{where}: a number of {len(str(value))} digits is too large")
    if isinstance(value, str) and not is_line(value):
        raise UserError(f"{where}: {value!r:.80} is not a line of text")
    if not isinstance(value, Mapping):
        return value
    result = {}
    for key, item in value.items():
        key = "on" if key is True else key
        if not isinstance(key, str):
            raise UserError(f"{where or 'config'}: the key {key!r} must be text; put it in quotes")
        if not is_line(key):
            raise UserError(f"{where or 'config'}: the key {key!r:.80} is not a line of text")
        result[key] = _checked_texts(item, f"{where}.{key}".lstrip("."))
    return result


def _connected(filled: Mapping[str, Any]) -> Study:
    """What follows from references: what models are evaluated on, and what labels aim at."""
    on = filled["evaluate"]["on"]
    models = {name: {**model, "validation": on[model["task"]]} for name, model in filled["models"].items()}
    labels = {}
    for name, entry in filled["labels"].items():
        labels[name] = dict(entry)
        if teachers := entry["teachers"]:
            labels[name] |= {"labelled": models[teachers[0]]["labelled"], "together": "+".join(teachers)}
    used = dict.fromkeys(model["validation"] for model in models.values())
    evaluate = {**filled["evaluate"], "on": list(used)}
    study = {**filled, "models": models, "labels": labels, "evaluate": evaluate}
    return cast(Study, {key: value for key, value in study.items() if key not in DONE})


def _merged(study: Study, merge: Merge) -> dict[str, Merged]:
    """What is merged how: every view set, and once more for labels with merge options of their own."""
    plain = View.parse(study["views"]["plain"][0]).scale
    merged: dict[str, Merged] = {
        views: {"views": views, "options": {**merge, "plain": plain}} for views in study["views"]
    }
    for name, entry in study["labels"].items():
        if entry["teachers"] and entry["merge"] != merge:
            own: Merged = {"views": entry["views"], "options": {**entry["merge"], "plain": plain}}
            merged[f"{entry['views']}~{name}"] = own
    for one in merged.values():
        views = map(View.parse, study["views"][one["views"]])
        if one["options"]["size_dependent"] is not None and not reach_around(plain, views):
            where = f"views.{one['views']}"
            raise UserError(f"merge.size_dependent: {where} needs scales up to and from plain's, {plain}")
    return merged
