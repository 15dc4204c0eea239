"""Before a study: its jobs, GPU hours, disk, critical path. While it runs: what is done, running, failed.

    python scripts/plan.py --configfile config/mine.yaml [target …]

Times are those of finished jobs. Before the first one, have a few images timed:

    python scripts/plan.py --configfile config/mine.yaml --timing timing.yaml
    snakemake --configfile timing.yaml              # on a cluster: --profile slurm; here: --resources gpu=N
    python scripts/plan.py --configfile config/mine.yaml --measured timing.yaml
"""

import argparse
import os
import shlex
import shutil
from pathlib import Path

import yaml

from distill import ROOT
from distill.cluster.costs import TRAINING_RULES, estimate
from distill.cluster.gpus import visible
from distill.cluster.jobs import graph, graph_now
from distill.cluster.outlook import image_counts, outlook, queue
from distill.cluster.timing import FEW, timing
from distill.files import write_text
from distill.program import UserError, run
from distill.study.lineage import training_datasets
from distill.study.resolve import read, resolve


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configfile", type=Path, required=True, help="the study")
    parser.add_argument("--timing", type=Path, help="write a study here that takes the times of a few images")
    parser.add_argument(
        "--measured", type=Path, action="append", default=[], help="a study to take times from"
    )
    parser.add_argument("targets", nargs="*", help="tables, labels or files; without, the whole study")
    args = parser.parse_args()
    config = read(args.configfile)
    study = resolve(config, ROOT)
    if args.timing:
        if args.timing.exists():
            raise UserError(f"{args.timing} is there already; remove it, or choose another name")
        images = image_counts(study)
        write_text(args.timing, yaml.safe_dump(timing(config, study, images), sort_keys=False))
        if {next(iter(study["models"].values()))["labelled"], *study["evaluate"]["on"]} - images.keys():
            fewer = f"if labelled or validation images are fewer than {FEW}"
            print(f"images are not counted yet; {fewer}, lower `images` of few or few-val in {args.timing}")
        where = ""
        if shutil.which("sbatch"):
            where = "--profile slurm "
        elif gpus := len(visible(os.environ)):  # else jobs would be timed that wait for one
            where = f"--resources gpu={gpus} "
        print(f"now: snakemake {where}--configfile {shlex.quote(str(args.timing))}")
        return
    jobs, images, known = graph_now(args.configfile, args.targets), image_counts(study), []
    for path in args.measured:
        other = resolve(read(path), ROOT)
        known += [(job, other, image_counts(other)) for job in graph(path, [])]
    seconds, sizes = estimate(jobs, study, images, [*known, *((job, study, images) for job in jobs)])
    print(*outlook(jobs, seconds, sizes, queue()), sep="\n")
    used = {job.wildcards["dataset"] for job in jobs if job.benchmark and "dataset" in job.wildcards}
    trained = [job.wildcards["model"] for job in jobs if job.rule in TRAINING_RULES]
    used |= set(
        training_datasets(study, (name for name in trained if study["models"][name]["iterations"] == "auto"))
    )
    if unknown := sorted(used - images.keys()):
        files = [f"{study['results']}/datasets/{name}.stats.json" for name in unknown]
        command = ["snakemake", "--configfile", str(args.configfile), "--", *files]
        print(f"\nnot counted yet; first: {shlex.join(command)}")


if __name__ == "__main__":
    run(main)
