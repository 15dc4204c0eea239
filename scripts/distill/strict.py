"""Files that people write, read so that nothing in them is silently lost: text, JSON and YAML.

Of a key that is there twice both readers would keep the last value; YAML's would take 010 for 8, 1:30 for 90
and 2020-01-01 for a date; and a file of a few lines can stand for terabytes.
"""

import codecs
import json
import math
import re
import unicodedata
from collections.abc import Collection, Iterable
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from distill.files import read_bytes, reason
from distill.program import UserError, cause, require

T = TypeVar("T")
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
MOST_VALUES = 1_000_000  # of one YAML file, with all that its aliases repeat
DEEPEST = 100  # levels of one YAML file
LARGEST = 2**63  # of whole numbers in YAML
_NOT_IN_LINES = ("Cc", "Cs", "Zl", "Zp")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_OF_YAML = "tag:yaml.org,2002:"
_KINDS = ("map", "seq", "str", "int", "float", "bool", "null", "merge", "timestamp")
_TRUE = ("on", "yes", "true")  # which YAML reads alike; a key `on` is meant as text


def as_list(names: str | list[str]) -> list[str]:
    """One name or several, as a list: either may be written."""
    return [names] if isinstance(names, str) else names


def some(names: Iterable[str], count: int = 3) -> str:
    """The first `count` names, for a message."""
    shown = [f"{n:.80}" if is_line(n) else f"{n!r:.80}" for n in islice(names, count + 1)]
    return ", ".join([*shown[:count], *["…"] * (len(shown) > count)])


def is_line(text: str) -> bool:
    """Whether text has no control characters, line breaks or halves of characters in it. All else may be in
    names: no-break spaces, too."""
    return not any(unicodedata.category(character) in _NOT_IN_LINES for character in text)


def read_text(path: str | Path) -> str:
    """A text file in UTF-8, or with a byte order mark that names another encoding of Unicode.
    Raises UserError with the line for what is in none."""
    content = read_bytes(path)
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: is not in UTF-8; save the file in this encoding") from None


def read_json(path: str | Path) -> Any:
    """Parses a JSON file. NaN and infinities, which other tools write, are left to who knows whether they
    matter. Raises UserError for a key that is twice in one object, and for text that is no Unicode."""
    content = read_bytes(path)
    try:
        json.loads(content, object_pairs_hook=_refuse_twins)
        try:
            return msgspec.json.decode(content)  # much sooner, and as strict about text
        except (msgspec.MsgspecError, UnicodeDecodeError):
            value = json.loads(content)
            json.dumps(value, ensure_ascii=False).encode()
            return value
    except UnicodeEncodeError:
        raise UserError(f"{path}: not a JSON file (it has half of a character, like \\ud800)") from None
    except _Twice as twice:
        raise UserError(f"{path}: {twice}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file ({reason(content, error)})") from None


class _Twice(Exception):
    """A key that is twice in one object."""


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in keys if keys.count(key) > 1)
        raise _Twice(f"the key {twin!r:.60} is there twice{_owner(pairs)}")


def _owner(pairs: list[tuple[str, Any]]) -> str:
    """In which object, by what identifies one in COCO's files."""
    named = dict(pairs[::-1])
    found = [f"{key} {named[key]!r:.40}" for key in ("id", "name", "file_name") if key in named]
    return f", in the object of {found[0]}" if found else ""


def options(kind: type[T], given: Any, where: str) -> T:
    """A dataclass of options, all of which JSON has to give. Raises UserError unless they are its fields, and
    for other kinds of values."""
    known = list(signature(kind).parameters)
    require(given, known, where)
    if unknown := [key for key in given if key not in known]:
        raise UserError(f"{where}: has no {unknown[0]!r}; there is {', '.join(known)}")
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{where}: {error}") from None


def read_yaml(path: str | Path, keys: Collection[str] | None = None) -> Any:
    """Parses a YAML (or JSON) file of settings. Raises UserError, with the line, for what is no YAML, and for
    keys that are there twice, numbers that are not finite or not meant as they would be read, and bombs.

    keys: of another program's file those that are read, whatever stands in the others. None: all."""
    text = read_text(path)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if keys is not None and isinstance(node, yaml.MappingNode):
            node.value = [pair for pair in node.value if pair[0].value in ("<<", *keys)]
        for fault, message in _faults(node, loader):
            raise UserError(f"{path}, line {fault.start_mark.line + 1}: {message}")
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not YAML: {' '.join(str(error.problem).split())}") from None
    except yaml.YAMLError as error:  # a character that YAML has not
        raise UserError(f"{path}: not YAML: {cause(error)}") from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply") from None


def _faults(root: yaml.Node, loader: Any) -> Iterable[tuple[yaml.Node, str]]:
    """Nodes and what is wrong with them."""
    sizes: dict[int, int] = {}  # of nodes, with all that is below; aliases are one node in several places

    def visit(node: yaml.Node, depth: int = 0) -> Iterable[tuple[yaml.Node, str]]:
        if depth > DEEPEST:
            raise RecursionError
        if id(node) in sizes:
            if not sizes[id(node)]:
                yield node, "this value is a part of itself"
            return
        sizes[id(node)] = 0
        if node.tag.removeprefix(_OF_YAML) not in _KINDS:
            yield node, f"there is no kind of value {node.tag}"
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            yield from _twins(node)
            children = [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        elif message := _misread(node, loader):
            yield node, message
        for child in children:
            yield from visit(child, depth + 1)
        sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
        if sizes[id(node)] > MOST_VALUES:
            yield node, f"its aliases (*name) stand for more than {MOST_VALUES} values"

    return visit(root)


def _twins(node: yaml.MappingNode) -> Iterable[tuple[yaml.Node, str]]:
    first: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            yield key, "a key must be text"
            return
        name = "on" if key.tag.endswith(":bool") and key.value.lower() in _TRUE else key.value
        if name in first and not key.tag.endswith(":merge"):
            line = first[name].start_mark.line + 1
            yield key, f"the key {key.value!r:.60} is there twice; it is in line {line} too"
        first[name] = key


def _misread(node: yaml.ScalarNode, loader: Any) -> str:
    """What is wrong with a number or date, if anything."""
    kind, text = node.tag.removeprefix(_OF_YAML), node.value
    if any(unicodedata.category(character) == "Cs" for character in text):
        return "text has half of a character in it, like \\ud800"
    if kind == "bool" and text.lower() not in loader.bool_values:
        return f"{text:.60} is neither true nor false"
    if kind == "timestamp":
        return f"{text:.60} would be read as a date; put it in quotes"
    if kind == "int" and not _DECIMAL.fullmatch(text):
        return f"{text:.60} is no whole number as people write them; text goes in quotes"
    if kind == "int" and (len(text) > 20 or abs(int(text)) >= LARGEST):
        return f"{text:.60} is too large"
    if kind == "float" and (":" in text or not _finite(node, loader)):
        return f"{text:.60} is no finite number as people write them; text goes in quotes"
    return ""


def _finite(node: yaml.ScalarNode, loader: Any) -> bool:
    try:
        return math.isfinite(loader.construct_object(node))
    except ValueError:
        return False
