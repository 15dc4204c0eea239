"""The tables' language, and the judge of what comes of an input.

    EDIT; EDIT => PART OF THE MESSAGE
    EDIT => ok
    EDIT => ok EXPRESSION OF it

EDIT is `PATH = VALUE`, `PATH += VALUE` (of a list) or `del PATH`. A path goes down by keys and numbers between
dots; * is every one. VALUE is a Python expression with JSON's constants, and `old`, the value there before.
"""

import copy
import json
import math
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from distill.program import UserError

SECONDS = 30  # for one input, on a busy machine
LONGEST = 600  # characters of a message
NAMES = {"true": True, "false": False, "null": None, "nan": math.nan, "inf": math.inf}


class Hang(BaseException):
    """Took longer than any input may; no `except Exception` on the way can hide it."""


@contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(make: Callable[[], Any]) -> tuple[str | None, Any]:
    """(message, None) of an input that is refused, (None, result) of one that is not."""
    try:
        with limited():
            return None, make()
    except UserError as error:
        message = str(error)
    except Hang:
        pytest.fail(f"no answer in {SECONDS} s")
    assert message
    assert "\n" not in message
    assert len(message) <= LONGEST, message
    message.encode()  # can be printed
    return message, None


def judge(expected: str, make: Callable[[], Any], where: str = "") -> None:
    """Fails unless the outcome is what stands after =>. where: what a message must name, a file say."""
    message, it = outcome(make)
    ok, _, rule = expected.partition(" ")
    if ok != "ok":
        assert message is not None, f"accepted, as {str(it)[:300]}"
        assert expected in message, message
        assert where in message, message
    else:
        assert message is None, message
        assert not rule or eval(rule, {**NAMES, "it": it}), f"not so: {rule}, of {str(it)[:1000]}"


def table(text: str) -> list[Any]:
    """The cases of a table, (edits, expected) each; # begins a comment line."""
    cases = []
    for line in text.strip().splitlines():
        if line.strip() and not line.startswith("#"):
            edits, arrow, expected = line.partition("=>")
            assert arrow, line
            cases.append(pytest.param(edits.strip(), expected.strip(), id=re.sub(r"\s+", " ", line)[:90]))
    return cases


def edited(data: Any, edits: str, **names: Any) -> Any:
    """A copy of JSON data with the edits made. names: what values may use."""
    data = copy.deepcopy(data)
    for edit in filter(None, map(str.strip, edits.split("; "))):
        if edit.startswith("del "):
            for holder, key in _places(data, edit.removeprefix("del ")):
                del holder[key]
            continue
        path, operator, value = re.split(r"\s(\+?=)\s", edit, maxsplit=1)
        for holder, key in _places(data, path):
            old = holder.get(key) if isinstance(holder, dict) else holder[key]
            new = eval(value, {**NAMES, **names, "old": old})
            if operator == "+=":
                holder[key] = [*old, new]
            else:
                holder[key] = new
    return data


def _places(data: Any, path: str) -> Iterator[tuple[Any, Any]]:
    """Holder and key or index of all that a path names."""
    head, _, rest = path.strip().partition(".")
    keys = (range(len(data)) if isinstance(data, list) else list(data)) if head == "*" else [head]
    for key in keys:
        key = int(key) if isinstance(data, list) else key
        if rest:
            yield from _places(data[key], rest)
        else:
            yield data, key


def no_file(path: Path, what: str) -> None:
    """Puts a pipe, socket, folder, device or a loop of links at a path; of anything else, nothing."""
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "loop":
        path.symlink_to(path)
    elif what == "socket":
        os.chdir(path.parent)  # the name of a socket must be short
        socket.socket(socket.AF_UNIX).bind(path.name)


def text_of(data: Any) -> str:
    """JSON, with NaN and halves of characters where there are any."""
    return json.dumps(data)
