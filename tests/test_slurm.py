"""What a training is told by Slurm's variables. That it works under Slurm is in tests/slurm/."""

import os
import signal
import subprocess
import sys

import pytest

from distill.cluster.slurm import torchrun
from distill.program import UserError
from distill.requeue import preempted, requeue
from helpers import SCRIPTS

STEP = {
    "SLURM_JOB_ID": "40017",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_NODEID": "2",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7",
}


@pytest.mark.parametrize("environ", [{}, {**STEP, "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NUM_TASKS": "1"}])
def test_one_node_needs_nobody(environ):
    assert torchrun(4, environ) == ["torchrun", "--nproc-per-node", "4", "--standalone"]


def test_nodes_meet_where_the_step_was_started():
    command = torchrun(8, STEP)
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {
        "--nproc-per-node": "8",
        "--nnodes": "3",
        "--node-rank": "2",
        "--master-addr": "10.0.0.7",
        "--master-port": "10017",
    }


def test_two_tasks_on_a_node_are_refused():
    with pytest.raises(UserError, match="one task on each"):
        torchrun(8, {**STEP, "SLURM_STEP_NUM_TASKS": "6"})


def test_outside_slurm_nothing_is_requeued():
    assert requeue({}) is False
    assert preempted({}) is False


@pytest.mark.parametrize(
    ("time", "expected"), [("None", False), ("2026-11-24T18:10:12", True)], ids=["cancelled", "preempted"]
)
def test_slurm_says_whether_a_signal_is_of_a_preemption(tmp_path, monkeypatch, time, expected):
    shown = f"JobId=7 JobName=x\n   PreemptEligibleTime=2026-11-24T18:10:09 PreemptTime={time}"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\n[ "$*" = "show job 7" ] && echo "{shown}"\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert preempted({"SLURM_JOB_ID": "7"}) is expected


@pytest.mark.parametrize(("time", "asked"), [("None", 1), ("2026-11-24T18:10:12", 2)])
def test_a_job_whose_place_is_taken_asks_to_be_run_again(tmp_path, time, asked):
    """Any program, not only a training: Slurm takes what ends within the grace time for failed."""
    called = tmp_path / "called"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$*" >> {called}; echo "PreemptTime={time}"\n')
    (tmp_path / "scontrol").chmod(0o755)
    code = "import signal; from distill.program import run; run(lambda: signal.raise_signal(signal.SIGTERM))"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "PYTHONPATH": str(SCRIPTS)}
    ended = subprocess.run([sys.executable, "-c", code], env=os.environ | env, capture_output=True)
    assert ended.returncode == 128 + signal.SIGTERM
    assert called.read_text().splitlines() == ["show job 7", "requeue 7"][:asked]
