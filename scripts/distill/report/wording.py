"""What a page shows as text: Markdown tables taken apart, numbers as people write them."""

import re
from collections.abc import Sequence
from typing import Any

from distill.evaluation.tables import unescape


def parse_table(markdown: str) -> dict[str, Any]:
    """A Markdown table and the paragraphs after it, as {header, rows, notes}.

    header: (text, whether the column is of numbers).
    rows: cells {text, right, bar}; bar: the AP of the row as a share of the highest AP, None in other
        columns.

    Raises ValueError for rows of several lengths.
    """
    lines = [line.strip() for line in markdown.splitlines()]
    grid = [_cells(line) for line in lines if line.startswith("|")]
    header, alignment, *rows = grid if len(grid) >= 2 else ([], [])
    if any(len(row) != len(header) for row in (alignment, *rows)):
        raise ValueError("its rows are of several lengths")
    right = [cell.endswith(":") for cell in alignment]
    ap = header.index("AP") if "AP" in header else None
    values = [_leading(row[ap]) if ap is not None else None for row in rows]
    top = max((value for value in values if value is not None), default=0)
    cells = [
        [
            {"text": text, "right": right[i], "bar": value / top if i == ap and value and top > 0 else None}
            for i, text in enumerate(row)
        ]
        for row, value in zip(rows, values, strict=True)
    ]
    notes = [unescape(line) for line in lines if line and not line.startswith("|")]
    return {"header": list(zip(header, right, strict=True)), "rows": cells, "notes": notes}


def _cells(line: str) -> list[str]:
    inner = re.split(r"(?<!\\)\|", line)[1:-1]
    return [unescape(cell.strip()) for cell in inner]


def _leading(cell: str) -> float | None:
    """The number that a cell such as "47.1 ± 0.4" begins with."""
    try:
        return float(cell.split(" ")[0])
    except ValueError:
        return None


def number(value: float | None, digits: int = 0) -> str:
    """1234567 → 1 234 567, with thin spaces; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", "\u202f")


def signed(value: float, digits: int) -> str:
    """+1.5, −0.3."""
    return f"{value:+.{digits}f}".replace("-", "−")


def plural(count: int, noun: str) -> str:
    """A count with its noun: 1 image, 2 images."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """93784 → "1 d 2 h"; the two largest units."""
    if seconds is None:
        return "–"
    parts: list[str] = []
    rest = round(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def ratio(parts: Sequence[float]) -> str:
    """[6, 4] → "6 : 4"."""
    return " : ".join(f"{part:g}" for part in parts)
