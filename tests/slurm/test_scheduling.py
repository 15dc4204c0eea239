"""The profile on a real Slurm: who gets which GPU, what fails how, and that nothing waits for ever."""

import signal
import sys
import time
from pathlib import Path

import pytest
from project import ROOT

pytestmark = pytest.mark.slurm

WAIT = "while [ ! -e go ]; do sleep 0.2; done\n"


def start(project, script: str, shards: int, *args: str):
    """A run of so many jobs that all execute the script; $1 is the shard."""
    (project.folder / "job.sh").write_text(script)
    return project.start(*args, "--config", f"shards={shards}")


def begun(project, shard: int) -> list[list[str]]:
    """[job, node, GPUs] of every time that a shard was begun."""
    path = project.folder / f"runs/{shard}.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def comment(shard: int) -> str:
    """How squeue shows a job."""
    return f"rule_predict_wildcards_teacher_{shard}"


def log_of(project, shard: int, job: str) -> Path:
    return project.folder / f"slurm/logs/rule_predict/teacher_{shard}/{job}.log"


def test_each_shard_has_one_gpu_of_its_own(cluster, project):
    run = start(project, WAIT, 6)

    def places():
        return sorted((node, gpu) for shard in range(6) for _, node, gpu in begun(project, shard))

    cluster.wait_for(lambda: len(places()) == 5, "five jobs")
    assert places() == [("n1", "0"), ("n1", "1"), ("n1", "2"), ("n2", "0"), ("n2", "1")]
    shown = cluster.output("squeue", "-ho", "%k").splitlines()
    assert sorted(shown) == [comment(shard) for shard in range(6)]
    (project.folder / "go").touch()
    assert project.finish(run) == 0
    assert [len(begun(project, shard)) for shard in range(6)] == [1] * 6


def test_a_shard_that_fails_is_the_only_one_repeated_and_gets_more(cluster, project):
    project.options = ["--retries", "1"]
    run = start(project, "[ $1 = 0 ] && mkdir once && { echo out of luck; exit 3; }\ntrue\n", 3)
    assert project.finish(run) == 0
    assert [len(begun(project, shard)) for shard in range(3)] == [2, 1, 1]
    first, again = (job for job, *_ in begun(project, 0))
    assert "mem=1000M" in cluster.output("scontrol", "show", "job", first)
    assert "mem=2000M" in cluster.output("scontrol", "show", "job", again)
    assert "out of luck" in project.terminal


def test_whatever_ends_a_job_is_on_the_terminal(cluster, project):
    """A failure, a cancelled job, too much memory, and two that are preempted for good: all in one run."""
    greedy = """python3 -c 'import time; x = b"x" * (1500 << 20); time.sleep(99)'"""
    script = f"[ $1 = 0 ] && {{ echo out of luck; exit 3; }}\n[ $1 = 1 ] && {greedy}\n{WAIT}"
    run = start(project, script, 5, "--default-resources", "slurm_partition=spot")
    jobs = {shard: project.job(comment(shard), state) for shard, state in ((0, "FAILED"), (2, "RUNNING"))}
    cluster.output("scancel", jobs[2])
    jobs |= {shard: project.job(comment(shard)) for shard in (3, 4)}
    cluster.wait_for(lambda: begun(project, 3) and begun(project, 4), "both to begin")
    jobs[1] = project.job(comment(1), "FAILED")
    cluster.output("sbatch", "-p", "urgent", "-N2", "--exclusive", "-t1", "-o/dev/null", "--wrap=true")
    for shard in (3, 4):
        project.job(comment(shard), "PREEMPTED")
    assert project.finish(run) == 1
    ends = {0: "FAILED", 1: "FAILED", 2: "CANCELLED", 3: "CANCELLED", 4: "CANCELLED"}
    for shard, end in ends.items():
        assert f"SLURM-job '{jobs[shard]}' failed, SLURM status is: '{end}'" in project.terminal
        assert str(log_of(project, shard, jobs[shard])) in project.terminal
    for reason in ("out of luck", "exceeded memory limit", "DUE TO PREEMPTION", "CANCELLED AT"):
        assert reason in project.terminal


def test_a_preempted_job_is_requeued(cluster, project):
    run = start(project, WAIT, 1)
    job = project.job(comment(0))
    cluster.wait_for(lambda: begun(project, 0), "the beginning")
    cluster.output("sbatch", "-p", "urgent", "-N2", "--exclusive", "-t1", "-o/dev/null", "--wrap=true")
    cluster.wait_for(lambda: len(begun(project, 0)) == 2, "the second beginning")
    (project.folder / "go").touch()
    assert project.finish(run) == 0
    assert [number for number, *_ in begun(project, 0)] == [job, job]


