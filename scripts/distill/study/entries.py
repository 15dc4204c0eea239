"""Entries of a configuration with all their options: what is written, and the defaults of what is not.

Nothing is changed in place: every function returns a new entry, or new ones by name. Of their arguments is

- study: the configuration with all of its keys, its entries complete as far as they come before
- root: the project's folder, for the defaults
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill.predictions.views import expand
from distill.program import UserError
from distill.strict import as_list
from distill.study import model_config, paths, schema
from distill.study.schema import suggestion, with_defaults

OF_TEACHERS = ("teacher", "views")  # the keys of labels that say how a teacher predicts
IMPORTED = ("config", "import", "labelled", "boxes")  # the keys of an imported model
CHOICES = ("fraction", "images", "ids", "fold")  # of a subset
OF_FILES = ("coco", "yolo", "voc", "folder", "videos")  # kinds of dataset that are read from files

Entry = dict[str, Any]
Study = Mapping[str, Any]


def dataset(name: str, given: Entry, study: Study, root: Path) -> Entry:
    """A dataset, its paths from the current folder on."""
    if given["kind"] == "subset" and len(ways := [key for key in CHOICES if key in given]) > 1:
        raise UserError(f"datasets.{name}: {' and '.join(ways)} exclude each other")
    usual = schema.defaults(root, "datasets", given["kind"])
    own = {key: value for key, value in given.items() if key not in usual or value != usual[key]}
    if given["kind"] in OF_FILES:
        own.setdefault("unreadable", study["unreadable"])
    for key in paths.OF_DATASETS:
        if isinstance(own.get(key), str):
            own[key] = paths.in_data(own[key], study["data"])
    # Defaults stand last: whether one is written out makes no difference, not even to the order of the keys.
    return {**own, **{key: value for key, value in usual.items() if key not in own}}


def unions(written: Iterable[Entry], study: Study, root: Path) -> Iterator[tuple[str, Entry]]:
    """Of several labelled datasets of a model their union, a dataset named a+b. written: models."""
    for names in (as_list(model.get("labelled", [])) for model in written):
        if len(names) > 1:
            yield joined(names), dataset(joined(names), {"kind": "union", "of": names}, study, root)


def joined(labelled: str | list[str]) -> str:
    return "+".join(as_list(labelled))


def common(written: str | Entry) -> Entry:
    """What all models are given by the key `model`."""
    given = {"config": written} if isinstance(written, str) else written
    return {**given, "labelled": joined(given["labelled"])} if "labelled" in given else given


def usual_models(study: Study, root: Path) -> dict[str, Entry]:
    """Those of a study that names none: a teacher and its student."""
    labels, on = schema.defaults(root, "labels"), schema.defaults(root, "study", "evaluate")["on"]
    usual = (schema.defaults(root, "models")["labelled"], labels["dataset"], on)
    for name in usual:
        if name not in study["datasets"]:
            needed = f"datasets: a study without models needs {', '.join(usual)}; there is no {name!r}"
            raise UserError(needed + suggestion(name, [n for n in study["datasets"] if n not in usual]))
    sets = study.get("labels") or {"distilled": {}}
    name, entry = next(iter(sets.items()))
    teacher: dict[str, Entry] = {} if "predictions" in entry else {labels["teacher"]: {}}
    return {**teacher, "student": {"labels": name}}


def model(name: str, own: Entry, study: Study, root: Path) -> Entry:
    """A model and its task. own: what is written of it; the rest is as for all models, or usual."""
    given = {**study["model"], **own}
    if "recipe" in own and "augment" not in own:  # what is written of one model counts before what is of all
        given.pop("augment", None)
    if "config" not in given:
        raise UserError(
            f"models.{name}: needs the key 'config' (or give all models one: `model: faster_rcnn_tiny`)"
        )
    given["config"] = model_config.placed(given["config"], study["data"], root, f"models.{name}.config")
    usual = schema.defaults(root, "models")
    given["labelled"] = joined(given.get("labelled", usual["labelled"]))
    task = model_config.task(given["config"], root)
    if "import" in given:
        if unfit := [key for key in own if key not in IMPORTED]:
            raise UserError(f"models.{name}: an imported model is not trained; remove {', '.join(unfit)}")
        start = {"labelled": given["labelled"], "labels": None, "init": "none"}
        return {**start, **{key: given[key] for key in IMPORTED if key in given}, "task": task}
    by_config, role = defaults_of(given["config"], root), "student" if given.get("labels") else "teacher"
    recipe = schema.recipe(root, given.pop("recipe", usual.pop("recipe")))
    result = {"labels": None, **usual, **by_config["model"], **recipe}
    result |= {"iterations": by_config["iterations"][role], **given}
    if "warmup" not in given and result["iterations"] != "auto":
        result["warmup"] = min(result["warmup"], result["iterations"] // 10)
    return {**result, "augment": augment(result["augment"], role, root), "task": task}


def augment(given: str | Entry, role: str, root: Path) -> str | Entry:
    """For each kind of image that a model of the role sees; the schema's default where nothing is changed."""
    usual = schema.defaults(root, "models", "augment")
    each = dict.fromkeys(usual, given) if isinstance(given, str) else {**usual, **given}
    seen = {kind: each[kind] for kind in usual if kind == "labelled" or role == "student"}
    unchanged = schema.defaults(root, "models")["augment"]
    return unchanged if set(map(str, seen.values())) == {unchanged} else seen


