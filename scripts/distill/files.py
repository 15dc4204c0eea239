"""Files that are whole or absent: everything is written to a temporary name and renamed."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

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
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # Python's reader is slower, but takes the NaN of other tools, and says in which line it stopped
    try:
        return json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a JSON file ({error})") from None


_strict = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _encode(value: Any) -> bytes:
    """One line of JSON. Raises ValueError for NaN and infinities."""
    if isinstance(value, msgspec.Raw):
        return bytes(value)
    try:
        text = msgspec.json.encode(value)  # faster than Python's, in files of millions of records
    except TypeError:  # NumPy's numbers
        return _strict(value).encode()
    if b"null" in text:  # which NaN is written as, too
        _strict(value)
    return text


def _lines(items: Iterable[Any]) -> Iterator[bytes]:
    """A JSON list, one item a line, without holding it in memory."""
    separator = b"[\n"
    for item in items:
        yield separator + _encode(item)
        separator = b",\n"
    yield b"[]" if separator == b"[\n" else b"\n]"


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file that people can read and `git diff`.

    A list, or a dict whose values are lists or iterators of records, gets one record a line; iterators are
    streamed; msgspec.Raw records are written as they are. Deterministic: keys keep the order of the dict.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        if isinstance(value, dict):
            separator = b"{\n"
            for key, item in value.items():
                file.write(separator + _encode(key) + b": ")
                separator = b",\n"
                if isinstance(item, Iterable) and not isinstance(item, (str, dict)) and _holds_records(item):
                    file.writelines(_lines(item))
                else:
                    file.write(_encode(item))
            file.write(b"{}\n" if separator == b"{\n" else b"\n}\n")
        elif isinstance(value, Iterable) and not isinstance(value, str):
            file.writelines(_lines(value))
            file.write(b"\n")
        else:
            file.write(_encode(value) + b"\n")


def _holds_records(item: Iterable[Any]) -> bool:
    return not isinstance(item, (list, tuple)) or any(isinstance(x, (dict, list)) for x in item)
