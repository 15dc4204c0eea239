"""What is measured: the names of the metrics, and the file of an evaluation as tables and report read it."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from distill.files import read_json
from distill.program import UserError

# The order of COCOeval.stats; AR1, AR10, AR100: at most so many detections per image.
METRICS = {
    "boxes": ["AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "AR100", "ARS", "ARM", "ARL"],
    "keypoints": ["AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"],
}
# The columns of a table that names none.
USUAL = {
    "boxes": ["AP", "AP50", "AP75", "APS", "APM", "APL"],
    "keypoints": ["AP", "AP50", "AP75", "APM", "APL"],
}

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Block(msgspec.Struct, kw_only=True):
    """Of one task: each metric, where there are objects to measure it on."""

    AP: Share
    precision: dict[str, list[Share]] = {}
    per_category: dict[str, Share | None] = {}
    resampled: list[Share | None] = []
    AP50: Share | None = None
    AP75: Share | None = None
    APS: Share | None = None
    APM: Share | None = None
    APL: Share | None = None
    AR: Share | None = None
    AR1: Share | None = None
    AR10: Share | None = None
    AR100: Share | None = None
    AR50: Share | None = None
    AR75: Share | None = None
    ARS: Share | None = None
    ARM: Share | None = None
    ARL: Share | None = None


class _Evaluation(_Block, kw_only=True):
    """The metrics of its task are also those of the whole."""

    model: str
    dataset: str
    views: str
    images: int
    predictions: int
    task: Literal["boxes", "keypoints"]
    boxes: _Block
    keypoints: _Block | None = None


def read_evaluation(path: str | Path) -> dict[str, Any]:
    """The content of …/{model}/{dataset}/{views}.json. Raises UserError where it is damaged, contradicts
    itself, or is of something else than its place says."""
    evaluation = read_json(path, like=_Evaluation)
    for key, name in zip(("model", "dataset", "views"), Path(path).with_suffix("").parts[-3:], strict=True):
        if evaluation[key] != name:
            what = f"it is of the {key.removesuffix('s')} {evaluation[key]!r}, not of {name!r}"
            raise UserError(f"{path}: is another evaluation: {what}; remove it to have it made again")
    task = evaluation["task"]
    block = evaluation.get(task) or {}
    if any(evaluation.get(metric) != block.get(metric) for metric in METRICS[task]):
        raise UserError(f"{path}: contradicts itself on {task}; remove it to have it made again")
    return evaluation
