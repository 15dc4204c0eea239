"""What a network runs on, and how many processes load images for it."""

import os
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch

from distill.cluster.gpus import visible
from distill.program import UserError, log, processors

T = TypeVar("T")
MOST_WORKERS = 16  # more wait for the disk
CROPS = 8  # of instances, take the memory of an image


def pick_workers(device: torch.device) -> int:
    """How many processes load images for one GPU: its share of the CPUs that this job may use, but for one.
    0 on a CPU, which the network itself keeps busy."""
    if device.type == "cpu":
        return 0
    return max(1, min(MOST_WORKERS, processors() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


@cache
def _warn_of_driver() -> None:
    if visible(os.environ):
        log.warning("there is a GPU, and torch cannot use it (is its driver too old?): this runs on the CPU")


def pick_device(name: str) -> torch.device:
    """cpu, cuda or auto (cuda where there is one). Raises UserError where cuda is asked for and missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu":
            _warn_of_driver()
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for but torch sees no GPU; set `device: auto` or `cpu`")
    return torch.device(name)


def in_memory(call: Callable[[slice], T], rows: slice) -> list[T]:
    """What a function gives for rows of a batch, or for parts of them where the GPU has no memory for all."""
    try:
        return [call(rows)]
    except torch.OutOfMemoryError:
        if rows.stop - rows.start == 1:
            raise
    # Out of the handler, by which the failed attempt would keep its memory.
    log.info("%d at once are too many for the GPU's memory", rows.stop - rows.start)
    torch.cuda.empty_cache()
    middle = (rows.start + rows.stop) // 2
    return in_memory(call, slice(rows.start, middle)) + in_memory(call, slice(middle, rows.stop))
