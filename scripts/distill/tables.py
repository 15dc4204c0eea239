"""Tables of results: mean ± spread over seeds, the paper's numbers beside them, the share of the gap closed.

All AP are in percent here; evaluations hold fractions. A number that no evaluation gave stays empty.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distill.files import replacing
from distill.program import UserError

METRICS = {
    "boxes": ["AP", "AP50", "AP75", "APS", "APM", "APL"],
    "keypoints": ["AP", "AP50", "AP75", "APM", "APL"],
}
PAPER_GAP = 100 * (60.2 - 54.9) / (65.1 - 54.9)  # Data Distillation, table 1a: 52%


@dataclass(frozen=True)
class Gap:
    """The share of the supervised gap that the student closes, in percent, for each seed.

    shares: (student − baseline) / (upper − baseline), NaN where upper is not above baseline.
    baseline: name of the baseline row whose mean AP is the highest. of_means: the same share, of mean APs.
    """

    baseline: str
    student: str
    upper: str
    shares: np.ndarray
    of_means: float


@dataclass(frozen=True)
class Table:
    """frame: a row for each row of the spec (see `build`). gap: None where the spec asks for none."""

    frame: pd.DataFrame
    metrics: list[str]
    gap: Gap | None


def _spread(values: np.ndarray) -> float:
    """Sample standard deviation; NaN for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def _numbers(row: dict[str, Any], evaluations: dict[str, Any], block: str, metric: str) -> np.ndarray:
    """One metric in percent for each seed, NaN where COCO defines none (no object of that size, say)."""
    values = []
    for path in row["evaluations"]:
        metrics = evaluations[path].get(block)
        if metrics is None:
            raise UserError(f"table row {row['name']}: {path} has no evaluation of {block}")
        if metric not in metrics:
            raise UserError(f"table row {row['name']}: no {metric} in {path}, only {', '.join(metrics)}")
        values.append(np.nan if metrics[metric] is None else 100 * metrics[metric])
    return np.array(values, float)


def build(spec: dict[str, Any], evaluations: dict[str, dict[str, Any]]) -> Table:
    """The table of a resolved spec: rows, and optionally task, metrics, reference, gap.

    evaluations: content by path; exactly those that the rows name, one for each seed of a row. Columns: row,
    views, seeds (their number), each metric and its spread ("AP", "AP sd"), for keypoints "box AP" likewise,
    then reference and difference where the spec has references, and "gap closed", its spread and
    the paper's share in the student's row where it has a gap. Raises UserError for a missing, superfluous or
    unfitting evaluation, or a name that is no row's.
    """
    rows, task = spec["rows"], spec.get("task", "boxes")
    named = {path for row in rows for path in row["evaluations"]}
    for path in sorted(named ^ set(evaluations)):
        raise UserError(f"table: evaluation {path} is {'missing' if path in named else 'in no row'}")
    for row in rows:
        if not row["evaluations"]:
            raise UserError(f"table row {row['name']} has no evaluations")
    metrics = spec.get("metrics") or METRICS[task]
    columns = [(metric, task, metric) for metric in metrics]
    if task == "keypoints":
        columns.append(("box AP", "boxes", "AP"))
    reference = spec.get("reference") or {}
    for name in reference:
        _row(rows, name)

    records = []
    for row in rows:
        record = {"row": row["name"], "views": row.get("views", ""), "seeds": len(row["evaluations"])}
        for column, block, metric in columns:
            values = _numbers(row, evaluations, block, metric)
            record |= {column: values.mean(), f"{column} sd": _spread(values)}
        if reference:
            record["reference"] = reference.get(row["name"], np.nan)
            record["difference"] = _numbers(row, evaluations, task, "AP").mean() - record["reference"]
        records.append(record)
    frame, gap = pd.DataFrame(records), None
    if spec.get("gap"):
        gap = _gap(spec["gap"], rows, evaluations, task)
        student = frame["row"] == gap.student
        frame.loc[student, "gap closed"] = gap.shares.mean()
        frame.loc[student, "gap closed sd"] = _spread(gap.shares)
        frame.loc[student, "gap closed in the paper"] = PAPER_GAP
    return Table(frame, [column for column, _, _ in columns], gap)


