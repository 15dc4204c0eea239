"""Configurations: texts of files, and what is no file, as `read` takes them."""

from pathlib import Path

import pytest
import yaml

from distill.study.resolve import read
from fuzz.harness import judge, no_file, table
from helpers import ROOT

# What a file says, as Python text; => what `read` makes of it.
TEXTS = r"""
"" => not a configuration; it must be a mapping
"# nothing" => not a configuration; it must be a mapping
"- a" => not a configuration; it must be a mapping
"__use_yte__: true\nresults: ?1" => __use_yte__ has Snakemake run what the file says
"a" => not a configuration; it must be a mapping
"3" => not a configuration; it must be a mapping
"null" => not a configuration; it must be a mapping
"shards: 1\nthreads: 2\nshards: 3" => line 3: the key 'shards' is there twice; it is in line 1 too
"datasets:\n  a: {kind: folder, images: a}\n  b: {}\n  a: {}" => line 4: the key 'a' is there twice; it is in line 2 too
"a: {b: 1, c: 2, b: 3}" => line 1: the key 'b' is there twice
"evaluate:\n  on: val\n  'on': train" => line 3: the key 'on' is there twice
"evaluate:\n  on: val\n  true: train" => line 3: the key 'true' is there twice
'{"a": 1, "a": 2}' => line 1: the key 'a' is there twice
"a: .nan" => line 1: .nan is no finite number
"a:\n  - 1\n  - -.inf" => line 3: -.inf is no finite number
"a: 1.0e+999" => line 1: 1.0e+999 is no finite number
"a: !!float x" => line 1: x is no finite number
"a: 010" => line 1: 010 is no whole number
"a: 0x10" => line 1: 0x10 is no whole number
"a: 0b11" => line 1: 0b11 is no whole number
"a: 1_000" => line 1: 1_000 is no whole number
"a: 1:30" => line 1: 1:30 is no whole number
"a: 1:30.5" => line 1: 1:30.5 is no finite number
"a: 2020-01-01" => line 1: 2020-01-01 would be read as a date; put it in quotes
"a: 2020-01-01 10:00:00" => would be read as a date; put it in quotes
"a: '2020-01-01'" => ok it == {"a": "2020-01-01"}
"a: " + "1" * 400 => is too large
"a: 9223372036854775808" => line 1: 9223372036854775808 is too large
"a: 9223372036854775807" => ok it == {"a": 2**63 - 1}
"a: 1e3" => ok it == {"a": "1e3"}
"a: 1.0e+3" => ok it == {"a": 1000.0}
"a: -0" => ok it == {"a": 0}
"a: !!python/object/apply:os.system [ls]" => line 1: there is no kind of value tag:yaml.org,2002:python/object/apply:os.system
"a: !!binary aGk=" => line 1: there is no kind of value
"a: !x 1" => line 1: there is no kind of value !x
"a: !!set {x, y}" => line 1: there is no kind of value
"a: !!bool maybe" => line 1: maybe is neither true nor false
"a: !!str 010" => ok it == {"a": "010"}
"a: [1" => not YAML
"a: 1\n b: 2" => line 2: not YAML
"a:\n\t- b" => line 2: not YAML
"a: 'x" => not YAML
"a: *x" => line 1: not YAML
"a: @x" => line 1: not YAML
"a: {b: 1}}" => line 1: not YAML
"a: 1\n---\nb: 2" => line 2: not YAML
"%YAML 9.9\n---\na: 1" => not YAML
"? [1]\n: 2" => line 1: a key must be text
"? {a: 1}\n: 2" => line 1: a key must be text
"a: &x [*x]" => line 1: this value is a part of itself
"a: &x {b: *x}" => line 1: this value is a part of itself
"base: &x {b: 1, c: 2}\na: {<<: *x, b: 3}" => ok it["a"] == {"b": 3, "c": 2}
"a: {<<: 3}" => line 1: not YAML
"[" * 100000 => nested too deeply
"- " * 100000 + "1" => nested too deeply
"a: " + "{b: " * 99 + "1" + "}" * 99 => ok
"a: " + "{b: " * 101 + "1" + "}" * 101 => nested too deeply
bomb("[{}]", "*{}") => its aliases (*name) stand for more than 1000000 values
bomb("{{{}}}", "k{1}: *{0}") => its aliases (*name) stand for more than 1000000 values
bomb("{{<<: [{}]}}", "*{}") => its aliases (*name) stand for more than 1000000 values
"\ufeffa: 1" => ok it == {"a": 1}
"a: é".encode("utf-8") => ok it == {"a": "é"}
"a: é".encode("utf-16") => ok it == {"a": "é"}
"a: 1\nb: é".encode("latin-1") => line 2: is not in UTF-8; save the file in this encoding
"a: é".encode("utf-16-le") => is not in UTF-8
b"\xff\xfe\x00" => is not in UTF-8
bytes(100) => not YAML
"a: \x07" => not YAML
"a: \u2028b" => not YAML
'a: "\\0"' => ok it == {"a": chr(0)}
'a: "\\ud800"' => line 1: text has half of a character in it
"a: 1\r\nb: 2\r\n" => ok it == {"a": 1, "b": 2}
"""


def bomb(holder: str, item: str, levels: int = 12) -> str:
    """Ten of the one before, on each level."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        items = ", ".join(item.format(f"a{level - 1}", number) for number in range(10))
        lines.append(f"a{level}: &a{level} {holder.format(items)}")
    return "\n".join(lines)


@pytest.mark.parametrize(("text", "expected"), table(TEXTS))
def test_the_text_of_a_file(tmp_path, text, expected):
    content = eval(text, {"bomb": bomb})
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    judge(expected, lambda: read(path), "mine.yaml")


@pytest.mark.parametrize("what", ["pipe", "folder", "device", "nothing"])
def test_what_is_no_file(tmp_path, what):
    path = tmp_path / "mine.yaml"
    no_file(path, what)
    judge("no such file" if what == "nothing" else "is not a file", lambda: read(path), "mine.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_that_are_here_are_read_as_yaml_reads_them(path: Path):
    assert read(path) == yaml.safe_load(path.read_text())
