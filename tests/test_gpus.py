"""Jobs of one machine share its GPUs: each has its own, nobody waits for ever, the dead hold none."""

import os
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from distill.cluster.gpus import claim, lock_folder, visible
from distill.program import UserError
from helpers import SCRIPTS

JOB = """
import os, sys, time
from distill.cluster.gpus import claim
from distill.program import run

DEVICES = os.environ["CUDA_VISIBLE_DEVICES"].split(",")

def main():
    claim(int(sys.argv[1]))
    began = time.monotonic()
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    assert os.environ["DISTILL_SHARES"] == str(len(DEVICES) // int(sys.argv[1]))
    time.sleep(float(sys.argv[2]))
    print(began, time.monotonic())

run(main)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a job that wants so many of the devices a and b and holds them for so many seconds."""
    jobs = []

    def begin(count: int, seconds: float, **env: str) -> subprocess.Popen:
        env = {**os.environ, "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "a,b", **env}
        env["PYTHONPATH"] = str(SCRIPTS)
        command = [sys.executable, "-c", JOB, str(count), str(seconds)]
        jobs.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()
        job.wait()
        job.stdout.close()


def test_no_device_has_two_jobs_at_once(start):
    jobs = [start(1, 0.5) for _ in range(5)] + [start(2, 0.5)]
    spans = {"a": [], "b": []}
    for job in jobs:
        devices, span = job.communicate()[0].splitlines()
        assert job.returncode == 0
        for device in devices.split(","):
            spans[device].append(tuple(map(float, span.split())))
    assert sum(map(len, spans.values())) == 7
    for held in map(sorted, spans.values()):
        assert len(held) >= 2
        assert all(end <= begin for (_, end), (begin, _) in pairwise(held))


def test_who_waits_for_two_holds_none(start):
    first = start(1, 60)
    assert first.stdout.readline() == "a\n"
    both = start(2, 0)
    time.sleep(0.5)
    other = start(1, 0)
    assert other.stdout.readline() == "b\n"
    first.kill()  # and its lock is gone
    assert both.stdout.readline() == "a,b\n"


def test_slurm_jobs_have_devices_of_their_own(start):
    """Two Slurm jobs on one node each see their one GPU as number 0."""
    jobs = [start(1, 60, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID=str(job)) for job in (1, 2)]
    assert [job.stdout.readline() for job in jobs] == ["0\n"] * 2


def test_the_devices_are_those_of_cuda(monkeypatch, tmp_path):
    assert visible({"CUDA_VISIBLE_DEVICES": "2, 5"}) == ["2", "5"]
    assert visible({"CUDA_VISIBLE_DEVICES": ""}) == []
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert visible({}) == ["0", "1"]
    smi.write_text("#!/bin/sh\necho no driver >&2; exit 9\n")
    assert visible({}) == []


def test_without_the_drivers_tools_its_devices_are_counted(monkeypatch, tmp_path):
    """As in a container that is given the second and the third of the machine, which are 0 and 1 there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("distill.cluster.gpus.DEVICES", tmp_path)
    assert visible({}) == []
    for name in ("nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible({}) == ["0", "1"]


def test_who_needs_no_device_claims_none(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a,b")
    with monkeypatch.context() as inner:
        inner.setenv("LOCAL_RANK", "0")
        claim(1)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "a,b"
    claim(1, "cpu")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""  # nor does a library that takes one where it sees one
    assert not lock_folder(os.environ).exists()


def test_too_few_devices_are_said(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a,b")
    with pytest.raises(UserError, match="4 GPUs are asked for, there are 2"):
        claim(4)
