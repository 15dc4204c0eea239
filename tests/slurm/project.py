"""A folder in which Snakemake runs on the one-machine cluster with the project's own profile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cluster

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SETTINGS = {  # of studies that are really run
    "results": "out",
    "device": "auto",  # Slurm's GPUs are fakes: the jobs ask for them and run on the CPU
    "threads": 1,
}
MODEL = {"config": "faster_rcnn_tiny", "batch": 2, "scales": [64], "max_side": 96}


class Project:
    """A folder with the project's profile in which Snakemake runs on the cluster."""

    def __init__(self, folder: Path, retries: int = 0) -> None:
        self.folder, self.options = folder, ["--retries", str(retries)]
        without_logs = shutil.ignore_patterns("logs")
        shutil.copytree(ROOT / "slurm", folder / "slurm", symlinks=True, ignore=without_logs)
        self.runs: list[subprocess.Popen] = []
        self.old = set(cluster.output("squeue", "-h", "--states=all", "-o", "%i").split())  # of earlier tests

    def start(self, *args: str) -> subprocess.Popen:
        """Starts Snakemake with the project's profile; only the waiting times are shorter."""
        quick = ["--latency-wait", "5", *self.options]
        log = open(self.folder / "terminal.log", "a")  # noqa: SIM115, closed with the process
        process = subprocess.Popen(
            [sys.executable, HERE / "impatient.py", "--profile", "slurm", *quick, *args],
            cwd=self.folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        self.runs.append(process)
        return process

    @property
    def terminal(self) -> str:
        return (self.folder / "terminal.log").read_text()

    def finish(self, process: subprocess.Popen, seconds: float = 900) -> int:
        """Snakemake's exit code. A run that hangs fails the test with what was on the terminal."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"Snakemake hangs:\n{self.terminal[-4000:]}") from None

    def job(self, comment: str, state: str = "RUNNING", seconds: float = 300) -> str:
        """The number of the job with this comment (rule and wildcards), once it is in the state."""

        def found():
            rows = cluster.output("squeue", "-h", "--states=all", "-o", "%i|%T|%k").splitlines()
            rows = [row.split("|") for row in rows]
            wanted = (number for number, now, what in rows if (what, now) == (comment, state))
            return next((number for number in wanted if number not in self.old), None)

        return cluster.wait_for(found, f"{comment} {state}\n{self.terminal[-2000:]}", seconds)

    def stop(self) -> None:
        for process in self.runs:
            if process.poll() is None:
                process.kill()
                process.wait()
