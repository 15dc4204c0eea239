"""The work folder of a training: checkpoints that outlive a killed job, and a mark of whose they are."""

import shutil
import zipfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from mmengine.dist import broadcast_object_list, get_world_size, is_main_process

from distill import files
from distill.program import UserError, log


def locked(work: Path) -> AbstractContextManager[None]:
    """Waits until no other process trains in the work folder (one that outlived its Snakemake, say). For the
    first process of a training; where there are several, the others would not wait long for it, so it raises
    UserError."""
    if not is_main_process():
        return nullcontext()
    return files.locked(work.with_suffix(".lock"), f"is training in {work}", wait=get_world_size() == 1)


def checkpoints(work: Path) -> list[Path]:
    """The checkpoints of a work folder, the oldest first."""
    return sorted(work.glob("iter_*.pth"), key=lambda path: int(path.stem[5:]))


def last_checkpoint(work: Path) -> Path | None:
    """The newest checkpoint that is whole: a job may have been killed while writing the last one.
    Raises UserError where one is whole and cannot be read all the same (no memory, a disk that is away)."""
    for path in reversed(checkpoints(work)):
        try:
            with open(path, "rb") as file:  # what has its end is whole
                whole = zipfile.is_zipfile(file)
            torch.load(path, map_location="meta", weights_only=True, mmap=True)
            return path
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
        except Exception as error:  # truncated zip, missing records, …
            why = str(error).partition("\n")[0]
            if whole:
                hint = "run again when it can be, or remove it to go on from an older one"
                raise UserError(f"{path}: cannot be read ({why}); {hint}") from None
            log.warning("%s is damaged (%s); taking the one before", path, why)
            path.unlink(missing_ok=True)
    return None


def prepare(work: Path, mark: str) -> Path | None:
    """Empties the folder if its mark is another training's; returns the checkpoint to resume from, or None.

    The first process decides for all: on a shared file system, others may not see yet what it sees.
    """
    found = None
    if is_main_process():
        note = work / "fingerprint.txt"
        if not (note.is_file() and note.read_bytes() == mark.encode()):
            if any(checkpoints(work)):
                log.warning("%s: is of another training (options, data or code); begun anew", work)
            shutil.rmtree(work, ignore_errors=True)  # on NFS an open file of it may stay for a while
            work.mkdir(parents=True, exist_ok=True)
            for old in checkpoints(work):
                old.unlink()
            files.write_text(note, mark)
        found = last_checkpoint(work)
        keep_newest(work, 2)  # those before it are unknown to mmengine, which would not remove them
    decision = [found]
    broadcast_object_list(decision)
    return decision[0]


def keep_newest(work: Path, count: int = 1) -> None:
    """Removes all but the last checkpoints. That of the end lets a repetition of a finished training end at
    once."""
    for path in checkpoints(work)[:-count]:
        path.unlink()


def count_resumes(work: Path, checkpoint: Path | None) -> int:
    """How often this training has been resumed, this time included; kept in the work folder. For the first
    process."""
    counter = work / "resumes.txt"
    before = counter.read_text(errors="replace").strip() if counter.is_file() else ""
    if checkpoint and not before.isdecimal():
        log.warning("%s: does not say how often this training was resumed; counted from here", counter)
    count = int(before) + 1 if before.isdecimal() else 1
    count = count if checkpoint else 0
    files.write_text(counter, str(count))
    return count
