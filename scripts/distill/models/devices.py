"""What a network runs on, and how many processes load images for it."""

import os
import re
from collections.abc import Callable, Hashable
from functools import cache
from typing import TypeVar

import torch

from distill.cluster.gpus import SHARES, visible
from distill.program import UserError, log, processors

T = TypeVar("T")
MOST_WORKERS = 16  # more wait for the disk
CROPS = 8  # of instances, take the memory of an image


def pick_workers(device: torch.device) -> int:
    """How many processes load images for one GPU: its share of the CPUs that this job may use, but for one.
    0 on a CPU, which the network itself keeps busy."""
    if device.type == "cpu":
        return 0
    jobs, processes = (int(os.environ.get(key, 1)) for key in (SHARES, "LOCAL_WORLD_SIZE"))
    return max(1, min(MOST_WORKERS, processors() // (jobs * processes) - 1))


@cache
def _warn_of_driver() -> None:
    if visible(os.environ):
        log.warning("there is a GPU, and torch cannot use it (is its driver too old?): this runs on the CPU")


@cache
def _too_old() -> str:
    """Why torch has nothing that this GPU can run; "" where it has. Torch would only warn, and fail later."""
    built = [int(found[1]) for arch in torch.cuda.get_arch_list() if (found := re.match(r"sm_(\d+)", arch))]
    major, minor = torch.cuda.get_device_capability()
    if 10 * major + minor >= min(built, default=0):
        return ""
    least = "{}.{}".format(*divmod(min(built), 10))
    made = f"torch {torch.__version__} is made for {least} and up"
    return f"its compute capability is {major}.{minor}, and {made}"


def pick_device(name: str) -> torch.device:
    """cpu, cuda or auto (cuda where there is one). Raises UserError where cuda is asked for and there is none
    that torch can use."""
    if name == "cpu":
        return torch.device(name)
    if not torch.cuda.is_available():
        if name == "cuda":
            raise UserError("device: cuda is asked for but torch sees no GPU; set `device: auto` or `cpu`")
        _warn_of_driver()
        return torch.device("cpu")
    if why := _too_old():
        if name == "cuda":
            raise UserError(f"device: cuda is asked for and the GPU is too old: {why}; set `device: cpu`")
        log.warning("the GPU is too old, this runs on the CPU: %s", why)
        return torch.device("cpu")
    return torch.device("cuda")


class Portions:
    """Has a function compute a batch at once, or in parts where the GPU has no memory for all, and remembers
    how large these may be."""

    def __init__(self) -> None:
        self.most: dict[Hashable, int] = {}

    def __call__(self, call: Callable[[slice], T], count: int, shape: Hashable) -> list[T]:
        """What the function gives for the rows of a batch, part by part.

        call: of a slice of the batch.
        count: rows of the batch.
        shape: what the memory that a row takes depends on.

        Raises torch.OutOfMemoryError where there is none for one row.
        """
        results: list[T] = []
        start = 0
        while start < count:
            rows = slice(start, min(count, start + self.most.get(shape, count)))
            try:
                results.append(call(rows))
                start = rows.stop
                continue
            except torch.OutOfMemoryError:
                if rows.stop - rows.start == 1:
                    raise
            # Out of the handler, by which the failed attempt would keep its memory.
            log.info("%d at once are too many for the GPU's memory", rows.stop - rows.start)
            torch.cuda.empty_cache()
            self.most[shape] = -(-(rows.stop - rows.start) // 2)
        return results
