"""review.csv and next.csv as other programs read them: people may have edited them."""

from pathlib import Path

import pandas as pd

from distill.files import open_file
from distill.program import UserError, cause

NUMBERS, TEXT = "number", "text"
REVIEW = dict(
    doubt=NUMBERS, kind=TEXT, label=NUMBERS, image_id=NUMBERS, file_name=TEXT, category=TEXT,
    score=NUMBERS, x=NUMBERS, y=NUMBERS, width=NUMBERS, height=NUMBERS,
    views=NUMBERS, overlap=NUMBERS, keypoint=TEXT, spread=NUMBERS,
)  # fmt: skip
ALWAYS = ("image_id", "label", "doubt", "score", "x", "y", "width", "height")  # there in every row
NEXT = dict(image_id=NUMBERS, file_name=TEXT, mistakes=NUMBERS, labels=NUMBERS, distance=NUMBERS)


def read_review(path: str | Path) -> pd.DataFrame:
    """The rows of review.csv in its order. Raises UserError where it is missing or damaged."""
    return _read(path, REVIEW)


def read_next(path: str | Path) -> pd.DataFrame:
    """The rows of next.csv in its order. Raises UserError where it is missing or damaged."""
    return _read(path, NEXT)


def _read(path: str | Path, columns: dict[str, str]) -> pd.DataFrame:
    try:
        with open_file(path) as file:
            table = pd.read_csv(file, dtype=str, keep_default_na=False)
        table = table[list(columns)]
        for name, kind in columns.items():
            if kind == NUMBERS:
                table[name] = pd.to_numeric(table[name].replace("", None))
        if table[[c for c in ALWAYS if c in columns]].isna().any(axis=None):
            raise ValueError("a number is missing")
        whole = [c for c in ("image_id", "label", "labels") if c in columns]
        if (table[whole] % 1 != 0).any(axis=None):
            raise ValueError("a number is not whole")
        table = table.astype(dict.fromkeys(whole, "int64"))
    except (ValueError, KeyError) as error:
        reason = cause(error)[:120]
        raise UserError(
            f"{path}: is damaged, or another file ({reason}); remove it to have it made again"
        ) from None
    return table
