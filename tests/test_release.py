"""What stands in one place and again elsewhere: the version, the versions of stages, what lint runs."""

import ast
import re
import subprocess
import sys

import yaml

import distill
from helpers import ROOT, SCRIPTS

CHANGES = (ROOT / "CHANGELOG.md").read_text()


def test_one_version():
    newest = re.search(r"^## (\S+)", CHANGES, re.MULTILINE)[1]
    assert distill.__version__ == newest
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == newest


def test_every_program_says_the_version():
    """Where it is said is shared, so one is asked; it has arguments that it cannot do without."""
    for path in SCRIPTS.glob("*.py"):
        assert "run(main" in ast.unparse(ast.parse(path.read_text()).body[-1]), path
    command = [sys.executable, SCRIPTS / "merge_views.py", "--version"]
    assert subprocess.check_output(command, text=True) == f"data distillation {distill.__version__}\n"


def test_the_newest_changes_name_the_stages_versions():
    code = re.search(
        r"^VERSIONS = (\{.*?\})", (ROOT / "rules/common.smk").read_text(), re.MULTILINE | re.DOTALL
    )
    stages = ", ".join(f"{stage} {version}" for stage, version in ast.literal_eval(code[1]).items())
    assert re.search(r"^Stages: (.*)$", CHANGES, re.MULTILINE)[1] == stages


def test_pre_commit_runs_what_make_lint_runs():
    recipe = re.search(r"^lint: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    lint = recipe.replace("$(SNAKEMAKE)", ".venv/bin/snakemake").replace("$(BIN)", ".venv/bin").split("\n\t")
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["entry"] for hook in local["hooks"]] == [line.strip() for line in lint]
