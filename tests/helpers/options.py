"""Options as the workflow gives them to programs, all of them: what a test leaves out is the schema's."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.study.resolve import TRAINING_OPTIONS
from distill.study.schema import defaults, documents
from helpers import ROOT

if TYPE_CHECKING:
    from distill.labels import calibrate
    from distill.predictions import merge, views


def merge_options(**options: Any) -> "merge.Options":
    from distill.predictions.merge import Options

    return Options(**{**defaults(ROOT, "labels", "merge"), "plain": 800, **options})


def calibrate_options(**options: Any) -> "calibrate.Options":
    from distill.labels.calibrate import Options

    return Options(**{**defaults(ROOT, "labels", "calibrate"), **options})


def fixed_boxes(**options: Any) -> dict[str, Any]:
    return {**defaults(ROOT, "study", "fixed_boxes"), **options}


def as_json(options: "merge.Options | calibrate.Options") -> str:
    """For `--options`."""
    return json.dumps(asdict(options))


def training_options(**options: Any) -> dict[str, Any]:
    """Of a student where `options` has a ratio, else of a teacher."""
    usual = {key: value for key, value in defaults(ROOT, "models").items() if key in TRAINING_OPTIONS}
    if options.get("iterations", "auto") != "auto":
        usual["warmup"] = options["iterations"] // 10  # as of a study
    return {**usual, **options}


def table_spec(**options: Any) -> dict[str, Any]:
    return {**defaults(ROOT, "tables"), **options}


def dataset_spec(kind: str, **options: Any) -> dict[str, Any]:
    definitions = documents(ROOT)["datasets"]["$defs"]
    usual = defaults(ROOT, "datasets", kind) if kind in definitions else {}
    usual.pop("share_predictions", None)  # says who predicts it, not what it is
    if "unreadable" in definitions.get(kind, {"properties": ()})["properties"]:
        usual["unreadable"] = defaults(ROOT, "study")["unreadable"]
    return {"kind": kind, **usual, **options}


def build(
    name: str, spec: dict[str, Any], sources: dict[str, dict], images_dir: Path | None = None
) -> dict[str, Any]:
    """A dataset, by `distill.datasets.kinds`."""
    from distill.datasets import kinds

    return kinds.build(name, dataset_spec(**spec), sources, images_dir)


def generate(images_dir: Path, images: int, seed: int, **options: Any) -> dict[str, Any]:
    """Generated images, by `distill.datasets.figures`."""
    from distill.datasets import figures

    usual = {key: value for key, value in dataset_spec("figures").items() if key in ("size", "style")}
    return figures.generate(images_dir, images, seed, **{**usual, **options})


def expand(spec: Any) -> "list[views.View]":
    """The views of an entry of the configuration."""
    from distill.predictions import views

    return views.expand(spec, defaults(ROOT, "views", "views"))
