"""Tables of results: mean ± spread over seeds or folds, the paper's numbers, the share of the gap closed.

All AP are in percent here; evaluations hold fractions. A number that no evaluation gave stays empty.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from distill.evaluation import resampling
from distill.evaluation.metrics import USUAL
from distill.program import UserError
from distill.strict import as_list

PAPER_GAP = 100 * (60.2 - 54.9) / (65.1 - 54.9)  # Data Distillation, table 1a: 52%
LEAST_GAP = 1.0  # AP in percent: of a smaller gap, noise would decide the share


@dataclass(frozen=True)
class Gap:
    """The share of the supervised gap that the student closes, in percent, for each seed (or fold).

    shares: (student − baseline) / (upper − baseline), NaN where upper is not `LEAST_GAP` above it.
    baseline: name of the baseline row whose mean AP is the highest.
    of_means: the same share, of mean APs. low, high: ends of its interval over images and seeds (or folds).
    over: seeds or folds.
    """

    baseline: str
    student: str
    upper: str
    shares: np.ndarray
    of_means: float
    low: float
    high: float
    over: str


@dataclass(frozen=True)
class Table:
    """frame: a row for each row of the spec, with the columns of `build`. metrics: those of them that are
    metrics. gaps: one for each student that the spec names. over: seeds or folds, of which the means are."""

    frame: pd.DataFrame
    metrics: list[str]
    gaps: list[Gap]
    over: str


def deviation(values: np.ndarray) -> float:
    """Sample standard deviation; NaN for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def _numbers(row: dict[str, Any], evaluations: dict[str, Any], block: str, metric: str) -> np.ndarray:
    """(seeds,) one metric in percent; NaN where COCO defines none (without an object of that size, say).
    block: the task that it is of."""
    values = []
    for path in row["evaluations"]:
        metrics = evaluations[path].get(block)
        if metrics is None:
            raise UserError(f"table row {row['name']}: {path} has no evaluation of {block}")
        if metric not in metrics:
            raise UserError(f"table row {row['name']}: no {metric} in {path}, only {', '.join(metrics)}")
        values.append(np.nan if metrics[metric] is None else 100 * metrics[metric])
    return np.array(values, float)


def _resampled(row: dict[str, Any], evaluations: dict[str, Any], task: str) -> np.ndarray:
    """(seeds or folds, resamples) AP in percent, NaN where there is none; older evaluations have none."""
    found = [evaluations[path].get(task, {}).get("resampled") or [] for path in row["evaluations"]]
    least = min(map(len, found))
    return 100 * np.array([aps[:least] for aps in found], float).reshape(len(found), least)


def _means(spec: dict[str, Any], row: dict[str, Any], evaluations: dict[str, Any]) -> np.ndarray:
    """(resamples,) what the mean AP of a row may be, over seeds or folds and images."""
    resample = resampling.folds_too if _over(spec) == "folds" else resampling.seeds_too
    return resample(_resampled(row, evaluations, spec["task"]))


def _over(spec: dict[str, Any]) -> str:
    return str(spec.get("over", "seeds"))


def build(spec: dict[str, Any], evaluations: dict[str, dict[str, Any]]) -> Table:
    """The table of a resolved spec. Its columns are:

    - row, views, seeds or folds (their number), and x if a row has one
    - each metric and its spread ("AP", "AP sd"); for keypoints "box AP" likewise
    - "AP low" and "AP high": the interval of the mean over images and seeds or folds (`resampling`)
    - "AP reference" and "AP difference" of metrics with references
    - "AP of {system}" for each that has published some
    - in rows that have a gain: "gain", its spread and interval, "gain over" (a row), "gain reference low" and
      "high" (the paper's range) and "gain difference" (from that range, 0 within it)
    - in rows of the gap's students: "gap closed", its spread, the interval of the share of the means, and the
      paper's share

    spec: rows, task, reference, published, gains, and optionally metrics, gap and over (folds, if not seeds).
    evaluations: content by path; exactly those that the rows name, one for each seed or fold of a row.

    Raises UserError for a missing, superfluous or unfitting evaluation, or a name that is no row's.
    """
    # A model that all seeds or folds share has one evaluation: it is compared with those of each.
    rows = [{**row, "evaluations": list(dict.fromkeys(row["evaluations"]))} for row in spec["rows"]]
    spec, task = {**spec, "rows": rows}, spec["task"]
    named = {path for row in rows for path in row["evaluations"]}
    for path in sorted(named ^ set(evaluations)):
        raise UserError(f"table: evaluation {path} is {'missing' if path in named else 'in no row'}")
    for row in rows:
        if not row["evaluations"]:
            raise UserError(f"table row {row['name']} has no evaluations")
    metrics = spec.get("metrics") or USUAL[task]
    columns = [(metric, task, metric) for metric in metrics]
    if task == "keypoints":
        columns.append(("box AP", "boxes", "AP"))
    reference = _references(spec, [column for column, _, _ in columns])

    records = []
    for row in rows:
        record = {"row": row["name"], "views": row["views"], _over(spec): len(row["evaluations"])}
        if any("x" in row for row in rows):
            x = row.get("x", np.nan)
            record["x"] = _ap(spec, x, evaluations).mean() if isinstance(x, str) else x
        for column, block, metric in columns:
            values = _numbers(row, evaluations, block, metric)
            record |= {column: values.mean(), f"{column} sd": deviation(values)}
            if column == "AP":
                means = _means(spec, row, evaluations)
                record["AP low"], record["AP high"] = resampling.interval(means, values.mean())
            if any(column in numbers for numbers in reference.values()):
                number = reference.get(row["name"], {}).get(column, np.nan)
                record |= {f"{column} reference": number, f"{column} difference": values.mean() - number}
        record |= {
            f"AP of {system}": aps.get(row["name"], np.nan) for system, aps in spec["published"].items()
        }
        if gain := spec["gains"].get(row["name"]):
            record |= _gain(row["name"], gain, spec, evaluations)
        records.append(record)
    frame = pd.DataFrame(records)
    gaps = _gaps(spec, evaluations) if spec.get("gap") else []
    for gap in gaps:
        student = frame["row"] == gap.student
        frame.loc[student, "gap closed"] = gap.shares.mean()
        frame.loc[student, "gap closed sd"] = deviation(gap.shares)
        frame.loc[student, ["gap closed low", "gap closed high"]] = gap.low, gap.high
        frame.loc[student, "gap closed in the paper"] = PAPER_GAP
    return Table(frame, [column for column, _, _ in columns], gaps, _over(spec))


