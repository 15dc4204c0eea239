"""The chain of a study as cards: labelled, teacher, unlabelled, labels, student, with counts and times."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from distill.datasets.coco import instances
from distill.report.artifacts import Results
from distill.report.wording import duration, number, plural, ratio
from distill.study.needs import boxes_owner, merged_from, predicted_as

Card = dict[str, Any]


def chains(results: Results) -> list[list[Card]]:
    """For each label set its cards {role, value, unit, lines}."""
    rows = []
    for family, name in results.shown_labels.items():
        labels, student = results.labels[name], results.student(name)
        seen = []
        if labels["teachers"]:
            views = plural(len(results.study["views"][labels["views"]]), "view")
            seen.append(f"seen under {views}")
        rows.append(
            [
                _dataset(results, "labelled images", labels["labelled"]),
                *(_model(results, _role(results, one), one) for one in labels["teachers"]),
                _dataset(results, "unlabelled images", labels["dataset"], *seen),
                *([] if labels["teachers"] else [_given(labels["predictions"])]),
                _labels(results, family, name),
                *([_model(results, "student", student)] if student else []),
            ]
        )
    return rows


def _role(results: Results, teacher: str) -> str:
    return "student as teacher" if results.models[teacher]["labels"] else "teacher"


def _dataset(results: Results, role: str, name: str, *notes: str) -> Card:
    dataset = results.dataset(name)
    lines = [results.family(name), *notes]
    if dataset and dataset["annotations"]:
        lines.append(plural(len(instances(dataset)), "instance"))
    lines += _times(read=results.seconds("datasets", name))
    value = number(len(dataset["images"])) if dataset else None
    return {"role": role, "value": value, "unit": "images", "lines": lines}


def _model(results: Results, role: str, name: str) -> Card:
    model, ap, validation = results.models[name], results.ap(name), results.models[name]["validation"]
    lines = [results.family(name), model["config"]]
    if "import" in model:
        lines.append(f"imported from {model['import']['format']}")
    elif isinstance(model["iterations"], int):
        lines.append(plural(model["iterations"], "iteration"))
    if model["labels"]:
        lines.append(f"labelled : generated {ratio(model['ratio'])}")
    run: Mapping[str, Any] = results.run(name) or {}
    tested = _sum(
        results.seconds(stage, name, validation) for stage in ("predictions", "merged", "evaluation")
    )
    lines += _times(trained=run.get("seconds"), tested=tested)
    unit = f"AP on {results.family(validation)}"
    return {"role": role, "value": None if ap is None else f"{ap:.1f}", "unit": unit, "lines": lines}


def _given(files: Sequence[str]) -> Card:
    """What other programs predicted, in the place of a teacher."""
    lines = [PurePath(file).name for file in files]
    return {
        "role": "other programs' predictions",
        "value": number(len(files)),
        "unit": "files",
        "lines": lines,
    }


def _labels(results: Results, family: str, name: str) -> Card:
    thresholds = results.thresholds(name)
    entries = list(thresholds["instances"].values()) if thresholds else []
    lines = [family]
    if entries and all(entry["aimed"] is not None for entry in entries):
        lines.append(f"aimed at {number(sum(entry['aimed'] for entry in entries))}")
    if len(entries) == 1 and entries[0]["threshold"] is not None:
        lines.append(f"score ≥ {entries[0]['threshold']:.3f}")
    elif len(entries) > 1:
        lines.append(f"{len(entries)} categories")
    labels = results.labels[name]
    if teachers := labels["teachers"]:
        dataset = predicted_as(results.study, labels["dataset"])
        boxes = labels["merge"]["boxes"]
        places = merged_from(results.study, teachers, labels["views"], boxes)
        if owner := boxes_owner(results.study, teachers, boxes):  # its boxes were found first
            places += [(owner, "boxes"), (owner, "detected")]
        lines += _times(
            predicted=_sum(results.seconds("predictions", model, dataset, place) for model, place in places),
            merged=results.seconds("merged", labels["together"], labels["dataset"], labels["merged"]),
        )
    lines += _times(calibrated=results.seconds("labels", name))
    value = number(sum(entry["met"] for entry in entries)) if entries else None
    return {"role": "generated labels", "value": value, "unit": "labels", "lines": lines}


def _sum(times: Any) -> float | None:
    known = [time for time in times if time is not None]
    return sum(known) if known else None


def _times(**seconds: float | None) -> list[str]:
    return [f"{what} in {duration(time)}" for what, time in seconds.items() if time is not None]
