"""The tables of a study: which rows they have, and that what they name is there."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from distill.program import UserError
from distill.strict import as_list
from distill.study import schema
from distill.study.references import known
from distill.study.types import Row, Study, Table


def tables(study: Mapping[str, Any], root: Path) -> dict[str, Table]:
    """Of a study whose options are filled in, with a row for each model and view set; what rows have of each
    seed is missing. root: the project's folder, for the defaults."""
    usual = schema.defaults(root, "tables")
    given = study.get("tables", {"results": {"rows": _all_rows(study)}})
    return {name: _table(f"tables.{name}", {**usual, **table}, study) for name, table in given.items()}


def find_evaluations(study: Study) -> None:
    """Gives the rows of a study that is repeated over its seeds the paths of their evaluations."""
    folder = f"{study['results']}/evaluation"
    for table in study["tables"].values():
        for row in table["rows"]:
            row["evaluations"] = [
                f"{folder}/{model}/{study['models'][model]['validation']}/{row['views']}.json"
                for model in row["models"]
            ]


def _all_rows(study: Mapping[str, Any]) -> list[dict[str, str]]:
    """Every model but those that only give others boxes, and teachers also under the views that made their
    labels."""
    serving = {model["boxes"] for model in study["models"].values() if "boxes" in model}
    teachers = {teacher for entry in study["labels"].values() for teacher in entry["teachers"]}
    rows = [{"model": model} for model in study["models"] if model not in serving - teachers]
    for entry in study["labels"].values():
        for teacher in entry["teachers"]:
            row = {"model": teacher, "views": entry["views"]}
            if row not in rows and entry["views"] not in study["evaluate"]["views"]:
                rows.insert(rows.index({"model": teacher}) + 1, row)
    return rows


def _table(where: str, table: dict[str, Any], study: Mapping[str, Any]) -> Table:
    rows: dict[str, Row] = {}
    for row in _rows(f"{where}.rows", table["rows"], study):
        if row["name"] in rows:
            twice = f"two rows are called {row['name']!r}; give one of them another name"
            raise UserError(f"{where}.rows: {twice}")
        rows[row["name"]] = row
    tasks = {study["models"][row["model"]]["task"] for row in rows.values()}
    if len(tasks) > 1:
        hint = "" if "tables" in study else "; write `tables`, one of each"
        raise UserError(f"{where}.rows: models of boxes and of keypoints do not go into one table{hint}")
    _check_names(where, table, rows)
    _check_plot(where, table, rows)
    return cast(Table, {"task": tasks.pop(), **table, "rows": list(rows.values())})


def _rows(where: str, given: Iterable[str | dict[str, Any]], study: Mapping[str, Any]) -> Iterable[Row]:
    usual = study["evaluate"]["views"]
    for entry in given:
        row = {"model": entry} if isinstance(entry, str) else entry
        known(row["model"], study["models"], where, "model")
        for views in [row["views"]] if "views" in row else usual:
            known(views, study["views"], where, "view set")
            name = row.get("name", row["model"])
            if views != usual[0] and not ("name" in row and "views" in row):
                name = f"{name} ({views})"
            x = {"x": row["x"]} if "x" in row else {}
            yield cast(Row, {"name": name, "model": row["model"], "views": views, **x})


def _check_names(where: str, table: Mapping[str, Any], rows: Mapping[str, Row]) -> None:
    """That what the table says of rows is said of rows that there are."""
    for key, names in table.get("gap", {}).items():
        for name in as_list(names):
            known(name, rows, f"{where}.gap.{key}", "row")
    if "gap" in table:
        baselines, students, (upper,) = (
            as_list(table["gap"][key]) for key in ("baseline", "student", "upper")
        )
        if upper in [*baselines, *students] or set(students) <= set(baselines):
            raise UserError(
                f"{where}.gap: {upper if upper in baselines else students[0]} is compared with itself"
            )
    for name in table["reference"]:
        known(name, rows, f"{where}.reference", "row")
    for system, numbers in table["published"].items():
        for name in numbers:
            known(name, rows, f"{where}.published.{system}", "row")
    for name, gain in table["gains"].items():
        known(name, rows, f"{where}.gains", "row")
        known(gain["over"], rows, f"{where}.gains.{name}.over", "row")
    for row in rows.values():
        if isinstance(x := row.get("x"), str):
            known(x, rows, f"{where}.rows: x of {row['name']}", "row")


def _check_plot(where: str, table: Mapping[str, Any], rows: Mapping[str, Row]) -> None:
    if "plot" not in table:
        return
    if "AP" not in table.get("metrics", ["AP"]):
        raise UserError(f"{where}.plot: is of AP, which is not among the metrics; add it")
    if not any("x" in row for row in rows.values()):
        raise UserError(f"{where}.plot: no row has an x")
    if "baseline" in table["plot"]:
        known(table["plot"]["baseline"], rows, f"{where}.plot.baseline", "row")
