"""Which Python `make env` takes: the first that runs, not the first that is there; else one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ROOT


@pytest.fixture
def commands(tmp_path) -> Path:
    """A folder with a 3.11 that does not run (as of pyenv), and a 3.12 that does."""
    (tmp_path / "python3.11").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "python3.11").chmod(0o755)
    (tmp_path / "python3.12").symlink_to(Path(sys.executable).resolve())
    return tmp_path


def find(commands: Path, **environment: str) -> subprocess.CompletedProcess:
    command = ["/bin/bash", ROOT / "envs/find_python"]
    return subprocess.run(command, env={"PATH": str(commands), **environment}, capture_output=True, text=True)


def test_the_first_that_runs_is_taken(commands):
    assert find(commands).stdout == "python3.12\n"


def test_the_one_asked_for_is_taken_or_none(commands):
    assert find(commands, PYTHON=sys.executable).stdout == f"{sys.executable}\n"
    refused = find(commands, PYTHON="python3.11")
    assert refused.returncode == 1
    assert refused.stderr == "error: cannot run python3.11: apt install python3-venv\n"


def test_what_is_missing_is_one_line(commands):
    (commands / "python3.12").unlink()
    failed = find(commands)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "error: cannot run any Python of 3.11 3.12 3.13: apt install python3-venv\n"


def test_other_versions_are_refused(commands):
    (commands / "old").write_text("#!/bin/sh\necho 3.6\n")
    (commands / "old").chmod(0o755)
    assert "is Python 3.6, which is none of" in find(commands, PYTHON=str(commands / "old")).stderr
