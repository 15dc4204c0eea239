"""A study: one configuration, validated and resolved into everything that the workflow is to make.

`resolve` is pure: no file is written and nothing is imported that takes time. Its result is kept as
study.json and has these keys beside the plain options of config/schemas/study.yaml:

- datasets: {name: spec}, defaults left out, so that a new option with a default changes no dataset
- views: {view set: [view name]}
- selected: {dataset: the dataset that it is a subset of and shares the predictions of}
- merged: {merged name: {views: view set, options}}: each view set, and "{views}~{labels}" for labels with
  merge options of their own
- models: {name: {config, task, labelled, labels (a label set, or a dataset in its place) or None, validation,
  gpus, … the options of training}}; imported ones {config, task, labelled, labels: None, init: none,
  validation, import}
- labels: {name: {teacher, teachers, together, dataset, labelled, views, merged, merge, calibrate}};
  teacher: the first; together: the name of all, a+b
- evaluate: {on: [validation dataset of each seed], views: [view set]}
- tables: {name: {task, rows: [{name, model, models, views, evaluations, x?}], metrics?, reference, gains,
  gap?, plot?}}

With several seeds, models, labels and randomly drawn datasets appear once for each, as {name}-seed{n}.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from distill.predictions.views import View, expand, reach_around
from distill.program import UserError
from distill.study import paths, schema
from distill.study.references import check, known
from distill.study.schema import suggestion
from distill.study.seeds import repeat

TRAINING = (
    *("iterations", "batch", "lr", "warmup", "milestones", "scales", "max_side", "init", "seed"),
    *("freeze_rpn", "background", "amp", "checkpoint_every"),
)
IMPORTED = ("config", "import", "labelled")  # the keys of an imported model
FILLED = ("labelled", "unlabelled", "val")  # the datasets of a study that names no models
TASKS = ("boxes", "keypoints")
CHOICES = ("fraction", "images", "ids")  # of a subset


def read(path: Path) -> dict[str, Any]:
    """A configuration file as it is written. Raises UserError where it is no YAML mapping."""
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: not a configuration; it must be a mapping")
    return config


def resolve(config: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The resolved study (see above). `root`: the project's folder, for schemas and model configs.

    Raises UserError, one line, for an unknown key, a bad value, a missing reference or a cycle.
    """
    config = _text_keys(config)
    schema.validate(config, root)
    config = paths.checked(config)
    study = {**schema.defaults(root, "study"), **config}
    for key in ("candidates", "evaluate"):
        study[key] = {**_nested(root, key), **study[key]}
    study["datasets"] = {name: _dataset(name, spec, study, root) for name, spec in study["datasets"].items()}
    study["models"] = _models(study, root)
    study["views"] = _views(study, root)
    study["labels"] = _labels(study, root)
    on = study["evaluate"]["on"]
    study["evaluate"]["on"] = dict.fromkeys(TASKS, on) if isinstance(on, str) else on
    check(study)
    study["tables"] = _tables(study)
    repeat(study)
    study["selected"] = {
        name: spec["of"] for name, spec in study["datasets"].items() if spec.pop("share_predictions", False)
    }
    study["merged"] = _merged(study)
    _add_evaluations(study)
    del study["model"], study["merge"], study["calibrate"]
    return study