def _row(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = [row for row in rows if row["name"] == name]
    if len(found) != 1:
        raise UserError(f"table: {name} must be the name of one row, not of {len(found)}")
    return found[0]


def _gap(spec: dict[str, Any], rows: list[dict[str, Any]], evaluations: dict[str, Any], task: str) -> Gap:
    def ap(name: str) -> np.ndarray:
        return _numbers(_row(rows, name), evaluations, task, "AP")

    names = [spec["baseline"]] if isinstance(spec["baseline"], str) else spec["baseline"]
    baselines = {name: ap(name) for name in names}
    best = max(baselines, key=lambda name: baselines[name].mean())
    baseline, student, upper = baselines[best], ap(spec["student"]), ap(spec["upper"])
    if not len(baseline) == len(student) == len(upper):
        raise UserError(f"table: {best}, {spec['student']} and {spec['upper']} must have the same seeds")

    def share(baseline: np.ndarray, student: np.ndarray, upper: np.ndarray) -> np.ndarray:
        room = upper - baseline
        return 100 * (student - baseline) / np.where(room > 0, room, np.nan)

    of_means = float(share(baseline.mean(), student.mean(), upper.mean()))
    return Gap(best, spec["student"], spec["upper"], share(baseline, student, upper), of_means)


def markdown(table: Table) -> str:
    """The table for people: percent with one decimal, "mean ± sd" in a cell, and a line on the gap."""
    columns = ["row", "views", "seeds", *table.metrics]
    columns += [name for name in ("reference", "difference") if name in table.frame]

    def cell(record: dict[str, Any], column: str) -> str:
        if column in ("row", "views", "seeds"):
            return str(record[column]).replace("|", "\\|")
        if np.isnan(record[column]):
            return ""
        spread = record.get(f"{column} sd", np.nan)
        sign = "+" if column == "difference" else ""
        return f"{record[column]:{sign}.1f}" + ("" if np.isnan(spread) else f" ± {spread:.1f}")

    lines = [columns, ["---"] * 2 + ["---:"] * (len(columns) - 2)]
    lines += [[cell(record, column) for column in columns] for record in table.frame.to_dict("records")]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    text += "\nPercent"
    if (table.frame["seeds"] > 1).any():
        text += "; mean ± standard deviation over the seeds"
    return text + ".\n" + (f"\n{describe(table.gap)}\n" if table.gap else "")


def describe(gap: Gap) -> str:
    """One sentence on the share of the gap closed, with the paper's beside it."""
    what = f"Share of the gap from {gap.baseline} to {gap.upper} that {gap.student} closes"
    if np.isnan(gap.shares).any():
        empty = f"{np.isnan(gap.shares).sum()} of {len(gap.shares)} seeds"
        return f"{what}: none to state; in {empty} {gap.upper} is not above {gap.baseline}."
    spread = _spread(gap.shares)
    if np.isnan(spread):
        return f"{what}: {gap.shares[0]:.0f}% (paper: {PAPER_GAP:.0f}%)."
    seeds = ", ".join(f"{share:.0f}%" for share in gap.shares)
    return (
        f"{what}: {gap.shares.mean():.0f}% ± {spread:.0f} "
        f"(seeds: {seeds}; of the mean APs: {gap.of_means:.0f}%; paper: {PAPER_GAP:.0f}%)."
    )


def write(table: Table, output: str | Path) -> None:
    """Writes `output` (CSV, full precision) and the Markdown of the same name beside it."""
    output = Path(output)
    with replacing(output) as temporary:
        table.frame.to_csv(temporary, index=False)
    with replacing(output.with_suffix(".md")) as temporary:
        temporary.write_text(markdown(table), encoding="utf-8")
