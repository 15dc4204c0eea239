"""Files that are whole or absent: everything is written to a temporary name and renamed."""

import codecs
import fcntl
import glob
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from distill.program import UserError, log

ABANDONED = 600  # seconds after which a half-written file that nobody has touched is one of a killed process


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


def remove_abandoned(path: str | Path) -> None:
    """Removes what processes that were killed have written of a file. For large ones: it lists the folder."""
    path = Path(path)
    for half in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):
            if time.time() - half.stat().st_mtime > ABANDONED:
                half.unlink()


@contextmanager
def locked(path: str | Path, task: str, wait: bool) -> Iterator[None]:
    """Keeps other processes off a task by a lock on a file, which is not removed.

    task: what they may be at, for messages: "is training in …".
    wait: whether the end of another one is waited for. Else it raises UserError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise UserError(
                    f"another process {task}; wait for its end, or end it, and run again"
                ) from None
            log.warning("another process %s; waiting for its end", task)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks
            log.warning(
                "%s cannot be locked (%s); make sure that no other process %s", path, error.strerror, task
            )
        yield


def write_text(path: str | Path, text: str) -> None:
    """In UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def open_file(path: str | Path) -> BinaryIO:
    """Opens a file to be read. Raises UserError for what is missing or forbidden, and for folders, pipes,
    sockets and devices: reading these might never end."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"{path}: is not a file")
        return open(path, "rb")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def read_bytes(path: str | Path) -> bytes:
    """The content of a file. Raises UserError as `open_file`."""
    with open_file(path) as file:
        return file.read()


def read_json(path: str | Path, like: Any = None) -> Any:
    """Parses a JSON file of ours; those that people write are for `strict`.

    like: a type, as of msgspec, that the content has to have; its checks are made, the content stays what it
    is. Raises UserError where the file is missing, damaged or something else.
    """
    value = parse_json(path, read_bytes(path))
    return value if like is None else check(path, value, like)


def parse_json(path: str | Path, content: bytes) -> Any:
    """What the JSON of a file says. Raises UserError where it is none."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file ({reason(content, error)})") from None


def check(path: str | Path, value: Any, like: Any) -> Any:
    """The content of a file as it is. Raises UserError where it is not of a type, as of msgspec."""
    try:
        msgspec.convert(value, like)
    except msgspec.ValidationError as error:
        hint = "mend it, or remove it to have it made again"
        raise UserError(f"{path}: is damaged, or another file ({said(error)}); {hint}") from None
    return value


def said(error: msgspec.ValidationError) -> str:
    """What msgspec says, within a sentence."""
    return str(error)[0].lower() + str(error)[1:]


def reason(content: bytes, error: Exception) -> str:
    """Why text is no JSON, in one line; Python's own reader says where it stopped."""
    endless: list[str] = []
    try:
        json.loads(content, parse_constant=endless.append)
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as found:  # also of an encoding, and of a number of thousands of digits
        error, endless = found, []
    if endless:
        return "a number is not finite"
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "it begins with a byte order mark; save it in UTF-8 without one"
    return " ".join(str(error).split(";")[0].split())


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
    remove_abandoned(path)
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
