"""Files that are whole or absent: everything is written to a temporary name and renamed."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill.program import UserError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path next to `path`; renames it to `path` on success, removes it on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: str | Path) -> Any:
    """Parses a JSON file. Raises UserError where it is missing or not JSON."""
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a JSON file ({error})") from None


def _encode(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "), allow_nan=False)


def _lines(items: Iterable[Any]) -> Iterator[str]:
    """A JSON list, one item a line, without holding it in memory."""
    separator = "[\n"
    for item in items:
        yield separator + _encode(item)
        separator = ",\n"
    yield "[]" if separator == "[\n" else "\n]"


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file that people can read and `git diff`.

    A list, or a dict whose values are lists or iterators of records, gets one record a line; iterators are
    streamed. Deterministic: keys keep the order of the dict.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        if isinstance(value, dict):
            separator = "{\n"
            for key, item in value.items():
                file.write(f"{separator}{_encode(key)}: ")
                separator = ",\n"
                if isinstance(item, Iterable) and not isinstance(item, (str, dict)) and _holds_records(item):
                    file.writelines(_lines(item))
                else:
                    file.write(_encode(item))
            file.write("{}\n" if separator == "{\n" else "\n}\n")
        elif isinstance(value, Iterable) and not isinstance(value, str):
            file.writelines(_lines(value))
            file.write("\n")
        else:
            file.write(_encode(value) + "\n")


def _holds_records(item: Iterable[Any]) -> bool:
    return not isinstance(item, (list, tuple)) or any(isinstance(x, (dict, list)) for x in item)