def defaults_of(config: str, root: Path) -> Entry:
    """Those of config/models/defaults.yaml for a model config; …_lite2 has those of …_lite."""
    table, name = schema.defaults_by_config(root), config.rstrip("0123456789")
    group = "outside" if model_config.is_outside(config) else name.rpartition("_")[2]
    return {**table["default"], **table.get(group, {}), **table.get(name, {})}


def view_sets(study: Study, root: Path) -> dict[str, list[str]]:
    """Each as the names of its views; those that are not written are by the model config."""
    config = study["model"].get("config") or next(iter(study["models"].values()))["config"]
    usual = defaults_of(config, root)["views"]
    if any("boxes" in entry for entry in study["models"].values()):
        crops = schema.defaults_by_config(root)["crops"]
        usual["crops"] = [
            {"scales": [view["scale"]], **{key: view[key] for key in view if key != "scale"}, **crops}
            for view in usual["plain"]
        ]
    options, result = schema.defaults(root, "views", "views"), {}
    for name, given in {**usual, **study.get("views", {})}.items():
        try:
            result[name] = [view.name for view in expand(given, options)]
        except UserError as error:
            raise UserError(f"views.{name}: {str(error).removeprefix('views: ')}") from None
    return result


def usual_labels(study: Study, root: Path) -> dict[str, Entry]:
    """Those of a study that names none: what its teacher makes of the unlabelled images, if both are there.
    Raises UserError where they are not, and a model learns from it."""
    usual = schema.defaults(root, "labels")
    needed = (("model", usual["teacher"], study["models"]), ("dataset", usual["dataset"], study["datasets"]))
    missing = [part for part in needed if part[1] not in part[2]]
    learners = [name for name, entry in study["models"].items() if entry.get("labels") == "distilled"]
    if missing and learners and "distilled" not in study["datasets"]:
        what, name, known = missing[0]
        need = f"'distilled' is made of the {what} {name!r}, and there is none"
        raise UserError(f"models.{learners[0]}.labels: {need}{suggestion(name, known)}")
    return {} if missing else {"distilled": {}}


def label_set(name: str, own: Entry, study: Study, root: Path) -> Entry:
    """A label set, of teachers or of predictions that are there. own: what is written of it."""
    entry = with_defaults(root, own, "labels")
    if "predictions" in own:
        entry = _predicted(name, own, entry, study, root)
    elif "labelled" in own:
        raise UserError(f"labels.{name}.labelled: is for `predictions`; a teacher has a dataset of its own")
    else:
        teachers = as_list(entry["teacher"])
        entry |= {"teachers": teachers, "teacher": teachers[0]}
        if "views" not in own and "boxes" in study["models"].get(teachers[0], {}):
            entry["views"] = "crops"
    return {**entry, **{key: {**study[key], **entry[key]} for key in ("merge", "calibrate")}}


def _predicted(name: str, own: Entry, entry: Entry, study: Study, root: Path) -> Entry:
    """Without what is of teachers. entry: with all defaults."""
    if unfit := [key for key in OF_TEACHERS if key in own]:
        rest = f"take the place of a teacher; remove {' and '.join(unfit)}"
        raise UserError(f"labels.{name}: predictions {rest}")
    students = [each for each in study["models"].values() if each["labels"] == name]
    usual = {**with_defaults(root, study["model"], "models"), **(students[0] if students else {})}
    return {
        **{key: value for key, value in entry.items() if key not in OF_TEACHERS},
        "teachers": [],
        "predictions": [paths.in_data(path, study["data"]) for path in as_list(own["predictions"])],
        "labelled": own.get("labelled", usual["labelled"]),
        "posed": any(each["task"] == "keypoints" for each in students),
    }
