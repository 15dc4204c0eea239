"""How a model is used on images of anybody's: under which views, merged how, in whose boxes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from distill import ROOT, strict
from distill.files import read_json
from distill.predictions.merge import Options
from distill.predictions.views import View
from distill.program import UserError
from distill.study.schema import defaults, suggestion


class _Merged(msgspec.Struct):
    views: str
    options: dict[str, Any]


class _Study(msgspec.Struct):
    """All that is taken of study.json."""

    views: dict[str, list[str]]
    merged: dict[str, _Merged]
    fixed_boxes: dict[str, Any]
    models: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class Plan:
    """How images are predicted.

    views: whose predictions are merged.
    options: of merging.
    plain: the view that fixed boxes are detected in.
    fixed_boxes: min_score, per_image.
    boxes: the folder of the model that finds the instances of a pose estimator.
    """

    views: tuple[View, ...]
    options: Options
    plain: View
    fixed_boxes: dict[str, Any]
    boxes: Path | None = None


def plan_of(model: Path, views: Sequence[str] | str | None, boxes: str | Path | None = None) -> Plan:
    """What the model's study says, of study.json two folders above; without one, the defaults.

    views: the name of one of the study's view sets, or names of views; of these the first is the plain one.
        None: what models are evaluated under where nothing is said.
    boxes: the folder of the model that finds a pose estimator's instances; None: the study's, if it says so.

    Raises UserError for an unknown name.
    """
    for name in ("model.pth", "config.py"):
        if not (model / name).is_file():
            raise UserError(f"{model}: not the folder of a model: there is no {name} in it")
    views = [views] if isinstance(views, str) else views or defaults(ROOT, "study", "evaluate")["views"]
    model = Path(os.path.abspath(model))  # without .., and with links as they are
    path = model.parent.parent / "study.json"
    study = None
    if path.is_file():
        study = msgspec.convert(read_json(path, like=_Study), _Study)
    if study and len(views) == 1 and (merged := study.merged.get(views[0])):
        plain, given = View.parse(study.views["plain"][0]), merged.options
        parsed = tuple(map(View.parse, study.views[merged.views]))
    else:
        try:
            parsed = tuple(map(View.parse, views))
        except UserError as error:
            where = f"the view sets of {path}: {', '.join(study.merged)}" if study else ""
            hint = f"or one of {where}{suggestion(views[0], study.merged)}" if study else _missing(path)
            raise UserError(f"{error}, {hint}") from None
        usual = study.merged["plain"].options if study else defaults(ROOT, "labels", "merge")
        plain = parsed[0]
        given = {**usual, "plain": plain.scale}
    if twice := [view.name for i, view in enumerate(parsed) if view in parsed[:i]]:
        raise UserError(f"the view {twice[0]} is given twice")
    options = strict.options(Options, given, str(path))
    if not options.serves_all_sizes(parsed):
        options = Options(**{**given, "size_dependent": None})
    limits = study.fixed_boxes if study else defaults(ROOT, "study", "fixed_boxes")
    if boxes is None and study and (finder := study.models.get(model.name, {}).get("boxes")):
        boxes = model.with_name(finder)
    return Plan(parsed, options, plain, limits, Path(boxes) if boxes else None)


def _missing(path: Path) -> str:
    return (
        f"and there is no {path} with view sets; name views, or make it: snakemake --configfile … -- {path}"
    )
