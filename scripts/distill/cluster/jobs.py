"""The jobs of a study as Snakemake plans them."""

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from distill.program import UserError


@dataclass(frozen=True)
class Job:
    """One job of the graph. gpus: of all its nodes; benchmark: path, empty for light jobs; temporary: whether
    its files go once they are read; due: whether it would run now, whatever files are there."""

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    wildcards: Mapping[str, str] = field(hash=False)
    gpus: int
    log: str
    benchmark: str
    temporary: bool = False
    due: bool = True

    @property
    def is_done(self) -> bool:
        """Whether all its files are there."""
        return all(map(Path.exists, map(Path, self.outputs)))

    @property
    def comment(self) -> str:
        """How squeue shows it."""
        values = "_".join(self.wildcards.values()).replace("/", "_")
        return f"rule_{self.rule}" + (f"_wildcards_{values}" if values else "")


def parse(text: str) -> list[Job]:
    """The jobs in the output of `snakemake -n`."""
    jobs, temporary = [], set(re.findall(r"^Would remove temporary output (.+)$", text, re.M))
    for rule, body in re.findall(r"^(?:local)?rule ([\w-]+):\n((?:    .*\n?)+)", text, re.M):
        entries = dict(re.findall(r"^    (\w+): (.*)$", body, re.M))
        if "output" not in entries:  # a target
            continue
        pairs = {
            key: dict(part.split("=", 1) for part in entries[key].split(", ")) if key in entries else {}
            for key in ("wildcards", "resources")
        }
        inputs, outputs = (
            tuple(filter(None, entries.get(key, "").split(", "))) for key in ("input", "output")
        )
        gpus = int(pairs["resources"].get("gpu", 0))
        logs = entries.get("log", ""), entries.get("benchmark", "")
        gone = not temporary.isdisjoint(outputs)
        jobs.append(Job(rule, inputs, outputs, pairs["wildcards"], gpus, *logs, gone))
    return jobs


def finished(jobs: Iterable[Job]) -> set[Job]:
    """The jobs that have been done, if perhaps of other options. Files that are temporary are gone once those
    that read them are done."""
    jobs = list(jobs)
    done = {job for job in jobs if job.is_done}
    readers: dict[str, list[Job]] = {}
    for job in jobs:
        for path in job.inputs:
            readers.setdefault(path, []).append(job)
    for job in jobs:
        mine = [reader for path in job.outputs for reader in readers.get(path, ())]
        if job.temporary and mine and done.issuperset(mine):
            done.add(job)
    return done


def graph(config: Path, targets: list[str]) -> list[Job]:
    """All jobs of a study, done or not, as Snakemake plans them."""
    return _planned(config, targets, "--forceall")


def graph_now(config: Path, targets: list[str]) -> list[Job]:
    """The same, each with whether it is due."""
    with ThreadPoolExecutor() as pool:
        due = pool.submit(_planned, config, targets)
        jobs = graph(config, targets)
    outputs = {job.outputs for job in due.result()}
    return [replace(job, due=job.outputs in outputs) for job in jobs]


def _planned(config: Path, targets: list[str], *options: str) -> list[Job]:
    command = [sys.executable, "-m", "snakemake", "-n", *options, "--nolock", "--configfile", str(config)]
    done = subprocess.run([*command, "--", *targets], capture_output=True, text=True)
    if done.returncode:
        text = done.stdout + done.stderr
        said = [line for line in text.splitlines() if line.strip() and "specific profile" not in line]
        if missing := re.search(r"^ *affected files:\n +(.*)$", text, re.M):
            raise UserError(f"{missing[1]}: no such file, and no rule makes it")
        ours = [line for line in said if line.startswith("error: ")]
        wrong = [line for line in said if "No rule to produce" in line]
        raise UserError((ours or wrong or said or ["Snakemake failed"])[-1].strip().removeprefix("error: "))
    return parse(done.stdout + done.stderr)
