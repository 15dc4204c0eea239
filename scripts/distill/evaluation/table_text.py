"""Tables of results for people: percent with one decimal, and what is said below them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distill.evaluation import resampling
from distill.evaluation.tables import LEAST_GAP, PAPER_GAP, Gap, Table, deviation
from distill.files import write_text


def as_text(table: Table) -> tuple[list[str], list[list[str]]]:
    """The columns for people, and the cells of each row: percent with one decimal, "mean ± sd [interval]"."""
    beside = ("", " reference", " difference")
    columns = ["row", "views", table.over, "x"]
    columns += [f"{m}{what}" for m in (*table.metrics, "gain") for what in beside]
    columns += [column for column in table.frame if column.startswith("AP of ")]
    shown = {*table.frame.columns, *(["gain reference"] if "gain reference low" in table.frame else [])}
    columns = [column for column in columns if column in shown]

    def cell(record: dict[str, Any], column: str) -> str:
        if column in ("row", "views", table.over):
            return str(record[column])
        if column == "gain reference":
            low, high = (record[f"{column} {end}"] for end in ("low", "high"))
            return "" if np.isnan(low) else f"{low:+.1f}" if low == high else f"{low:+.1f} to {high:+.1f}"
        if np.isnan(record[column]):
            return ""
        if column == "x":
            return f"{record[column]:.4g}"
        spread = record.get(f"{column} sd", np.nan)
        sign = "+" if column.startswith("gain") or column.endswith("difference") else ""
        said = f"{record[column]:{sign}.1f}" + ("" if np.isnan(spread) else f" ± {spread:.1f}")
        ends = [record.get(f"{column} {end}", np.nan) for end in ("low", "high")]
        return said if np.isnan(ends).any() else f"{said} [{ends[0]:{sign}.1f}, {ends[1]:{sign}.1f}]"

    return columns, [
        [cell(record, column) for column in columns] for record in table.frame.to_dict("records")
    ]


def notes(table: Table) -> list[str]:
    """What is said below it: what its numbers are, and a sentence on each gap."""
    text = "Percent"
    several = (table.frame[table.over] > 1).any()
    if several:
        text += f"; mean ± standard deviation over the {table.over}"
    if table.frame.get("AP low", pd.Series(dtype=float)).notna().any():
        over = f"images and {table.over}" if several else "images"
        text += f"; [{resampling.CONFIDENCE}% interval over {over}, paired in gains and shares]"
    if "gain" in table.frame:
        pairs = table.frame.dropna(subset="gain")[["row", "gain over"]].itertuples(index=False)
        text += "; gain in AP: " + ", ".join(f"{row} over {other}" for row, other in pairs)
    return [f"{text}.", *map(describe, table.gaps)]


def markdown(table: Table) -> str:
    """The table and its notes."""
    columns, rows = as_text(table)
    ruled = [columns, ["---"] * 2 + ["---:"] * (len(columns) - 2), *(map(escape, row) for row in rows)]
    lines = "".join(f"| {' | '.join(line)} |\n" for line in ruled)
    return lines + "".join(f"\n{escape(note)}\n" for note in notes(table))


def escape(text: str) -> str:
    """In one line of Markdown, which neither ends a cell nor is HTML."""
    return re.sub(r"([\\|<])", r"\\\1", " ".join(text.split()))


def describe(gap: Gap) -> str:
    """One sentence on the share of the gap closed, with the paper's beside it."""
    what = f"Share of the gap from {gap.baseline} to {gap.upper} that {gap.student} closes"
    ends = "" if np.isnan(gap.low) else f" [{gap.low:.0f}%, {gap.high:.0f}%]"
    if np.isnan(gap.shares).any():
        empty = f"{np.isnan(gap.shares).sum()} of {len(gap.shares)} {gap.over}"
        stated = "none to state" if np.isnan(gap.of_means) else f"of the mean APs {gap.of_means:.0f}%{ends}"
        return f"{what}: {stated}; in {empty} {gap.upper} is not {LEAST_GAP:g} AP above {gap.baseline}."
    spread = deviation(gap.shares)
    if np.isnan(spread):
        return f"{what}: {gap.shares[0]:.0f}%{ends} (paper: {PAPER_GAP:.0f}%)."
    each = ", ".join(f"{share:.0f}%" for share in gap.shares)
    return (
        f"{what}: {gap.shares.mean():.0f}% ± {spread:.0f} "
        f"({gap.over}: {each}; of the mean APs: {gap.of_means:.0f}%{ends}; paper: {PAPER_GAP:.0f}%)."
    )


def write(table: Table, output: str | Path) -> None:
    """Writes `output` (CSV, full precision) and the Markdown of the same name beside it."""
    output = Path(output)
    write_text(output, table.frame.to_csv(index=False))
    write_text(output.with_suffix(".md"), markdown(table))
