"""What Snakemake itself reads before any code of ours: refused in one line with the file, and none of it run."""

import subprocess
import sys

import pytest
import yaml
import yte

from distill.study.paths import check_results
from fuzz.harness import judge, limited
from fuzz.test_configuration_texts import bomb
from helpers import ROOT

TRAP = '__use_yte__: true\nresults: ?open("run", "w").write("x")\n'
TEXTS = {
    "nothing": ("", "not a configuration; it must be a mapping"),
    "a comment": ("# nothing", "not a configuration; it must be a mapping"),
    "a list": ("- a", "not a configuration; it must be a mapping"),
    "text": ("a", "not a configuration; it must be a mapping"),
    "a number": ("3", "not a configuration; it must be a mapping"),
    "a trap": (TRAP, "__use_yte__ has Snakemake run what the file says"),
    "a trap that is off": ("__use_yte__: false\na: ?1", "__use_yte__ has Snakemake run"),
    "a tab": ("a:\n\tb: 1", ", line 2: not YAML: found character"),
    "open brackets": ("a: 1\nb: [1, 2\n", ", line 3: not YAML: "),
    "a bad indent": ("a: 1\n  b: 2\n", ", line 2: not YAML: "),
    "an object": ("a: !!python/object/apply:os.mkdir [run]", ", line 1: not YAML: could not determine"),
    "a name of Python": ("a: !!python/name:os.system", ", line 1: not YAML: could not determine"),
    "an unknown alias": ("a: *b", ", line 1: not YAML: found undefined alias"),
    "two documents": ("a: 1\n---\nb: 1\n", ", line 2: not YAML: "),
    "a date of no month": ("a: 2020-13-40", "not YAML: month must be in 1..12"),
    "an unhashable key": ("{[1]: 2}", ", line 1: not YAML: found unhashable key"),
    "a bomb": (bomb("[{}]", "*{}"), "its aliases (*name) stand for more than 1000000 values"),
    "a part of itself": ("a: &a [*a]", "its aliases (*name) stand for more than 1000000 values"),
    "a deep one": ("a: " + "[" * 100_000, "not YAML: maximum recursion depth"),
    "a null byte": ("a: \0", "not YAML: unacceptable character"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_configuration_that_snakemake_reads(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    text, expected = TEXTS[name]
    (tmp_path / "x.yaml").write_text(text)
    with open("x.yaml") as file, limited(), pytest.raises(SystemExit) as ended:
        yte.process_yaml(file, require_use_yte=True)
    message = str(ended.value.code)
    assert message.startswith("error: x.yaml")
    assert expected in message
    assert "\n" not in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_configurations_of_this_project_are_read_as_they_are(path):
    with open(path) as file:
        assert yte.process_yaml(file, require_use_yte=True) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize(("name", "at"), [("x.yaml", "x.yaml"), ("x.yaml/a/b", "x.yaml"), ("loop/a", "loop")])
def test_results_that_cannot_be_written(tmp_path, monkeypatch, name, at):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    judge(f"results: {tmp_path / at} is not a folder", lambda: check_results(name))
    judge("ok it is None", lambda: check_results("new/folder"))


@pytest.mark.parametrize("content", [TRAP.encode(), b"results: caf\xe9\n"], ids=["a trap", "Latin-1"])
def test_snakemake_says_it_in_one_line(tmp_path, content):
    (tmp_path / "x.yaml").write_bytes(content)
    command = [sys.executable, "-m", "snakemake", "-n", "--snakefile", ROOT / "Snakefile"]
    command += ["--profile", "none", "--configfile", "x.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: x.yaml: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
