"""What every command-line program of the workflow shares: errors, logging, progress, threads.

A program is a `main` that parses its arguments and calls the library. `run(main)` turns a
`UserError` into one clear line and exit code 1; any other exception is a bug and keeps its traceback.
Every program knows `--version`.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

from distill import __version__, forks
from distill.requeue import preempted, requeue

# Threads of OpenMP that wait for each other sleep: on a machine that does other work too, those that spin
# keep the others from theirs. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger("distill")
EVERY = 10  # seconds between two lines about progress
DEVICE = os.environ.get("DISTILL_DEVICE", "auto")  # the study's: cpu, cuda or auto


class UserError(Exception):
    """Bad input. The message is one line: what is wrong, where (file, id), and what to do."""


def cause(error: BaseException) -> str:
    """What an exception says, on one line; the name of its class where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def run(main: Callable[[], None], imports: str | None = None) -> None:
    """Runs a program's `main`; logs go to stderr, which the workflow redirects into the rule's log.

    imports: a module that takes longer to import than the program's work may take (`forks`).
    """
    if sys.argv[1:] == ["--version"]:  # before any parser asks for what a program cannot do without
        print(f"data distillation {__version__}")
        return
    if imports and (code := forks.hand_over(imports)) is not None:
        sys.exit(code)
    signal.signal(signal.SIGTERM, _end)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    if job := os.environ.get("SLURM_JOB_ID"):  # Snakemake shows Slurm's log only where this one is not empty
        node, gpus = (os.environ.get(key, "none") for key in ("SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES"))
        log.info("Slurm job %s on %s, GPUs: %s", job, node, gpus)
    try:
        main()
    except UserError as error:
        print(f"error: {_message(error)}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        with suppress(OSError):
            sys.stdout.close()
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not loaded here
            raise
        what = ". ".join(cause(error).split(". ")[:2])
        print(
            f"error: {what}: the GPU's memory is too small; give it less at once, by `batch`", file=sys.stderr
        )
        sys.exit(1)
    except OSError as error:  # a full disk, a missing file, a forbidden folder
        if error.filename is None and error.errno is None:
            raise
        print(f"error: {error.strerror}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        sys.exit(1)


def _end(number: int, frame: FrameType | None) -> None:
    """Where a job is cancelled, what it has half-written goes; one whose place Slurm takes is put back into
    the queue. A training that has begun answers in its own way."""
    if preempted(os.environ):
        requeue(os.environ)
    sys.exit(128 + number)


def require(options: Any, keys: Iterable[str], where: str) -> None:
    """Raises UserError where the options that a program is given lack a key: it is given all of them, as it
    knows no defaults."""
    if not isinstance(options, dict):
        raise UserError(f"{where}: must be a mapping, not {options!r}")
    if missing := [key for key in keys if key not in options]:
        raise UserError(f"{where}: needs {', '.join(missing)} too; defaults are in config/README.md")


def at_least(least: int, **options: int | None) -> None:
    """Raises UserError for an option of a program whose number is below `least`; None: it was not given."""
    for name, value in options.items():
        if value is not None and value < least:
            raise UserError(f"--{name}: must be at least {least}, not {value}")


def _message(error: UserError) -> str:
    """In one line: a process that loads images hands on what it raised with its traceback before it."""
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if len(lines) == 1 else lines[-1].partition("Error: ")[2] or cause(error)


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yields the items; logs a plain line with count, rate and ETA every `EVERY` seconds."""
    start = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            rate = done / (now - start)
            log.info("%s: %d/%d, %.1f/s, %.0f s left", what, done, total, rate, (total - done) / rate)
    log.info("%s: %d in %.1f s", what, done, time.monotonic() - start)


def processors() -> int:
    """How many processors this process may use: a cluster job has fewer than the machine, and not every
    cluster prevents it from using more."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, int(os.environ.get("SLURM_CPUS_ON_NODE", allowed)))


def in_threads(function: Callable[[T], R], items: Sequence[T], what: str, chunk: int = 1) -> Iterator[R]:
    """Yields what a function makes of each item, in order, computed by as many threads as there are
    processors, with `progress`. chunk: items that a thread takes at a time."""
    from multiprocessing.pool import ThreadPool

    with ThreadPool(min(processors(), max(1, len(items)))) as pool:
        yield from progress(pool.imap(function, items, chunksize=chunk), len(items), what)


@contextmanager
def bar(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, else a plain line every `EVERY` seconds; to be told how many more are
    done. total: None where nobody knows."""
    from tqdm import tqdm

    last = time.monotonic()
    with tqdm(total=total, unit=f" {what}s", disable=None, dynamic_ncols=True) as shown:
        done = 0

        def more(count: int) -> None:
            nonlocal done, last
            done += count
            shown.update(count)
            if shown.disable and time.monotonic() - last >= EVERY:
                last = time.monotonic()
                log.info("%d of %s %ss", done, total or "unknown", what)

        yield more
    log.info("%d %ss", done, what)
