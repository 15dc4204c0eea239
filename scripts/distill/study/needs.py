"""What tables need: trainings, and passes of a model over a dataset under one view, each in shards."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from distill.study.lineage import lineage, trained
from distill.study.references import boxes_of
from distill.study.types import Calibrate, Labels, Row, Study

VALIDATION_SHARDS = 8  # at most


@dataclass(frozen=True)
class Needs:
    """trainings: models. predictions: (model, dataset, view), where "boxes" is the detection of fixed boxes,
    and view@model one in another model's. Each prediction is a job for each shard."""

    trainings: frozenset[str]
    predictions: frozenset[tuple[str, str, str]]


@dataclass(frozen=True)
class Margin:
    """per_label: boxes for each label that the `labelled` datasets let expect: as many as the study's option
    `per_label` of `fixed_boxes` says, or as calibration asks for where that is more. agnostic_nms: the values
    that calibrations have."""

    per_label: float
    labelled: tuple[str, ...]
    agnostic_nms: tuple[float, ...] = ()


def needs(study: Study, rows: Iterable[Row]) -> Needs:
    """Of rows of the tables of a resolved study, made together from nothing."""
    rows, found = list(rows), set()
    models, labels = lineage(study, [model for row in rows for model in row["models"]])
    made = [study["labels"][name] for name in labels if study["labels"][name]["teachers"]]
    merged = [
        (entry["teachers"], entry["dataset"], entry["views"], entry["merge"]["boxes"]) for entry in made
    ]
    merged += [
        (
            entry["teachers"],
            study["models"][entry["teacher"]]["validation"],
            entry["views"],
            entry["merge"]["boxes"],
        )
        for entry in made
        if entry["calibrate"]["aim"] == "validation"
    ]
    for row in rows:
        boxes = study["merged"][row["views"]]["options"]["boxes"]
        tested = ((model, study["models"][model]["validation"]) for model in row["models"])
        merged += [([model], dataset, row["views"], boxes) for model, dataset in tested]
    for teachers, dataset, views, boxes in merged:
        whole = predicted_as(study, dataset)
        found |= {(model, whole, view) for model, view in merged_from(study, teachers, views, boxes)}
        if owner := boxes_owner(study, teachers, boxes):
            found.add((owner, whole, "boxes"))
    return Needs(frozenset(trained(study, models)), frozenset(found))


def boxes_owner(study: Study, models: Sequence[str], boxes: str) -> str | None:
    """The model whose fixed boxes hold all of the predictions that become one: for heatmaps, and for boxes
    that are averaged, the first model, or the one that finds them for it. boxes: as of `merge`."""
    shared = boxes == "average" or study["models"][models[0]]["task"] == "keypoints"
    return boxes_of(study["models"], models[0]) if shared else None


def merged_from(study: Study, models: Sequence[str], views: str, boxes: str) -> list[tuple[str, str]]:
    """(model, view), or (model, view@owner of the boxes), of the predictions that become one: of each model
    under each view of a set. boxes: as of `merge`."""
    owner = boxes_owner(study, models, boxes)
    keypoints = study["models"][models[0]]["task"] == "keypoints"
    shared = f"@{owner}" if owner else ""
    return [
        (model, view + ("" if keypoints and model == owner else shared))
        for model in models
        for view in study["views"][views]
    ]


def missing_packages(names: Iterable[str]) -> list[str]:
    """Those of some packages that are not installed here."""
    missing = []
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    return missing


def shards_of(study: Study, dataset: str) -> int:
    """Into how many jobs a dataset's predictions under one view are split."""
    labelled = [*(entry["dataset"] for entry in study["labels"].values()), *study["selected"].values()]
    small = dataset in study["evaluate"]["on"] and dataset not in labelled
    return min(study["shards"], VALIDATION_SHARDS) if small else study["shards"]


def margins(study: Study) -> dict[tuple[str, str], Margin]:
    """(model, dataset) → what the model's boxes on it have to suffice for, where keypoints are predicted in
    them and only labels are made of these.

    Not of a dataset that is evaluated on, nor where labels are not calibrated, nor where they are of a part
    that was not drawn at random, whose scores may be unlike those of the whole: there all boxes count.
    """
    models, every = study["models"], set()
    evaluated = {predicted_as(study, name) for name in study["evaluate"]["on"]}
    entries: dict[tuple[str, str], list[Labels]] = {}
    for entry in study["labels"].values():
        dataset = predicted_as(study, entry["dataset"])
        if entry["teachers"] and models[entry["teacher"]]["task"] == "keypoints":
            pair = boxes_of(models, entry["teacher"]), dataset
            entries.setdefault(pair, []).append(entry)
            if entry["dataset"] != dataset and not _at_random(study, entry["dataset"], dataset):
                every.add(pair)
        elif entry["merge"]["boxes"] == "average":  # all boxes count where they are averaged, too
            every |= {(teacher, dataset) for teacher in entry["teachers"]}
    least = study["fixed_boxes"]["per_label"]
    result = {}
    for (model, dataset), mine in entries.items():
        wanted = [least, *(_asked(entry["calibrate"]) for entry in mine)]
        asked = [boxes for boxes in wanted if boxes is not None]
        if len(asked) == len(wanted) and dataset not in evaluated and (model, dataset) not in every:
            labelled = tuple(dict.fromkeys(entry["labelled"] for entry in mine))
            given = (entry["calibrate"]["agnostic_nms"] for entry in mine)
            nms = {value for value in given if value is not None}
            result[model, dataset] = Margin(max(asked), labelled, tuple(sorted(nms)))
    return result


def _at_random(study: Study, part: str, whole: str) -> bool:
    """Whether a subset that shares the predictions of another dataset is drawn from it at random."""
    while part != whole:
        if any(study["datasets"][part].get(key) for key in ("range", "exclude", "annotated", "ids")):
            return False
        part = study["selected"][part]
    return True


def _asked(options: Calibrate) -> float | None:
    """Boxes for each label of the labelled images, those that are neither label nor background included; None
    for all, or where others than these say how many there are."""
    if options["instances"] is None or options["aim"] == "validation":
        return None
    return options["instances"] * (options["ignore"] or 1)


def predicted_as(study: Study, dataset: str) -> str:
    """The dataset whose predictions are those of this one."""
    while dataset in study["selected"]:
        dataset = study["selected"][dataset]
    return dataset
