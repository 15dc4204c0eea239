"""Numbers as people write them."""

import json
from collections.abc import Sequence
from typing import Any


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


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)
