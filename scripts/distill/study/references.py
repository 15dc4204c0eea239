"""References within a study: every name stands for something, and nothing is made from itself."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from distill.program import UserError
from distill.strict import as_list
from distill.study.schema import suggestion
from distill.study.types import Dataset, Import, Labels, Model

STARTS = ("pretrained", "none")  # of a training that begins with no model
MadeFrom = dict[str, list[str]]  # of each dataset, model and label set, those that it is made from


def known(name: str, names: Iterable[str], where: str, what: str) -> None:
    """Raises UserError, at `where`, for the name of a `what` that is none of the names."""
    if name not in (names := list(names)):
        raise UserError(f"{where}: there is no {what} {name!r}{suggestion(name, names)}")


def sources(spec: Dataset) -> list[str]:
    """The datasets that a dataset is made from."""
    options: Mapping[str, Any] = spec
    named = [options[key] for key in ("of", "exclude") if key in options]
    return [name for value in named for name in as_list(value)]


def check(study: Mapping[str, Any]) -> None:
    """References, cycles, and what must fit together, of a study whose options are filled in."""
    datasets, models, labels, views = (study[key] for key in ("datasets", "models", "labels", "views"))
    needs = _of_datasets(datasets)
    needs |= _of_labels(labels, datasets, models, views)
    needs |= _of_models(models, datasets, labels)
    _acyclic(needs)
    _evaluation(study["evaluate"], datasets, models, views)
    _shared_boxes(study)
    _shards(study)


def boxes_of(models: Mapping[str, Model], name: str) -> str:
    """The model in whose boxes one predicts keypoints: its own, but for a pose estimator's."""
    return models[name].get("boxes", name)


def _of_datasets(datasets: Mapping[str, Dataset]) -> MadeFrom:
    for name, spec in datasets.items():
        for source in sources(spec):
            known(source, datasets, f"datasets.{name}", "dataset")
    return {
        f"datasets.{name}": [f"datasets.{source}" for source in sources(spec)]
        for name, spec in datasets.items()
    }


def _of_labels(
    labels: Mapping[str, Labels],
    datasets: Mapping[str, Dataset],
    models: Mapping[str, Model],
    views: Mapping[str, list[str]],
) -> MadeFrom:
    for name, entry in labels.items():
        for teacher in entry["teachers"]:
            known(teacher, models, f"labels.{name}.teacher", "model")
        known(entry["dataset"], datasets, f"labels.{name}.dataset", "dataset")
        if "predictions" in entry:
            known(entry["labelled"], datasets, f"labels.{name}.labelled", "dataset")
            continue
        known(entry["views"], views, f"labels.{name}.views", "view set")
        if len({models[teacher]["task"] for teacher in entry["teachers"]}) > 1:
            both = "teachers of boxes and of keypoints do not make one label set"
            raise UserError(f"labels.{name}.teacher: {both}")
    return {
        f"labels.{name}": [
            f"models.{model}"
            for teacher in entry["teachers"]
            for model in {teacher: None, boxes_of(models, teacher): None}
        ]
        for name, entry in labels.items()
    }


def _of_models(
    models: Mapping[str, Model], datasets: Mapping[str, Dataset], labels: Mapping[str, Labels]
) -> MadeFrom:
    needs: MadeFrom = {}
    for name, model in models.items():
        known(model["labelled"], datasets, f"models.{name}.labelled", "dataset")
        known(boxes_of(models, name), models, f"models.{name}.boxes", "model")
        needs[f"models.{name}"] = _start(name, model["init"], models)
        if not (learnt := model["labels"]):
            continue
        if learnt in labels:
            needs[f"models.{name}"].append(f"labels.{learnt}")
            teacher = labels[learnt].get("teacher")
            if teacher and model["task"] == "keypoints" != models[teacher]["task"]:
                boxes = f"a keypoint model cannot learn from {teacher}, which predicts boxes only"
                raise UserError(f"models.{name}: {boxes}")
        else:
            known(learnt, [*labels, *datasets], f"models.{name}.labels", "label set")
    return needs


def _start(name: str, init: str | Import, models: Mapping[str, Model]) -> list[str]:
    """The model that one starts from, if it is one."""
    if not isinstance(init, str):  # a published checkpoint
        return []
    if init in STARTS:
        if init in models:
            raise UserError(f"models.{init}: means another start of a training; choose another name")
        return []
    if init in models:
        return [f"models.{init}"]
    if "/" not in init and not init.endswith((".pth", ".pt", ".safetensors")):  # a path
        known(init, [*STARTS, *models], f"models.{name}.init", "model")
    return []


def _acyclic(needs: MadeFrom) -> None:
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise UserError(f"a cycle, each made from the next: {' → '.join(reversed(error.args[1]))}") from None


def _evaluation(
    evaluate: Mapping[str, Any],
    datasets: Mapping[str, Dataset],
    models: Mapping[str, Model],
    views: Mapping[str, list[str]],
) -> None:
    for name, model in models.items():
        if model["task"] not in evaluate["on"]:
            raise UserError(f"evaluate.on: says nothing of {model['task']}, which {name} predicts")
    for name in evaluate["on"].values():
        known(name, datasets, "evaluate.on", "dataset")
    for name in evaluate["views"]:
        known(name, views, "evaluate.views", "view set")


def _shared_boxes(study: Mapping[str, Any]) -> None:
    """They are detected under the plain view, which therefore is one."""
    merged = [study["merge"], *(entry["merge"] for entry in study["labels"].values())]
    averaged = any(options["boxes"] == "average" for options in merged)
    keypoints = any(model["task"] == "keypoints" for model in study["models"].values())
    if len(study["views"]["plain"]) != 1 and (averaged or keypoints):
        what = "shared boxes" if averaged else "boxes of keypoint models"
        raise UserError(f"views.plain: must be a single view, since the {what} are detected under it")


def _shards(study: Mapping[str, Any]) -> None:
    shards, kept = study["shards"], study["keep_heatmaps"]
    for shard in kept if isinstance(kept, list) else []:
        if shard >= shards:
            raise UserError(f"keep_heatmaps: there is no shard {shard}; shards are 0 to {shards - 1}")
