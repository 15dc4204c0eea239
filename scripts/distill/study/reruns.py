"""What decides what a job makes: the options that Snakemake compares; a change of others runs nothing again.

Options of trainings and merges that are at their defaults are left out: a new one makes nothing again.
"""

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.study.resolve import training
from distill.study.schema import defaults

OF_KEYPOINTS = ("average", "size_dependent", "plain", "upsample")  # merge options; the others are of boxes
OF_ROWS = ("name", "views", "x", "evaluations")

Options = dict[str, Any]


def of_dataset(spec: Mapping[str, Any]) -> Options:
    """Not how many images may be unreadable."""
    return {key: spec[key] for key in sorted(spec) if key != "unreadable"}


def of_training(model: Mapping[str, Any], root: Path) -> Options:
    """Not how often checkpoints are written. root: the project's folder, for the defaults."""
    usual, mine = defaults(root, "models"), sorted(training(model).items())
    return {key: value for key, value in mine if key != "checkpoint_every" and usual.get(key) != value}


def of_merge(options: Mapping[str, Any], task: str, root: Path) -> Options:
    """The options that matter for the task."""
    usual = defaults(root, "labels", "merge")
    mine = {key: value for key, value in options.items() if (key in OF_KEYPOINTS) == (task == "keypoints")}
    return {key: value for key, value in mine.items() if usual.get(key) != value}


def of_table(table: Mapping[str, Any]) -> Options:
    """What its numbers and words are made from; its plot is made from them."""
    rows = [{key: row[key] for key in OF_ROWS if key in row} for row in table["rows"]]
    return {key: table[key] for key in table if key != "plot"} | {"rows": rows}


def config_files(path: str, root: Path) -> list[str]:
    """A model config and the files of this project that it is based on, relative to the project's folder."""
    bases = [
        ast.literal_eval(line.value)
        for line in ast.parse((root / path).read_text()).body
        if isinstance(line, ast.Assign) and getattr(line.targets[0], "id", "") == "_base_"
    ]
    files = [path]
    for base in bases[0] if bases and isinstance(bases[0], list) else bases:
        if "::" not in base:  # there it is of an installed package
            files += config_files(os.path.normpath(os.path.join(os.path.dirname(path), base)), root)
    return list(dict.fromkeys(files))
