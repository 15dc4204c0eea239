"""What the benchmarks share: times taken in turns, time and peak memory of a process, a table that is a CSV
file below results/bench/ too."""

import csv
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
sys.path[:0] = [str(SCRIPTS), str(ROOT / "tests")]
import distill.models  # noqa: E402, F401 — before mmdet is imported


def best_seconds(*functions: Callable[[], Any], rounds: int = 5, clock=time.perf_counter) -> list[float]:
    """The best time of each function. They take turns, so that a busy machine is unfair to none."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, times, strict=True):
            start = clock()
            function()
            taken.append(clock() - start)
    return [min(taken) for taken in times]


def in_child(function: Callable, *args: Any) -> Any:
    """What a module's function returns, called in a process of its own, whose memory is gone afterwards."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def run_program(name: str, *args: Any) -> dict[str, float]:
    """Wall and CPU time in s and peak memory in MiB of a program of scripts/, start-up included.

    The peak is at least this process's own, which a child begins with: what is large belongs `in_child`.
    """
    start = time.perf_counter()
    command = [sys.executable, SCRIPTS / name, *map(str, args)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{name}: {error}")
    seconds, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return {"s": seconds, "CPU s": cpu, "peak MiB": usage.ru_maxrss / 1024}


def report(title: str, rows: list[dict[str, Any]]) -> None:
    """Prints rows of the same keys as a table of Markdown, and writes them to results/bench/, as
    {program}-{title}.csv."""
    cells = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}")
    cells.insert(1, ["-" * (width - 1) + ":" for width in widths])
    for line in cells:
        print("|", " | ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)), "|")
    program = Path(sys.argv[0]).stem.removeprefix("bench_")
    path = ROOT / "results/bench" / f"{program}-{title.replace(' ', '-')}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
