"""Trainings that are interrupted: resumed runs are identical, signals write a checkpoint, processes agree."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress

import pandas as pd
import pytest
import torch

from distill.models.training import train
from distill.models.training_job import fingerprint, full_config
from distill.models.work_folder import checkpoints, last_checkpoint
from distill.program import UserError
from helpers import SCRIPTS, warm
from helpers.networks import SPEC, program, training_job

TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, arrows, generated):
    options = dict(labels=generated, ratio=[6, 4], iterations=16, checkpoint_every=4)
    whole = training_job(tmp_path / "a", "keypoint_rcnn_tiny", arrows, **options)
    train(whole)
    killed = training_job(tmp_path / "b", "keypoint_rcnn_tiny", arrows, **options)
    command = [*program(killed), "--workers", "2"]  # as on a GPU; processes that load images change nothing
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (killed.work / "iter_8.pth").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    newest = checkpoints(killed.work)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])  # killed while it wrote
    assert warm.run("train.py", *command[2:]).returncode == 0
    assert (killed.output / "model.pth").read_bytes() == (whole.output / "model.pth").read_bytes()
    assert (killed.output / "history.csv").read_text() == (whole.output / "history.csv").read_text()
    assert json.loads((killed.output / "run.json").read_text())["resumes"] == 1
    assert [path.name for path in killed.work.glob("iter_*.pth")] == ["iter_16.pth"]
    train(whole)  # it is complete: its time is still that of the training
    first, again = (json.loads((job.output / "run.json").read_text()) for job in (killed, whole))
    assert again["resumes"] == 1
    for run in (first, again):
        assert run["seconds_per_iteration"] * 16 == pytest.approx(run["seconds"], abs=0.1)
        assert run["seconds_per_iteration"] > 0.05


def as_a_job():
    """How Snakemake, called from a terminal, leaves the signals of its jobs."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "before"),
    [(signal.SIGUSR1, ()), (signal.SIGTERM, TWO), (signal.SIGINT, ()), (signal.SIGHUP, ())],
    ids=["before a time limit", "before a preemption, on two processes", "Ctrl-C", "closed terminal"],
)
def test_a_signal_to_all_processes_of_a_step_writes_a_checkpoint(tmp_path, arrows, number, before):
    """Slurm, or a terminal, signals the trainers, the processes that load images, and torchrun. All end."""
    job = training_job(tmp_path, "faster_rcnn_tiny", arrows, iterations=500, checkpoint_every=500)
    command = [*program(job, *before), "--workers", "2"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=as_a_job,
    )
    try:
        while not (job.work / "history.csv").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 1
        assert "stopped by a signal" in errors
        assert before or "Traceback" not in errors
        assert list(job.work.glob("iter_*.pth"))
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_checkpoint_is_removed_only_where_it_was_cut_off(tmp_path):
    with zipfile.ZipFile(tmp_path / "iter_4.pth", "w") as file:
        file.writestr("data", "cannot be read today")
    cut = tmp_path / "iter_8.pth"
    cut.write_bytes((tmp_path / "iter_4.pth").read_bytes()[:40])
    with pytest.raises(UserError, match=r"iter_4\.pth: cannot be read .*; run again when it can be"):
        last_checkpoint(tmp_path)
    assert checkpoints(tmp_path) == [tmp_path / "iter_4.pth"]


def test_two_processes_share_the_batch_and_both_kinds_come_in_the_ratio(tmp_path, arrows, generated):
    """Also where a part of the network does not learn, which the wrapper of the processes must know."""
    options = dict(labels=generated, ratio=[6, 4], iterations=50, scales=[64], freeze_rpn=True)
    job = training_job(tmp_path, "keypoint_rcnn_tiny", arrows, **options)
    done = subprocess.run(program(job, *TWO), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "strides do not match" not in done.stderr
    history = pd.read_csv(job.output / "history.csv")
    last = history.iloc[-1]
    assert last["labelled"] + last["generated"] == 50 * SPEC["batch"]
    assert last["labelled"] == pytest.approx(60, abs=8)
    assert last["ratio"] == pytest.approx(last["labelled"] / last["generated"], rel=1e-3)
    assert json.loads((job.output / "run.json").read_text())["processes"] == 2


def test_work_of_another_training_is_discarded(tmp_path, arrows):
    job = training_job(tmp_path, "faster_rcnn_tiny", arrows, iterations=4)
    train(job)
    other = training_job(tmp_path, "faster_rcnn_tiny", arrows, iterations=4, seed=1)
    assert fingerprint(job, full_config(job, 0)[0]) != fingerprint(other, full_config(other, 0)[0])
    train(other)
    assert json.loads((job.output / "run.json").read_text())["resumes"] == 0


AGREE = """
import sys
from pathlib import Path
import torch
from distill.models.work_folder import prepare

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
print(prepare(folder / str(rank), "mark").name)
"""


def test_the_first_process_decides_on_the_checkpoint(tmp_path):
    """A file system need not show the second one what it shows the first."""
    for rank, iterations in enumerate([(5, 10), (5,)]):
        work = tmp_path / str(rank)
        work.mkdir()
        (work / "fingerprint.txt").write_text("mark")
        for iteration in iterations:
            torch.save({}, work / f"iter_{iteration}.pth")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", AGREE, str(rank), tmp_path],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        )
        for rank in (0, 1)
    ]
    assert [process.communicate(timeout=100)[0] for process in processes] == ["iter_10.pth\n"] * 2
