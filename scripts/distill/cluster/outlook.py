"""How far a study is: its jobs as Snakemake and Slurm see them now, and what is left, as text."""

import os
import subprocess
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import pandas as pd

from distill.cluster.costs import critical_path
from distill.cluster.jobs import Job, finished
from distill.files import read_json
from distill.study.types import Study

Costs = Mapping[Job, float | None]  # None: unknown
STATES = ("done", "running", "pending", "begun", "waiting")


def image_counts(study: Study) -> dict[str, int]:
    """Dataset → its number of images, of those that describe_dataset.py has counted."""
    files = {name: Path(f"{study['results']}/datasets/{name}.stats.json") for name in study["datasets"]}
    return {name: read_json(path)["images"] for name, path in files.items() if path.exists()}


def queue() -> dict[str, str]:
    """squeue's comment → state and reason; empty without Slurm."""
    try:
        done = subprocess.run(["squeue", "--me", "-h", "-o", "%k|%T|%r"], capture_output=True, text=True)
    except FileNotFoundError:
        return {}
    rows = (row.split("|") for row in done.stdout.splitlines())
    return {comment: f"{state.lower()} ({reason})" for comment, state, reason in rows}


def state_of(job: Job, queued: dict[str, str], done: Container[Job]) -> str:
    """done (of `jobs.finished`, and not due again), running or pending (in Slurm's queue), begun (there is a
    log: it runs here, or failed) or waiting."""
    if job in done and not job.due:
        return "done"
    if job.comment in queued:
        return queued[job.comment].split()[0]
    return "begun" if job not in done and job.log and Path(job.log).exists() else "waiting"


def last_line(path: str, width: int = 96) -> str:
    """The last line of a log, cut at `width`: a training's iterations and ETA, seconds left, or an error."""
    if not path or not Path(path).exists():
        return ""
    with open(path, "rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - 4096))
        lines = log.read().decode(errors="replace").splitlines()
    return next((line[:width] for line in reversed(lines) if line.strip()), "")


def _times(cost: float | None, count: int) -> float | None:
    return None if cost is None else cost * count


def total(values: list[float | None], unit: float) -> str:
    """A sum, in multiples of `unit`; with a + where some values are not known, ? where none is."""
    known = [value for value in values if value is not None]
    if values and not known:
        return "?"
    return f"{sum(known) / unit:.2f}" + ("+" if len(known) < len(values) else "")


def outlook(jobs: list[Job], seconds: Costs, sizes: Costs, queued: dict[str, str]) -> Iterator[str]:
    """The table of rules and what is left, as lines of text.

    jobs: of `graph`.
    seconds, sizes: of `costs.estimate`.
    queued: of `queue`.
    """
    done = finished(jobs)
    states = {job: state_of(job, queued, done) for job in jobs}
    yield by_rule(jobs, states, seconds, sizes).to_string(index=False)
    left = [job for job in jobs if states[job] != "done"]
    yield from _time_left(left, states, seconds)
    yield from _under_way(left, states, queued)


def by_rule(jobs: list[Job], states: Mapping[Job, str], seconds: Costs, sizes: Costs) -> pd.DataFrame:
    """A row of text for each rule: how many of its jobs are in which state, and what all of them cost."""
    rows = []
    for rule in dict.fromkeys(job.rule for job in jobs):
        mine = [job for job in jobs if job.rule == rule]
        count = Counter(states[job] for job in mine)
        spent = [_times(seconds[job], job.gpus or 1) for job in mine]
        row = {"rule": rule, "jobs": len(mine), **{key: count[key] for key in STATES}}
        row |= {"GPU h" if mine[0].gpus else "CPU h": total(spent, 3600)}
        rows.append(row | {"GB": total([sizes[job] for job in mine], 1e9)})
    columns = ["rule", "jobs", *STATES, "GPU h", "CPU h", "GB"]
    return pd.DataFrame(rows, columns=columns).fillna("")


def _time_left(left: list[Job], states: Mapping[Job, str], seconds: Costs) -> Iterator[str]:
    """GPU hours and critical path of the jobs that are left; where some run, when all will be done."""
    gpus = [_times(seconds[job], job.gpus) for job in left if job.gpus]
    path = critical_path(left, seconds)
    yield f"\nleft: {len(left)} jobs, {total(gpus, 3600)} GPU hours"
    yield f"critical path: {total([seconds[job] for job in path], 3600)} h:"
    for job in path:
        yield f"  {total([seconds[job]], 3600):>8} h  {job.comment.removeprefix('rule_')}"
    if busy := sum(job.gpus for job in left if states[job] == "running"):
        eta = max(sum(filter(None, gpus)) / busy, sum(filter(None, (seconds[job] for job in path))))
        yield f"about {eta / 3600:.2f} h with the {busy} GPUs that are at work now"


def _under_way(left: list[Job], states: Mapping[Job, str], queued: Mapping[str, str]) -> Iterator[str]:
    """What waits in the queue, and the last line of what runs."""
    for job in left:
        if job.comment in queued and states[job] != "running":
            yield f"{queued[job.comment]}: {job.comment}"
        elif states[job] in ("running", "begun"):
            yield f"{'runs' if states[job] == 'running' else 'runs here or failed'}: {job.log}"
            yield f"  {last_line(job.log)}"
