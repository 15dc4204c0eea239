"""slurm/bin between Snakemake's Slurm plugin and Slurm: why it is there, and what it says."""

import asyncio
import logging
import os
import subprocess
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin

from helpers import ROOT

ENDS = ["PREEMPTED", "NODE_FAIL", "CANCELLED by 1000", None]


class Limiter(nullcontext):
    async def __aenter__(self):
        pass

    async def __aexit__(self, *error):
        pass


def fate(monkeypatch, state: str | None) -> str:
    """What the plugin does with a job in this state, again and again; None: Slurm does not list it."""

    async def query(command, logger):
        return ({"7": state} if state else {}), 0.1

    monkeypatch.setattr(plugin, "query_job_status", query)
    monkeypatch.setattr(plugin, "is_query_tool_available", lambda tool: False)
    executor = object.__new__(plugin.Executor)
    settings = plugin.ExecutorSettings(requeue=True, status_command="squeue")
    fates = []
    executor.workflow = SimpleNamespace(executor_settings=settings, remote_execution_settings=settings)
    settings.seconds_between_status_checks = 1
    executor.logger, executor.run_uuid, executor.status_rate_limiter = logging.getLogger(), "run", Limiter()
    executor._status_query_calls = executor._status_query_failures = executor._status_query_total_seconds = 0
    executor._status_query_min_seconds, executor._status_query_max_seconds = None, 0
    executor._status_query_cycle_rows, executor._failed_nodes = [], set()
    executor._preemption_warning, executor._next_seconds_between_status_checks = False, None
    executor.report_job_error = lambda job, **details: fates.append("failed")
    executor.report_job_success = lambda job: fates.append("succeeded")
    job = SimpleNamespace(external_jobid="7", aux={"slurm_logfile": None})

    async def check():
        return [job async for job in executor.check_active_jobs([job])]

    waiting = [len(asyncio.run(check())) for _ in range(3)]
    return "waits" if waiting == [1, 1, 1] else fates[0]


@pytest.mark.parametrize("state", ENDS)
def test_the_plugin_alone_waits_for_ever(monkeypatch, state):
    """When this fails after an upgrade, slurm/bin has one reason less."""
    assert fate(monkeypatch, state) == "waits"


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What our squeue says when Slurm's programs say this; a job's log is made where it has started."""

    def ask(program: str, started: int, **programs: str) -> dict[str, str]:
        for name, text in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        (tmp_path / "slurm/logs/rule_x/a").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"slurm/logs/rule_x/a/{started}.log").touch()
        path = f"{ROOT}/slurm/bin:{tmp_path}:{os.environ['PATH']}"
        command = [program, "--noheader", "--name", "run"]
        done = subprocess.run(command, cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True)
        return dict(line.split("|") for line in done.stdout.splitlines()) if done.returncode == 0 else {}

    return ask


@pytest.mark.parametrize("program", ["squeue", "sacct"])
@pytest.mark.parametrize("state", [end for end in ENDS if end and " " not in end])
def test_with_ours_the_job_fails(said, monkeypatch, state, program):
    states = said(program, 7, squeue=f"echo '7|{state}'", sacct="exit 1")
    assert fate(monkeypatch, states["7"]) == "failed"


@pytest.mark.parametrize(
    ("accounting", "end"),
    [("exit 1", "failed"), ("echo '7|CANCELLED by 1000'", "failed"), ("echo '7|COMPLETED'", "succeeded")],
)
def test_accounting_knows_the_end_of_a_forgotten_job(said, monkeypatch, accounting, end):
    states = said("squeue", 7, squeue="echo '8|RUNNING'", sacct=accounting)
    assert states["8"] == "RUNNING"
    if end == "succeeded":
        assert states["7"] == "COMPLETED"
    else:
        assert fate(monkeypatch, states["7"]) == end


def test_accounting_is_asked_about_each_job_once(said, tmp_path):
    """But for one that still runs: another Snakemake in this folder may have started it."""
    accounting = 'echo "$@" >> asked; echo "7|$(cat end)"'
    for end in ("RUNNING", "COMPLETED", "unknown"):
        (tmp_path / "end").write_text(end)
        assert said("squeue", 7, squeue="true", sacct=accounting)["7"] == end.replace("unknown", "COMPLETED")
    assert said("squeue", 8, squeue="true", sacct=accounting) == {"7": "COMPLETED", "8": "FAILED"}
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[-1] for line in asked] == ["7", "7", "8"]


def submit(tmp_path, *answers: str) -> tuple[subprocess.CompletedProcess, list[str]]:
    """What our sbatch says when Slurm's answers so, one after the other, and the scripts that Slurm got."""
    for number, answer in enumerate(answers, 1):
        (tmp_path / f"{number}").write_text(answer)
    program = """#!/bin/sh
        cat >> scripts; n=$(wc -l < scripts)
        grep -q '^[0-9]*$' $n && cat $n || { cat $n >&2; exit 1; }
    """
    (tmp_path / "sbatch").write_text(program)
    (tmp_path / "sbatch").chmod(0o755)
    environment = {"PATH": f"{ROOT}/slurm/bin:{tmp_path}:{os.environ['PATH']}"}
    command = ["sbatch", "--parsable", "/dev/stdin"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, input="the script\n", capture_output=True, text=True
    )
    return done, (tmp_path / "scripts").read_text().splitlines()


def test_what_is_refused_for_the_moment_is_submitted_again(tmp_path):
    away = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    full = (
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates"
    )
    done, scripts = submit(tmp_path, away, full, "7\n")
    assert (done.returncode, done.stdout, scripts) == (0, "7\n", ["the script"] * 3)


def test_what_is_refused_for_good_is_said_at_once(tmp_path):
    wrong = "sbatch: error: invalid partition specified: nowhere"
    done, scripts = submit(tmp_path, wrong, "7\n")
    assert (done.returncode, done.stderr, scripts) == (1, wrong, ["the script"])


def test_while_the_controller_is_away_nothing_is_said(said):
    assert said("squeue", 7, squeue="exit 1", sacct="echo '7|COMPLETED'") == {}


def test_other_calls_are_slurms_own(tmp_path):
    (tmp_path / "squeue").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "squeue").chmod(0o755)
    path = f"{ROOT}/slurm/bin:{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["squeue", "--me", "-o", "%i"], env={"PATH": path}, capture_output=True, text=True)
    assert done.stdout == "--me -o %i\n"