def _references(spec: dict[str, Any], columns: list[str]) -> dict[str, dict[str, float]]:
    """Row → column → number."""
    result = {}
    for name, numbers in spec["reference"].items():
        _row(spec["rows"], name)
        result[name] = numbers if isinstance(numbers, dict) else {"AP": numbers}
        for column in result[name]:
            if column not in columns:
                raise UserError(f"table: the reference of {name} is of {column}, which is no column")
    return result


def _gain(name: str, gain: dict[str, Any], spec: dict[str, Any], evaluations: dict[str, Any]) -> dict:
    """The gain columns of one row: of pairs of seeds or folds if both have as many, else of the means."""
    rows = [_row(spec["rows"], each) for each in (name, gain["over"])]
    ours, others = (_numbers(row, evaluations, spec["task"], "AP") for row in rows)
    gains = ours - others if _paired(ours, others) else np.array([ours.mean() - others.mean()])
    result = {"gain": gains.mean(), "gain sd": deviation(gains), "gain over": gain["over"]}
    ours, others = (_means(spec, row, evaluations) for row in rows)
    if ours.shape == others.shape:
        result["gain low"], result["gain high"] = resampling.interval(ours - others, gains.mean())
    if "reference" in gain:
        low, high = sorted(np.broadcast_to(gain["reference"], 2).tolist())
        difference = gains.mean() - np.clip(gains.mean(), low, high)
        result |= {"gain reference low": low, "gain reference high": high, "gain difference": difference}
    return result


def _ap(spec: dict[str, Any], name: str, evaluations: dict[str, Any]) -> np.ndarray:
    """AP of the row of that name, for each seed or fold."""
    return _numbers(_row(spec["rows"], name), evaluations, spec["task"], "AP")


def _paired(*values: np.ndarray) -> bool:
    """Whether values are of the same seeds or folds, or some of a model that all of these share."""
    return len({len(each) for each in values} - {1}) <= 1


def _row(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = [row for row in rows if row["name"] == name]
    if len(found) != 1:
        raise UserError(f"table: {name} must be the name of one row, not of {len(found)}")
    return found[0]


def _gaps(spec: dict[str, Any], evaluations: dict[str, Any]) -> list[Gap]:
    named = spec["gap"]
    baselines = {name: _ap(spec, name, evaluations) for name in as_list(named["baseline"])}
    best = max(baselines, key=lambda name: baselines[name].mean())
    baseline, upper = baselines[best], _ap(spec, named["upper"], evaluations)

    def share(baseline: np.ndarray, student: np.ndarray, upper: np.ndarray) -> np.ndarray:
        room = upper - baseline
        return 100 * (student - baseline) / np.where(room >= LEAST_GAP, room, np.nan)

    gaps = []
    for name in as_list(named["student"]):
        student = _ap(spec, name, evaluations)
        if not _paired(baseline, student, upper):
            raise UserError(f"table: {best}, {name} and {named['upper']} must have the same {_over(spec)}")
        of_means = float(share(baseline.mean(), student.mean(), upper.mean()))
        rows = [_row(spec["rows"], row) for row in (best, name, named["upper"])]
        means = [_means(spec, row, evaluations) for row in rows]
        shares, alike = share(baseline, student, upper), len({each.shape for each in means}) == 1
        low, high = resampling.interval(share(*means), of_means) if alike else (np.nan, np.nan)
        gaps.append(Gap(best, name, named["upper"], shares, of_means, low, high, _over(spec)))
    return gaps
