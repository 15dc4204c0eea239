"""What a training does differently under Slurm: how its processes meet, and how it asks to be run again."""

import re
import subprocess
from collections.abc import Mapping

from distill.program import UserError, log


def torchrun(gpus: int, environ: Mapping[str, str]) -> list[str]:
    """The beginning of a command that starts a program in one process for each of this node's GPUs.

    In a step of several nodes, with one task on each, the processes meet at the node that started the step,
    at a port that follows from the job's number; their ranks follow the order of the nodes.

    Raises UserError where the step has not one task on each node.
    """
    command = ["torchrun", "--nproc-per-node", str(gpus)]
    nodes = environ.get("SLURM_STEP_NUM_NODES", "1")
    if nodes == "1":
        return [*command, "--standalone"]
    if environ["SLURM_STEP_NUM_TASKS"] != nodes:
        raise UserError("a training on several nodes needs one task on each: srun --ntasks-per-node=1")
    port = 10000 + int(environ["SLURM_JOB_ID"]) % 20000  # below those that Linux gives to clients
    place = ["--master-addr", environ["SLURM_LAUNCH_NODE_IPADDR"], "--master-port", str(port)]
    return [*command, "--nnodes", nodes, "--node-rank", environ["SLURM_NODEID"], *place]


def requeue(environ: Mapping[str, str]) -> bool:
    """Puts our own job back into the queue, which ends it. False outside Slurm and where Slurm refuses."""
    return _scontrol(environ, "requeue") is not None


def preempted(environ: Mapping[str, str]) -> bool:
    """Whether Slurm takes our job's place for another one; else SIGTERM means that the job is not wanted.

    One that ends by itself within the grace time has failed, unless it puts itself back into the queue.
    """
    shown = _scontrol(environ, "show", "job") or ""
    return re.search(r"PreemptTime=(?!None)\S", shown) is not None


def _scontrol(environ: Mapping[str, str], *command: str) -> str | None:
    """What Slurm says to a command about our own job. None outside Slurm and where Slurm refuses."""
    job = environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    try:
        done = subprocess.run(["scontrol", *command, job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("scontrol %s %s: %s", " ".join(command), job, error)
        return None
    if done.returncode:
        log.warning("scontrol %s %s: %s", " ".join(command), job, done.stderr.strip())
        return None
    return done.stdout
