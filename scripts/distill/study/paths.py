"""The texts of a configuration become parts of paths and of commands: what cannot work there is refused."""

import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from distill.program import UserError
from distill.study.references import STARTS
from distill.study.types import Study

OF_DATASETS = ("annotations", "images", "videos", "ids")


def checked(config: Mapping[str, Any]) -> dict[str, Any]:
    """A valid configuration with the home folder in the place of a leading ~ of its paths.

    Raises UserError for a path that Snakemake, a shell or a program would take for something else.
    """
    copy = deepcopy(dict(config))
    for where, holder, key in _paths(copy):
        holder[key] = os.path.expanduser(holder[key])
        if holder[key].startswith("-") and key in ("results", "data"):
            hint = f"write './{holder[key]}'"
            raise UserError(f"{where}: {holder[key]!r} looks like an option of a program; {hint}")
        if key == "results":  # one way to write it, since Snakemake compares texts
            path = os.path.normpath(holder[key])
            holder[key] = f"./{path}" if path.startswith("-") else path
            if ", " in path:
                raise UserError(f"results: {path!r} has ', ', at which lists of files are split; rename it")
        given = holder[key].replace("{seed}", "") if key == "ids" else holder[key]
        # Of an annotation file, the folder of the images is no input of a job.
        if set("{}") & set(given) and not (key == "images" and "annotations" in holder):
            raise UserError(
                f"{where}: {holder[key]!r} has braces, which Snakemake takes for wildcards; rename it"
            )
    return copy


def in_data(path: str, data: str) -> str:
    """A path that starts in the folder `data`, from the current folder on."""
    return os.path.normpath(os.path.join(data, path))


def check_results(folder: str) -> None:
    """Raises UserError where a folder of results can be neither made nor written into."""
    path = os.path.abspath(folder)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise UserError(f"results: {path} is not a folder; choose another place or name")
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"results: nothing may be written into {path}; choose another place")


def check_checkpoints(study: Study) -> None:
    """Raises UserError where a checkpoint that a model is, or starts from, is missing: Snakemake forgives
    that of a model that is there, and then sees no other change of it."""
    fetched = [
        in_data(path, study["data"]) for one in study["downloads"].values() for path in one["contents"]
    ]
    for name, model in study["models"].items():
        for key in ("import", "init"):
            given: Any = model.get(key)
            path = given["checkpoint"] if isinstance(given, dict) else given
            if path is None or path in STARTS or path in study["models"]:
                continue
            made = any(Path(path).is_relative_to(place) for place in (study["results"], *fetched))
            if not made and not os.path.exists(path):
                raise UserError(f"models.{name}.{key}: {path}: no such file")


def _paths(config: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Where a path stands in the configuration, the mapping or list that it stands in, and its key there."""
    yield from ((key, config, key) for key in ("results", "data") if key in config)
    for name, spec in config["datasets"].items():
        for key in OF_DATASETS:
            if isinstance(spec.get(key), str):
                yield f"datasets.{name}.{key}", spec, key
    for name, labels in config.get("labels", {}).items():
        where, files = f"labels.{name}.predictions", labels.get("predictions", [])
        if isinstance(files, str):
            yield where, labels, "predictions"
        else:
            yield from ((f"{where}.{i}", files, i) for i in range(len(files)))
    models = {f"models.{name}": model for name, model in config.get("models", {}).items()}
    models |= {"model": config["model"]} if isinstance(config.get("model"), dict) else {}
    for where, model in models.items():
        if str(model.get("config", "")).endswith(".py"):
            yield f"{where}.config", model, "config"
        if isinstance(model.get("init"), dict):
            yield f"{where}.init.checkpoint", model["init"], "checkpoint"
        elif "init" in model:
            yield f"{where}.init", model, "init"
        if "import" in model:
            yield f"{where}.import.checkpoint", model["import"], "checkpoint"
