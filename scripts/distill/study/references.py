"""References within a study: every name stands for something, and nothing is made from itself."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from distill.program import UserError
from distill.study.schema import suggestion


def known(name: str, names: Iterable[str], where: str, what: str) -> None:
    if name not in (names := list(names)):
        raise UserError(f"{where}: there is no {what} {name!r}{suggestion(name, names)}")


def sources(spec: Mapping[str, Any]) -> list[str]:
    """The datasets that a dataset is made from."""
    named = [spec.get("of", []), spec.get("exclude", [])]
    return [name for value in named for name in ([value] if isinstance(value, str) else value)]


def check(study: dict[str, Any]) -> None:
    """References, cycles, and what must fit together."""
    datasets, models, labels, views = (study[key] for key in ("datasets", "models", "labels", "views"))
    needs: dict[str, list[str]] = {}
    for name, spec in datasets.items():
        for source in sources(spec):
            known(source, datasets, f"datasets.{name}", "dataset")
        needs[f"datasets.{name}"] = [f"datasets.{source}" for source in sources(spec)]
    for name, entry in labels.items():
        for teacher in entry["teachers"]:
            known(teacher, models, f"labels.{name}.teacher", "model")
        known(entry["dataset"], datasets, f"labels.{name}.dataset", "dataset")
        known(entry["views"], views, f"labels.{name}.views", "view set")
        if len({models[teacher]["task"] for teacher in entry["teachers"]}) > 1:
            raise UserError(
                f"labels.{name}.teacher: teachers of boxes and of keypoints do not make one label set"
            )
        entry["labelled"] = models[entry["teacher"]]["labelled"]
        needs[f"labels.{name}"] = [f"models.{teacher}" for teacher in entry["teachers"]]
    for name, model in models.items():
        known(model["labelled"], datasets, f"models.{name}.labelled", "dataset")
        needs[f"models.{name}"] = [f"models.{model['init']}"] if model["init"] in models else []
        if model["init"] not in (*models, "pretrained", "none") and not _is_path(model["init"]):
            known(model["init"], ["pretrained", "none", *models], f"models.{name}.init", "model")
        if model["labels"] and (model["labels"] in labels or model["labels"] not in datasets):
            known(model["labels"], [*labels, *datasets], f"models.{name}.labels", "label set")
            needs[f"models.{name}"].append(f"labels.{model['labels']}")
            teacher = labels[model["labels"]]["teacher"]
            if model["task"] == "keypoints" != models[teacher]["task"]:
                raise UserError(
                    f"models.{name}: a keypoint model cannot learn from {teacher}, which predicts boxes only"
                )
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise UserError(f"a cycle, each made from the next: {' → '.join(reversed(error.args[1]))}") from None
    for name, model in models.items():
        if model["task"] not in study["evaluate"]["on"]:
            raise UserError(f"evaluate.on: says nothing of {model['task']}, which {name} predicts")
    for name in study["evaluate"]["on"].values():
        known(name, datasets, "evaluate.on", "dataset")
    for name in study["evaluate"]["views"]:
        known(name, views, "evaluate.views", "view set")
    averaged = "average" in (
        options["boxes"] for options in (study["merge"], *(e["merge"] for e in labels.values()))
    )
    if len(views["plain"]) != 1 and (averaged or any(m["task"] == "keypoints" for m in models.values())):
        what = "shared boxes" if averaged else "boxes of keypoint models"
        raise UserError(f"views.plain: must be a single view, since the {what} are detected under it")
    for shard in study["keep_heatmaps"] if isinstance(study["keep_heatmaps"], list) else []:
        if shard >= study["shards"]:
            raise UserError(
                f"keep_heatmaps: there is no shard {shard}; shards are 0 to {study['shards'] - 1}"
            )


def _is_path(text: str) -> bool:
    return "/" in text or text.endswith((".pth", ".pt"))