def training(model: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a resolved model that the training program takes."""
    return {key: model[key] for key in (*TRAINING, *(["ratio"] if model["labels"] else []))}


def _text_keys(value: Any, where: str = "config") -> Any:
    """YAML reads a bare `on` as true and 101 as a number; keys are text."""
    if isinstance(value, list):
        return [_text_keys(item, where) for item in value]
    if not isinstance(value, Mapping):
        return value
    result = {}
    for key, item in value.items():
        key = "on" if key is True else key
        if not isinstance(key, str):
            raise UserError(f"{where}: the key {key!r} must be text; put it in quotes")
        result[key] = _text_keys(item, key if where == "config" else f"{where}.{key}")
    return result


def _nested(root: Path, key: str) -> dict[str, Any]:
    properties = schema.documents(root)["study"]["properties"][key]["properties"]
    return {name: option["default"] for name, option in properties.items()}


def _dataset(name: str, spec: dict[str, Any], study: dict[str, Any], root: Path) -> dict[str, Any]:
    if spec["kind"] == "subset" and len(given := [key for key in CHOICES if key in spec]) > 1:
        raise UserError(f"datasets.{name}: {' and '.join(given)} exclude each other")
    unset = schema.defaults(root, "datasets", spec["kind"])
    spec = {key: value for key, value in spec.items() if key not in unset or value != unset[key]}
    if spec["kind"] in ("coco", "folder", "videos"):
        spec.setdefault("unreadable", study["unreadable"])
    for key in ("annotations", "images", "videos", "ids"):
        if isinstance(spec.get(key), str):
            spec[key] = os.path.normpath(os.path.join(study["data"], spec[key]))
    return spec


def _models(study: dict[str, Any], root: Path) -> dict[str, Any]:
    if "models" not in study:
        for name in FILLED:
            if name not in study["datasets"]:
                needed = f"datasets: a study without models needs {', '.join(FILLED)}; there is no {name!r}"
                raise UserError(needed + suggestion(name, [n for n in study["datasets"] if n not in FILLED]))
        student = {"labels": next(iter(study.get("labels") or ["distilled"]))}
        study["models"] = {"teacher": {}, "student": student}
    common = study.get("model", {})
    study["model"] = {"config": common} if isinstance(common, str) else common
    return {name: _model(name, own, study["model"], root) for name, own in study["models"].items()}


def _model(name: str, own: dict[str, Any], common: dict[str, Any], root: Path) -> dict[str, Any]:
    given = {**common, **own}
    if "config" not in given:
        raise UserError(
            f"models.{name}: needs the key 'config' (or give all models one: `model: faster_rcnn_tiny`)"
        )
    configs = sorted(path.stem for path in (root / "config/models").glob("*.py"))
    known(given["config"], configs, f"models.{name}.config", "model config")
    task = "keypoints" if given["config"].startswith("keypoint") else "boxes"
    if "import" in given:
        if unfit := [key for key in own if key not in IMPORTED]:
            raise UserError(f"models.{name}: an imported model is not trained; remove {', '.join(unfit)}")
        usual = {"labelled": schema.defaults(root, "models")["labelled"], "labels": None, "init": "none"}
        return {**usual, **{key: given[key] for key in IMPORTED if key in given}, "task": task}
    by_config = _by_config(given["config"], root)
    role = "student" if given.get("labels") else "teacher"
    model = {"labels": None, **schema.defaults(root, "models"), **by_config["model"]}
    model |= {"iterations": by_config["iterations"][role], **given}
    if "warmup" not in given and model["iterations"] != "auto":
        model["warmup"] = min(model["warmup"], max(1, model["iterations"] // 10))
    return {**model, "task": task}


def _by_config(config: str, root: Path) -> dict[str, Any]:
    """The defaults of config/models/defaults.yaml for a model config."""
    table = yaml.safe_load((root / "config/models/defaults.yaml").read_text())
    return {**table["default"], **table.get(config.rpartition("_")[2], {}), **table.get(config, {})}


def _views(study: dict[str, Any], root: Path) -> dict[str, list[str]]:
    config = study["model"].get("config") or next(iter(study["models"].values()))["config"]
    sets = {**_by_config(config, root)["views"], **study.get("views", {})}
    result = {}
    for name, spec in sets.items():
        try:
            result[name] = [view.name for view in expand(spec)]
        except UserError as error:
            raise UserError(f"views.{name}: {str(error).removeprefix('views: ')}") from None
    return result


def _labels(study: dict[str, Any], root: Path) -> dict[str, Any]:
    if "labels" not in study:
        usual = "teacher" in study["models"] and "unlabelled" in study["datasets"]
        study["labels"] = {"distilled": {}} if usual else {}
    result = {}
    for name, own in study["labels"].items():
        entry = {**schema.defaults(root, "labels"), **own}
        entry["teachers"] = [entry["teacher"]] if isinstance(entry["teacher"], str) else entry["teacher"]
        entry["teacher"] = entry["teachers"][0]
        for key in ("merge", "calibrate"):
            entry[key] = {**schema.defaults(root, "labels", key), **study[key], **entry[key]}
        result[name] = entry
    for key in ("merge", "calibrate"):
        study[key] = {**schema.defaults(root, "labels", key), **study[key]}
    return result


def _tables(study: dict[str, Any]) -> dict[str, Any]:
    """The tables with a row for each model and view set; names are those before the repetition over seeds."""
    if "tables" not in study:
        study["tables"] = {"results": {"rows": _all_rows(study)}}
    return {name: _table(f"tables.{name}", table, study) for name, table in study["tables"].items()}


def _all_rows(study: dict[str, Any]) -> list[dict[str, str]]:
    """Every model, and teachers also under the views that made their labels."""
    rows = [{"model": model} for model in study["models"]]
    for entry in study["labels"].values():
        for teacher in entry["teachers"]:
            row = {"model": teacher, "views": entry["views"]}
            if row not in rows and entry["views"] not in study["evaluate"]["views"]:
                rows.insert(rows.index({"model": teacher}) + 1, row)
    return rows


def _table(where: str, table: dict[str, Any], study: dict[str, Any]) -> dict[str, Any]:
    usual = study["evaluate"]["views"]
    rows: dict[str, dict[str, str]] = {}
    for row in table["rows"]:
        row = {"model": row} if isinstance(row, str) else row
        known(row["model"], study["models"], f"{where}.rows", "model")
        for views in [row["views"]] if "views" in row else usual:
            known(views, study["views"], f"{where}.rows", "view set")
            name = row.get("name", row["model"])
            if views != usual[0] and not ("name" in row and "views" in row):
                name = f"{name} ({views})"
            if name in rows:
                raise UserError(f"{where}.rows: two rows are called {name!r}; give one of them another name")
            rows[name] = {"name": name, "model": row["model"], "views": views}
            rows[name] |= {"x": row["x"]} if "x" in row else {}
    tasks = {study["models"][row["model"]]["task"] for row in rows.values()}
    if len(tasks) > 1:
        raise UserError(f"{where}.rows: models of boxes and of keypoints do not go into one table")
    for key, names in table.get("gap", {}).items():
        for name in [names] if isinstance(names, str) else names:
            known(name, rows, f"{where}.gap.{key}", "row")
    for name in table.get("reference", {}):
        known(name, rows, f"{where}.reference", "row")
    for name, gain in table.get("gains", {}).items():
        known(name, rows, f"{where}.gains", "row")
        known(gain["over"], rows, f"{where}.gains.{name}.over", "row")
    for row in rows.values():
        if isinstance(row.get("x"), str):
            known(row["x"], rows, f"{where}.rows: x of {row['name']}", "row")
    if "plot" in table:
        if not any("x" in row for row in rows.values()):
            raise UserError(f"{where}.plot: no row has an x")
        if "baseline" in table["plot"]:
            known(table["plot"]["baseline"], rows, f"{where}.plot.baseline", "row")
    return {"task": tasks.pop(), "reference": {}, "gains": {}, **table, "rows": list(rows.values())}


def _merged(study: dict[str, Any]) -> dict[str, Any]:
    """What is merged how: every view set, and once more for labels with merge options of their own."""
    merged = {views: {"views": views, "options": study["merge"]} for views in study["views"]}
    for name, entry in study["labels"].items():
        entry["merged"] = entry["views"]
        if entry["merge"] != study["merge"]:
            entry["merged"] = f"{entry['views']}~{name}"
            merged[entry["merged"]] = {"views": entry["views"], "options": entry["merge"]}
    plain = View.parse(study["views"]["plain"][0]).scale
    for entry in merged.values():
        if entry["options"]["size_dependent"] is not None:
            if not reach_around(plain, map(View.parse, study["views"][entry["views"]])):
                where = f"views.{entry['views']}"
                raise UserError(f"merge.size_dependent: {where} needs scales up to and from plain's, {plain}")
            entry["options"] = {**entry["options"], "plain": plain}
    return merged


def _add_evaluations(study: dict[str, Any]) -> None:
    folder = f"{study['results']}/evaluation"
    for table in study["tables"].values():
        for row in table["rows"]:
            row["evaluations"] = [
                f"{folder}/{model}/{study['models'][model]['validation']}/{row['views']}.json"
                for model in row["models"]
            ]
