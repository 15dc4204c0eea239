"""What decides what a job makes: the options that Snakemake compares; a change of others runs nothing again.

A job is given all options. Those at the schema's defaults are not compared: a new one makes nothing again.
Neither does a default that is changed, so whoever changes one raises the stage's version in rules/common.smk.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.study.model_config import packaged
from distill.study.resolve import training
from distill.study.schema import defaults
from distill.study.types import Calibrate, Dataset, MergeOfViews, Model, Study, Table, Task

OF_KEYPOINTS = ("average", "size_dependent", "plain", "upsample")  # merge options; the others are of boxes
UNSEEN = ("checkpoint_every", "tracking")  # of a training, in what it makes
ELSEWHERE = ("device", "threads")  # of a study, in its results
OF_ROWS = ("name", "views", "x", "evaluations")
# These were compared at their defaults too before others were left out, and results are there that say so.
CALIBRATE = ("instances", "per", "keypoints", "score_floor", "agnostic_nms")
TABLE = ("reference", "gains")

Options = dict[str, Any]


def of_dataset(spec: Dataset, root: Path) -> Options:
    """Not how many images may be unreadable. root: the project's folder, for the defaults."""
    mine = _unusual(spec, defaults(root, "datasets", spec["kind"]))
    return {key: mine[key] for key in sorted(mine) if key != "unreadable"}


def of_training(model: Model, root: Path, how: Mapping[str, Any]) -> Options:
    """Not how often checkpoints are written, nor where the training can be watched; of boxes not what is done
    with instances without keypoints. Of a config from outside, with a digest of what packages have of it; its
    other files are inputs of the job.

    how: the training is validated. It decides which weights are the best.
    """
    mine = _unusual(training(model), defaults(root, "models"))
    if model["task"] == "boxes":
        mine.pop("unposed", None)
    if digest := packaged(model["config"], root):
        mine["packaged"] = digest
    if model["keep"] == "best":
        mine["how"] = json.dumps(of_validation(how, model["task"], root))
    return dict(sorted(seen(mine).items()))


def of_validation(how: Mapping[str, Any], task: Task, root: Path) -> Options:
    """How a training of a task is validated; other options of `how` have no part in it."""
    mine = {"views": how["views"], "merge": of_merge(how["merge"], task, root)}
    fixed = task == "keypoints" or how["merge"]["boxes"] == "average"
    return mine | ({"fixed_boxes": how["fixed_boxes"]} if fixed else {})


def seen(options: Mapping[str, Any], *others: str) -> Options:
    """The options that have a part in what a training makes. others: more that have none."""
    return {key: value for key, value in options.items() if key not in (*UNSEEN, *others)}


def of_merge(options: MergeOfViews, task: Task, root: Path) -> Options:
    """The options that matter for the task."""
    mine = _merging(options, root)
    return {key: value for key, value in mine.items() if (key in OF_KEYPOINTS) == (task == "keypoints")}


def of_calibration(options: Calibrate, root: Path) -> Options:
    """The first ones, and of those that came later what is not as by default: a new option reruns nothing."""
    return _unusual(options, defaults(root, "labels", "calibrate"), CALIBRATE)


def of_table(table: Table, root: Path) -> Options:
    """What its numbers and words are made from; its plot is made from them."""
    rows = [{key: value for key, value in row.items() if key in OF_ROWS} for row in table["rows"]]
    mine = _unusual(table, defaults(root, "tables"), TABLE)
    return {key: mine[key] for key in mine if key != "plot"} | {"rows": rows}


def of_study(study: Study, root: Path) -> str:
    """A digest of the resolved study, for the report."""
    datasets = {
        name: _unusual(spec, defaults(root, "datasets", spec["kind"]))
        for name, spec in study["datasets"].items()
    }
    merge, calibrate = (defaults(root, "labels", group) for group in ("merge", "calibrate"))
    merged = {
        name: {**entry, "options": _merging(entry["options"], root)}
        for name, entry in study["merged"].items()
    }
    usual = {key: defaults(root, key) for key in ("models", "tables")}
    models = {
        name: seen(_unusual(model, usual["models"]), "gpus", "nodes")
        for name, model in study["models"].items()
    }
    tables = {name: _unusual(table, usual["tables"]) for name, table in study["tables"].items()}
    labels = {
        name: {
            **entry,
            "merge": _unusual(entry["merge"], merge),
            "calibrate": _unusual(entry["calibrate"], calibrate),
        }
        for name, entry in study["labels"].items()
    }
    parts = {"datasets": datasets, "merged": merged, "models": models, "tables": tables, "labels": labels}
    content = json.dumps({key: {**study, **parts}[key] for key in study if key not in ELSEWHERE})
    return hashlib.sha256(content.encode()).hexdigest()


def _merging(options: MergeOfViews, root: Path) -> Options:
    """The merge options that matter."""
    mine = _unusual(options, defaults(root, "labels", "merge"))
    if options["size_dependent"] is None:
        del mine["plain"]
    return mine


def _unusual(options: Mapping[str, Any], usual: Mapping[str, Any], always: tuple[str, ...] = ()) -> Options:
    """The options that differ from their defaults, or have none, and those that are always compared."""
    return {
        key: value
        for key, value in options.items()
        if key in always or key not in usual or value != usual[key]
    }
