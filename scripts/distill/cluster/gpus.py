"""Gives each job GPUs of its own where several run on one machine.

Slurm gives a job its GPUs, but jobs that Snakemake starts on one machine all see the same ones. Each
therefore locks the devices that it uses, and waits until enough are free. The kernel gives a lock back when
its process ends, however it ends.
"""

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

from distill.program import UserError, log

DEVICES = Path("/dev")
POLL = 1.0  # seconds
SHARES = "DISTILL_SHARES"  # jobs like this one that the GPUs of the machine bear: its CPUs are for all


def visible(environ: Mapping[str, str]) -> list[str]:
    """The devices that this process may use: those of CUDA_VISIBLE_DEVICES, or all of the machine."""
    if (chosen := environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        devices = takewhile(lambda device: not device.startswith("-"), map(str.strip, chosen.split(",")))
        return [device for device in devices if device]  # -1 ends the list, as for CUDA
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    except FileNotFoundError:  # a container may have the driver and not its tools
        return [str(number) for number, _ in enumerate(DEVICES.glob("nvidia[0-9]*"))]
    except (OSError, subprocess.CalledProcessError):
        return []


def lock_folder(environ: Mapping[str, str]) -> Path:
    """The folder of the locks: one for each user of this machine. A Slurm job has one of its own, since its
    devices are often numbered from 0."""
    job = "".join(f"-{environ[key]}" for key in ("SLURM_JOB_ID", "SLURMD_NODENAME") if key in environ)
    return Path(tempfile.gettempdir()) / f"distill-gpus-{os.getuid()}{job}"


def claim(count: int, device: str = "auto") -> None:
    """Waits for `count` free GPUs and keeps them until this process, or the program that it becomes, ends.

    They are then all that CUDA shows, so this comes before torch asks for them; with `cpu` it shows none, for
    the libraries that do not ask for the study's `device`. Does nothing without GPUs, and in the processes of
    torchrun, which started with those that they share. Raises UserError where the machine has fewer.
    """
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    if "LOCAL_RANK" in os.environ or not (devices := visible(os.environ)):
        return
    if len(devices) < count:
        raise UserError(f"{count} GPUs are asked for, there are {len(devices)}; set `gpus` of the model")
    folder = lock_folder(os.environ)
    folder.mkdir(mode=0o700, exist_ok=True)
    waiting = False
    while len(mine := _lock(folder, devices, count)) < count:
        if not waiting:
            log.info("waiting for a GPU; with --resources gpu=%d, no job is started too early", len(devices))
            waiting = True
        time.sleep(POLL)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
    os.environ[SHARES] = str(len(devices) // count)
    log.info("GPUs: %s of %s", ",".join(mine), ",".join(devices))


def _lock(folder: Path, devices: list[str], count: int) -> list[str]:
    """Locks `count` devices, or none, and returns them. The descriptors are left open on purpose: closing one
    would give its lock back."""
    mine = {}
    for device in devices:
        lock = os.open(folder / f"{device.replace('/', '-')}.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        os.set_inheritable(lock, True)  # for launch.py, which becomes torchrun
        mine[device] = lock
        if len(mine) == count:
            return list(mine)
    for lock in mine.values():
        os.close(lock)
    return []
