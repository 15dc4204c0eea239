"""The file of calibrated thresholds, as every program reads it: people may have edited it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from distill.datasets.checks import Id, Number
from distill.files import check
from distill.program import UserError
from distill.strict import read_json

Count = Id  # a whole number from 0


class _Threshold(msgspec.Struct):
    """As `calibrate.Threshold`."""

    threshold: Number | None
    aimed: Count | None
    met: Count
    candidates: Count
    short: bool
    mean_labelled: Number
    mean_met: Number


class _OfCategory(_Threshold):
    """ignored_from: candidates from this score on that are no labels are no background either. raised:
    whether the threshold is that of other categories, since this one is rare."""

    name: str
    ignored_from: Number | msgspec.UnsetType | None = msgspec.UNSET
    raised: bool = False


class _Thresholds(msgspec.Struct):
    instances: dict[str, _OfCategory]
    keypoints: _Threshold | None
    images: dict[str, int]
    agnostic_nms: Annotated[float, msgspec.Meta(gt=0, le=1)] | msgspec.UnsetType | None = msgspec.UNSET


def read_thresholds(path: str | Path) -> dict[str, Any]:
    """The content of thresholds.json; `instances` by category id. Raises UserError where it is damaged."""
    thresholds = check(path, read_json(path), _Thresholds)
    if odd := [key for key in thresholds["instances"] if not key.isdecimal()]:
        raise UserError(f"{path}: the thresholds are by the ids of categories, and {odd[0]!r} is none")
    return thresholds


def suppression(thresholds: Mapping[str, Any]) -> dict[str, Any]:
    """How candidates of several categories suppressed each other when they were calibrated: arguments of
    `candidate_blocks`. Labels can have the categories of which something is labelled."""
    if (nms := thresholds.get("agnostic_nms")) is None:
        return {"agnostic_nms": None}
    possible = {int(key) for key, entry in thresholds["instances"].items() if entry["mean_labelled"] > 0}
    return {"agnostic_nms": nms, "possible": possible}


def limits(thresholds: dict[str, Any]) -> tuple[dict[int, float], dict[int, float]]:
    """Category id → the score from which a candidate is a label, and that from which it is written at all:
    below the first as what is to be ignored."""
    label, lowest = {}, {}
    for key, entry in thresholds["instances"].items():
        least, ignored = entry["threshold"], entry.get("ignored_from")
        label[int(key)] = least = np.inf if least is None else least
        lowest[int(key)] = least if ignored is None else min(least, ignored)
    return label, lowest
