"""The workflow in a folder of its own, where the real Snakemake runs a study."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from helpers import ROOT, warm


def lay_out(folder: Path, study: dict[str, Any], warmed: bool = False) -> None:
    """Links the parts of the workflow into `folder`, programs warm or as they are; writes study.yaml."""
    for name in ("rules", "config", "scripts", "envs", "Snakefile"):
        if name == "scripts" and warmed:
            warm.install(folder / name)
        else:
            (folder / name).symlink_to(ROOT / name)
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


def command(*args: str, config: str = "study.yaml") -> list[str]:
    """Snakemake's command line; options first, then targets."""
    return [sys.executable, "-m", "snakemake", "--configfile", config, *args]


def snakemake(folder: Path, *args: str, config: str = "study.yaml") -> subprocess.CompletedProcess:
    """Runs it, and gives its outputs as text."""
    return warm.run("snakemake", "--configfile", config, *args, cwd=folder)


def succeed(folder: Path, *args: str, config: str = "study.yaml") -> str:
    """What it says; fails with the end of it where it fails."""
    done = snakemake(folder, *args, config=config)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def kill(run: subprocess.Popen, folder: Path) -> None:
    """kill -9 of a running Snakemake and all its jobs; the folder can be used again afterwards."""
    killed = [run, *psutil.Process(run.pid).children(recursive=True)]
    for process in killed:
        with suppress(psutil.NoSuchProcess):  # it ended just now
            process.kill()
    run.wait()
    psutil.wait_procs(killed[1:])
    succeed(folder, "--unlock")
