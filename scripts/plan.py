"""Before a study: its jobs, GPU hours, disk, critical path. While it runs: what is done, running, failed.

    python scripts/plan.py --configfile config/mine.yaml [target …]

Times are those of finished jobs. Before the first one, measure on a few images:

    python scripts/plan.py --configfile config/mine.yaml --calibration calibration.yaml
    snakemake --profile slurm --configfile calibration.yaml
    python scripts/plan.py --configfile config/mine.yaml --measured calibration.yaml
"""

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import yaml

from distill.files import read_json
from distill.plan import Job, critical_path, estimate, is_done, parse
from distill.program import UserError, run
from distill.study import read, resolve

ROOT = Path(__file__).resolve().parents[1]
STATES = ("done", "running", "pending", "begun", "waiting")


def graph(config: Path, targets: list[str]) -> list[Job]:
    """All jobs of a study, done or not, as Snakemake plans them."""
    command = [sys.executable, "-m", "snakemake", "-n", "--forceall", "--nolock", "--configfile", str(config)]
    done = subprocess.run([*command, "--", *targets], capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.strip().removeprefix("error: "))
    return parse(done.stdout + done.stderr)


def counted(study: dict) -> dict[str, int]:
    """Images of the datasets that have been described."""
    files = {name: Path(f"{study['results']}/datasets/{name}.stats.json") for name in study["datasets"]}
    return {name: read_json(path)["images"] for name, path in files.items() if path.exists()}


def calibration(config: dict, study: dict) -> dict:
    """A study of a few images: one short training of each model config, predictions under two views."""
    models = {}
    for model in study["models"].values():
        short = {key: model[key] for key in ("batch", "scales", "max_side", "amp") if key in model}
        common = {"config": model["config"], "labelled": "few", "init": "none", "iterations": 20}
        models.setdefault(model["config"], {**common, **short})
    on = next(iter(study["evaluate"]["on"]))
    few = {
        "few": {"kind": "subset", "of": next(iter(study["models"].values()))["labelled"], "images": 16},
        "few-val": {"kind": "subset", "of": on, "images": 16},
    }
    return {
        "results": f"{study['results']}/calibration",
        **{key: config[key] for key in ("data", "device", "threads") if key in config},
        "datasets": {**config["datasets"], **few},
        "models": models,
        "views": {"plain": config.get("views", {}).get("plain", [{"scale": 800}]), "all": [{"scale": 400}]},
        "evaluate": {"on": "few-val", "views": ["plain", "all"]},
        "tables": {name: {"rows": [name]} for name in models},
    }


def queue() -> dict[str, str]:
    """squeue's comment → state and reason; empty without Slurm."""
    try:
        done = subprocess.run(["squeue", "--me", "-h", "-o", "%k|%T|%r"], capture_output=True, text=True)
    except FileNotFoundError:
        return {}
    rows = (row.split("|") for row in done.stdout.splitlines())
    return {comment: f"{state.lower()} ({reason})" for comment, state, reason in rows}


def state_of(job: Job, queued: dict[str, str]) -> str:
    """done, running, pending, begun (it runs on this machine, or failed) or waiting."""
    if is_done(job):
        return "done"
    if job.comment in queued:
        return queued[job.comment].split()[0]
    return "begun" if job.log and Path(job.log).exists() else "waiting"


def total(values: list[float | None], unit: float) -> str:
    """A sum in the unit; with a + where some are not known, and ? where none is."""
    known = [value for value in values if value is not None]
    if values and not known:
        return "?"
    return f"{sum(known) / unit:.2f}" + ("+" if len(known) < len(values) else "")


def show(jobs: list[Job], seconds: dict, sizes: dict, queued: dict[str, str]) -> None:
    """The table of rules, and what is left."""
    rows = []
    states = {job: state_of(job, queued) for job in jobs}
    for rule in dict.fromkeys(job.rule for job in jobs):
        mine = [job for job in jobs if job.rule == rule]
        count = Counter(states[job] for job in mine)
        spent = [seconds[job] and seconds[job] * (job.gpus or 1) for job in mine]
        row = {"rule": rule, "jobs": len(mine), **{key: count[key] for key in STATES}}
        row |= {"GPU h" if mine[0].gpus else "CPU h": total(spent, 3600)}
        rows.append(row | {"GB": total([sizes[job] for job in mine], 1e9)})
    columns = ["rule", "jobs", *STATES, "GPU h", "CPU h", "GB"]
    print(pd.DataFrame(rows, columns=columns).fillna("").to_string(index=False))
    left = [job for job in jobs if states[job] != "done"]
    gpus = [seconds[job] and seconds[job] * job.gpus for job in left if job.gpus]
    path = critical_path(left, seconds)
    print(f"\nleft: {len(left)} jobs, {total(gpus, 3600)} GPU hours")
    print(f"critical path: {total([seconds[job] for job in path], 3600)} h:")
    for job in path:
        print(f"  {total([seconds[job]], 3600):>8} h  {job.comment.removeprefix('rule_')}")
    if busy := sum(job.gpus for job in left if states[job] == "running"):
        eta = max(sum(filter(None, gpus)) / busy, sum(filter(None, (seconds[job] for job in path))))
        print(f"about {eta / 3600:.2f} h with the {busy} GPUs that are at work now")
    for job in left:
        if job.comment in queued and states[job] != "running":
            print(f"{queued[job.comment]}: {job.comment}")
        elif states[job] == "begun":
            print(f"runs here or failed: {job.log}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configfile", type=Path, required=True, help="the study")
    parser.add_argument("--calibration", type=Path, help="write a study here that measures on a few images")
    parser.add_argument(
        "--measured", type=Path, action="append", default=[], help="a study to take times from"
    )
    parser.add_argument("targets", nargs="*", help="tables, labels or files; without, the whole study")
    args = parser.parse_args()
    config = read(args.configfile)
    study = resolve(config, ROOT)
    if args.calibration:
        args.calibration.write_text(yaml.safe_dump(calibration(config, study), sort_keys=False))
        print(f"now: snakemake --profile slurm --configfile {args.calibration}")
        return
    jobs, images, known = graph(args.configfile, args.targets), counted(study), []
    for path in args.measured:
        other = resolve(read(path), ROOT)
        known += [(job, other, counted(other)) for job in graph(path, [])]
    seconds, sizes = estimate(jobs, study, images, [*known, *((job, study, images) for job in jobs)])
    show(jobs, seconds, sizes, queue())
    predicted = {job.wildcards["dataset"] for job in jobs if job.benchmark and "dataset" in job.wildcards}
    if unknown := sorted(predicted - images.keys()):
        files = " ".join(f"{study['results']}/datasets/{name}.stats.json" for name in unknown)
        print(f"\nnot counted yet; first: snakemake --configfile {args.configfile} -- {files}")


if __name__ == "__main__":
    run(main)
