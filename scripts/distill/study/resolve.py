"""A study: one configuration, validated and resolved into everything that the workflow is to make.

`resolve` is pure: no file is written and nothing is imported that takes time. `types` says what it gives.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

from distill.predictions.views import View, expand, reach_around
from distill.program import UserError
from distill.strict import LARGEST, is_line, read_yaml
from distill.study import limits, model_config, paths, schema
from distill.study.references import check
from distill.study.rows import find_evaluations, tables
from distill.study.schema import suggestion
from distill.study.seeds import repeat
from distill.study.types import Merge, Merged, Model, Study, Task, Training

TRAINING_OPTIONS = tuple(key for key in Training.__annotations__ if key != "ratio")  # which students have
OF_TEACHERS = ("teacher", "views")  # the keys of labels that say how a teacher predicts
IMPORTED = ("config", "import", "labelled", "boxes")  # the keys of an imported model
TASKS: tuple[Task, ...] = get_args(Task)
CHOICES = ("fraction", "images", "ids", "fold")  # of a subset


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
    config = _text_keys(config)
    schema.validate(config, root)
    config = paths.checked(config)
    # Each step needs those before it: models name datasets, views depend on models, labels on both.
    filled = {**schema.defaults(root, "study"), **config}
    for key in ("fixed_boxes", "evaluate"):
        filled[key] = {**schema.defaults(root, "study", key), **filled[key]}
    specs = filled["datasets"].items()
    filled["datasets"] = {name: _dataset(name, spec, filled, root) for name, spec in specs}
    filled["models"] = _models(filled, root)
    _join_labelled(filled, root)
    filled["views"] = _views(filled, root)
    filled["labels"] = _labels(filled, root)
    on = filled["evaluate"]["on"]
    filled["evaluate"]["on"] = dict.fromkeys(TASKS, on) if isinstance(on, str) else on
    check(filled)
    filled["tables"] = tables(filled, root)
    limits.check(config, filled, root)
    study = repeat(_connected(filled))
    study["selected"] = {
        name: str(spec["of"])
        for name, spec in study["datasets"].items()
        if spec.pop("share_predictions", None)
    }
    study["merged"] = _merged(study, filled["merge"])
    find_evaluations(study)
    return study


def training(model: Model) -> Training:
    """The options of a model that the training program takes."""
    options: Mapping[str, Any] = model
    keys = (*TRAINING_OPTIONS, *(["ratio"] if model["labels"] else []))
    return cast(Training, {key: options[key] for key in keys})


def _text_keys(value: Any, where: str = "") -> Any:
    """YAML reads a bare `on` as true and 101 as a number; keys are text. Numbers are finite, texts lines."""
    if isinstance(value, list):
        return [_text_keys(item, where) for item in value]
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
        result[key] = _text_keys(item, f"{where}.{key}".lstrip("."))
    return result


def _dataset(name: str, spec: dict[str, Any], study: dict[str, Any], root: Path) -> dict[str, Any]:
    """A dataset with all options, its paths from the current folder on."""
    if spec["kind"] == "subset" and len(given := [key for key in CHOICES if key in spec]) > 1:
        raise UserError(f"datasets.{name}: {' and '.join(given)} exclude each other")
    usual = schema.defaults(root, "datasets", spec["kind"])
    spec = {key: value for key, value in spec.items() if key not in usual or value != usual[key]}
    if spec["kind"] in ("coco", "yolo", "voc", "folder", "videos"):
        spec.setdefault("unreadable", study["unreadable"])
    for key in paths.OF_DATASETS:
        if isinstance(spec.get(key), str):
            spec[key] = os.path.normpath(os.path.join(study["data"], spec[key]))
    # Whether a default is written out makes no difference, not even to the order of the keys.
    return {**spec, **{key: value for key, value in usual.items() if key not in spec}}


def _models(study: dict[str, Any], root: Path) -> dict[str, Any]:
    """The models with all options; those of a study that names none are its teacher and student. Makes a
    mapping of `model`."""
    if "models" not in study:
        labels, on = schema.defaults(root, "labels"), schema.defaults(root, "study", "evaluate")["on"]
        usual = (schema.defaults(root, "models")["labelled"], labels["dataset"], on)
        for name in usual:
            if name not in study["datasets"]:
                needed = f"datasets: a study without models needs {', '.join(usual)}; there is no {name!r}"
                raise UserError(needed + suggestion(name, [n for n in study["datasets"] if n not in usual]))
        sets = study.get("labels") or {"distilled": {}}
        name, entry = next(iter(sets.items()))
        study["models"] = {} if "predictions" in entry else {labels["teacher"]: {}}
        study["models"]["student"] = {"labels": name}
    common = study.get("model", {})
    study["model"] = {"config": common} if isinstance(common, str) else dict(common)
    common, data = study["model"], study["data"]
    return {name: _model(name, own, common, data, root) for name, own in study["models"].items()}


def _model(name: str, own: dict[str, Any], common: dict[str, Any], data: str, root: Path) -> dict[str, Any]:
    """A model with all options and its task. own: what is written of it; common: of all."""
    given = {**common, **own}
    if "config" not in given:
        raise UserError(
            f"models.{name}: needs the key 'config' (or give all models one: `model: faster_rcnn_tiny`)"
        )
    given["config"] = model_config.placed(given["config"], data, root, f"models.{name}.config")
    task = model_config.task(given["config"], root)
    if "import" in given:
        if unfit := [key for key in own if key not in IMPORTED]:
            raise UserError(f"models.{name}: an imported model is not trained; remove {', '.join(unfit)}")
        usual = {"labelled": schema.defaults(root, "models")["labelled"], "labels": None, "init": "none"}
        return {**usual, **{key: given[key] for key in IMPORTED if key in given}, "task": task}
    by_config = _by_config(given["config"], root)
    role = "student" if given.get("labels") else "teacher"
    usual = schema.defaults(root, "models")
    recipe = schema.recipe(root, given.pop("recipe", usual.pop("recipe")))
    model = {"labels": None, **usual, **by_config["model"], **recipe}
    model |= {"iterations": by_config["iterations"][role], **given}
    if "warmup" not in given and model["iterations"] != "auto":
        model["warmup"] = min(model["warmup"], model["iterations"] // 10)
    model["augment"] = _augment(model["augment"], role, root)
    return {**model, "task": task}


def _join_labelled(study: dict[str, Any], root: Path) -> None:
    """Several labelled datasets of a model are their union, a dataset named a+b."""
    for model in (study["model"], *study["models"].values()):
        if isinstance(names := model.get("labelled"), list):
            model["labelled"] = name = "+".join(names)
            if len(names) > 1:
                union = _dataset(name, {"kind": "union", "of": names}, study, root)
                study["datasets"].setdefault(name, union)


def _augment(given: str | dict[str, Any], role: str, root: Path) -> str | dict[str, Any]:
    """For each kind of image that a model of the role sees; the schema's default where nothing is changed."""
    usual = schema.defaults(root, "models", "augment")
    each = dict.fromkeys(usual, given) if isinstance(given, str) else {**usual, **given}
    seen = {kind: each[kind] for kind in usual if kind == "labelled" or role == "student"}
    unchanged = schema.defaults(root, "models")["augment"]
    return unchanged if set(map(str, seen.values())) == {unchanged} else seen


