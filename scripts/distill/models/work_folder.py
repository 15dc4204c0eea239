"""The work folder of a training: checkpoints that outlive a killed job, and whose training they are of."""

import fcntl
import shutil
from pathlib import Path
from typing import IO

import torch
from mmengine.dist import broadcast_object_list, is_main_process

from distill.program import log


def lock_folder(work: Path) -> IO:
    """Waits until no other process trains in the work folder (one that outlived its Snakemake, say)."""
    work.parent.mkdir(parents=True, exist_ok=True)
    lock = open(work.with_suffix(".lock"), "w")  # noqa: SIM115, held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("another process is training in %s; waiting for its end", work)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def checkpoints(work: Path) -> list[Path]:
    """Oldest first."""
    return sorted(work.glob("iter_*.pth"), key=lambda path: int(path.stem[5:]))


def last_checkpoint(work: Path) -> Path | None:
    """The newest checkpoint that can be read: a job may have been killed while writing the last one."""
    for path in reversed(checkpoints(work)):
        try:
            torch.load(path, map_location="meta", weights_only=True, mmap=True)
            return path
        except Exception as error:  # truncated zip, missing records, …
            log.warning("%s is damaged (%s); taking the one before", path, str(error).splitlines()[0])
            path.unlink(missing_ok=True)
    return None


def prepare(work: Path, mark: str) -> Path | None:
    """Readies the work folder, discarding another training's; returns the checkpoint to resume from.

    The first process decides for all: on a shared file system, others may not see yet what it sees.
    """
    found = None
    if is_main_process():
        note = work / "fingerprint.txt"
        if not (note.is_file() and note.read_text() == mark):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            note.write_text(mark)
        found = last_checkpoint(work)
    decision = [found]
    broadcast_object_list(decision)
    return decision[0]


def keep_newest(work: Path) -> None:
    """Removes all but the last checkpoint, which lets a repetition of a finished training end at once."""
    for path in checkpoints(work)[:-1]:
        path.unlink()


def count_resumes(work: Path, checkpoint: Path | None) -> int:
    """How often this training has been resumed, this time included; kept in the work folder. For the first
    process."""
    counter = work / "resumes.txt"
    count = int(counter.read_text()) + 1 if checkpoint and counter.is_file() else 0
    counter.write_text(str(count))
    return count
