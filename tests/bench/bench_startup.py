"""What a job waits for before its work begins: each program's start, and the imports that bring the networks.

python tests/bench/bench_startup.py

CPU time, in ratio to Python's own start. The environment itself: time make env, in a fresh clone.
"""

import os
import subprocess
import sys

from measure import SCRIPTS, best_seconds, report

NETWORKS = ("torch", "mmdet", "distill.models.prediction", "distill.models.training")


def children_clock() -> float:
    times = os.times()
    return times.children_user + times.children_system


def start(*command: str) -> None:
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, cwd=SCRIPTS)


def main() -> None:
    programs = {path.name: (path.name, "--help") for path in sorted(SCRIPTS.glob("*.py"))}
    programs |= {f"import {name}": ("-c", f"import {name}") for name in NETWORKS}
    bare, *seconds = best_seconds(
        lambda: start("-c", "pass"),
        *(lambda command=command: start(*command) for command in programs.values()),
        rounds=3,
        clock=children_clock,
    )
    rows = [
        {"program": name, "CPU s": taken, "of Python's own start": taken / bare}
        for name, taken in zip(programs, seconds, strict=True)
    ]
    report("start-up", sorted(rows, key=lambda row: row["CPU s"]))


if __name__ == "__main__":
    main()