def _by_config(config: str, root: Path) -> dict[str, Any]:
    """The defaults of config/models/defaults.yaml for a model config; …_lite2 has those of …_lite."""
    table, name = schema.defaults_by_config(root), config.rstrip("0123456789")
    group = "outside" if model_config.is_outside(config) else name.rpartition("_")[2]
    return {**table["default"], **table.get(group, {}), **table.get(name, {})}


def _views(study: dict[str, Any], root: Path) -> dict[str, list[str]]:
    """The view sets, each as the names of its views; those that are not written are by the model config."""
    config = study["model"].get("config") or next(iter(study["models"].values()))["config"]
    own = _by_config(config, root)["views"]
    if any("boxes" in model for model in study["models"].values()):
        crops = schema.defaults_by_config(root)["crops"]
        plain = map(dict, own["plain"])
        own["crops"] = [{"scales": [view.pop("scale")], **view, **crops} for view in plain]
    sets = {**own, **study.get("views", {})}
    usual, result = schema.defaults(root, "views", "views"), {}
    for name, spec in sets.items():
        try:
            result[name] = [view.name for view in expand(spec, usual)]
        except UserError as error:
            raise UserError(f"views.{name}: {str(error).removeprefix('views: ')}") from None
    return result


def _labels(study: dict[str, Any], root: Path) -> dict[str, Any]:
    """The label sets with all options; of a study that names none, that of its teacher. Gives the study's
    `merge` and `calibrate` all options, too."""
    usual, result = schema.defaults(root, "labels"), {}
    if "labels" not in study:
        possible = usual["teacher"] in study["models"] and usual["dataset"] in study["datasets"]
        study["labels"] = {"distilled": {}} if possible else {}
        wanted = [name for name, model in study["models"].items() if model.get("labels") == "distilled"]
        if wanted and not possible and "distilled" not in study["datasets"]:
            places = ("model", usual["teacher"], "models"), ("dataset", usual["dataset"], "datasets")
            what, name, key = next(place for place in places if place[1] not in study[place[2]])
            need = f"'distilled' is made of the {what} {name!r}, and there is none"
            raise UserError(f"models.{wanted[0]}.labels: {need}{suggestion(name, study[key])}")
    for key in ("merge", "calibrate"):
        study[key] = {**schema.defaults(root, "labels", key), **study[key]}
    for name, own in study["labels"].items():
        entry = {**usual, **own}
        if "predictions" in own:
            entry = _predicted(name, own, entry, study, root)
        elif "labelled" in own:
            raise UserError(
                f"labels.{name}.labelled: is for `predictions`; a teacher has a dataset of its own"
            )
        else:
            entry["teachers"] = [entry["teacher"]] if isinstance(entry["teacher"], str) else entry["teacher"]
            entry["teacher"] = entry["teachers"][0]
            if "views" not in own and "boxes" in study["models"].get(entry["teacher"], {}):
                entry["views"] = "crops"
        for key in ("merge", "calibrate"):
            entry[key] = {**study[key], **entry[key]}
        result[name] = entry
    return result