def test_a_requeued_job_a_lost_node_and_a_restarted_controller_end_well(cluster, project):
    run = start(project, WAIT, 2)
    jobs = [project.job(comment(shard)) for shard in range(2)]
    cluster.wait_for(lambda: begun(project, 0) and begun(project, 1), "both to begin")
    cluster.output("scontrol", "requeue", jobs[0])
    cluster.wait_for(lambda: len(begun(project, 0)) == 2, "the requeued job")
    node = begun(project, 1)[0][1]
    cluster.output("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    cluster.wait_for(lambda: len(begun(project, 1)) == 2, "the job of the lost node")
    assert begun(project, 1)[1][1] != node
    cluster.stop_daemon("slurmctld")
    (project.folder / "go").touch()  # the jobs end while the controller is away
    cluster.wait_for(lambda: (project.folder / "out/teacher/1.txt").exists(), "the last output")
    cluster.start_controller()
    cluster.output("scontrol", "update", f"NodeName={node}", "State=RESUME")
    assert project.finish(run) == 0
    assert {number for number, *_ in begun(project, 1)} == {jobs[1]}


SAVES = f"""
[ $(wc -l < runs/$1.txt) = 2 ] && exit 0
exec {sys.executable} - <<'END'
import os, pathlib, signal, sys, time
sys.path.append("{ROOT}/scripts")
from distill.requeue import requeue

def save(*_):
    pathlib.Path("saved").touch()
    sys.exit(not requeue(os.environ))

signal.signal(signal.SIGUSR1, save)
pathlib.Path("ready").touch()
while True:
    time.sleep(0.1)
END
"""


def test_a_signal_before_the_time_limit_reaches_the_program_which_requeues_its_job(cluster, project):
    """Snakemake and the shells in between live on, and the Snakemake outside sees one job."""
    run = start(project, SAVES, 1)
    job = project.job(comment(0))
    cluster.wait_for(lambda: (project.folder / "ready").exists(), "the program")
    cluster.output("scancel", "--signal=USR1", job)
    assert project.finish(run) == 0
    assert (project.folder / "saved").exists()
    assert [number for number, *_ in begun(project, 0)] == [job, job]


def test_a_job_that_slurm_has_forgotten_failed(cluster, project):
    """Snakemake was suspended while the job was cancelled, and slept for longer than MinJobAge."""
    run = start(project, WAIT, 1)
    job = project.job(comment(0))
    cluster.wait_for(lambda: begun(project, 0), "the beginning")
    run.send_signal(signal.SIGSTOP)
    cluster.output("scancel", job)
    project.job(comment(0), "CANCELLED")
    cluster.forget_jobs()
    run.send_signal(signal.SIGCONT)
    assert project.finish(run) == 1
    assert f"SLURM-job '{job}' failed" in project.terminal
    assert "CANCELLED AT" in project.terminal


def test_a_submission_that_is_refused_for_the_moment_uses_up_no_retry(cluster, project):
    """There is none. The partition is closed while Snakemake submits, as before a maintenance."""
    cluster.output("scontrol", "update", "PartitionName=main", "State=DRAIN")
    run = start(project, "true\n", 1)
    cluster.wait_for(lambda: "SLURM run ID" in project.terminal, "Snakemake")
    time.sleep(5)
    assert run.poll() is None
    cluster.output("scontrol", "update", "PartitionName=main", "State=UP")
    assert project.finish(run) == 0
    assert len(begun(project, 0)) == 1


def test_a_partition_that_is_not_there_is_said(cluster, project):
    run = start(project, WAIT, 1, "--default-resources", "slurm_partition=nowhere")
    assert project.finish(run) == 1
    assert "invalid partition specified: nowhere" in project.terminal


@pytest.mark.slow
def test_a_time_limit_ends_a_job_and_the_repetition_gets_more_time(cluster, project):
    project.options = ["--retries", "1"]
    run = start(project, "sleep 70\n", 1, "--set-resources", "predict:runtime=attempt * attempt")
    assert project.finish(run) == 0
    assert len(begun(project, 0)) == 2
    assert "TIMEOUT" in project.terminal
    assert "DUE TO TIME LIMIT" in project.terminal
