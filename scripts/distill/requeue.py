"""What a job asks Slurm about itself: whether its place is taken, and to be run again."""

import logging
import re
import subprocess
from collections.abc import Mapping

log = logging.getLogger("distill")


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