def _predicted(
    name: str, own: dict[str, Any], entry: dict[str, Any], study: dict[str, Any], root: Path
) -> dict[str, Any]:
    """A label set whose predictions are files: without what is of teachers. own: as it is written; entry:
    with all defaults."""
    if unfit := [key for key in OF_TEACHERS if key in own]:
        rest = f"take the place of a teacher; remove {' and '.join(unfit)}"
        raise UserError(f"labels.{name}: predictions {rest}")
    given = [own["predictions"]] if isinstance(own["predictions"], str) else own["predictions"]
    files = [os.path.normpath(os.path.join(study["data"], path)) for path in given]
    students = [model for model in study["models"].values() if model["labels"] == name]
    model = {**schema.defaults(root, "models"), **study["model"], **(students[0] if students else {})}
    entry = {key: value for key, value in entry.items() if key not in OF_TEACHERS}
    entry |= {"teachers": [], "predictions": files, "labelled": own.get("labelled", model["labelled"])}
    return {**entry, "posed": any(model["task"] == "keypoints" for model in students)}


def _connected(filled: dict[str, Any]) -> Study:
    """What follows from references: what models are evaluated on, and what labels aim at."""
    for model in filled["models"].values():
        model["validation"] = filled["evaluate"]["on"][model["task"]]
    for entry in filled["labels"].values():
        if entry["teachers"]:
            entry["labelled"] = filled["models"][entry["teacher"]]["labelled"]
            entry["together"] = "+".join(entry["teachers"])
    used = dict.fromkeys(model["validation"] for model in filled["models"].values())
    filled["evaluate"]["on"] = list(used)
    done = ("model", "merge", "calibrate")  # they are in each model and label set now
    return cast(Study, {key: value for key, value in filled.items() if key not in done})


def _merged(study: Study, merge: Merge) -> dict[str, Merged]:
    """What is merged how: every view set, and once more for labels with merge options of their own."""
    plain = View.parse(study["views"]["plain"][0]).scale
    merged: dict[str, Merged] = {
        views: {"views": views, "options": {**merge, "plain": plain}} for views in study["views"]
    }
    for name, entry in study["labels"].items():
        if not entry["teachers"]:
            continue
        entry["merged"] = entry["views"]
        if entry["merge"] != merge:
            entry["merged"] = f"{entry['views']}~{name}"
            merged[entry["merged"]] = {"views": entry["views"], "options": {**entry["merge"], "plain": plain}}
    for one in merged.values():
        views = map(View.parse, study["views"][one["views"]])
        if one["options"]["size_dependent"] is not None and not reach_around(plain, views):
            where = f"views.{one['views']}"
            raise UserError(f"merge.size_dependent: {where} needs scales up to and from plain's, {plain}")
    return merged
