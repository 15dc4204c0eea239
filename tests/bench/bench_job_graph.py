"""Time and memory of the job graph: the demo, and the whole paper, before any file is there.

python tests/bench/bench_job_graph.py

`graph` is the time until Snakemake has counted the jobs; then a dry run thinks of printing every one of them.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
STUDIES = {
    "demo": ("config", {}),
    "paper, 1 shard": ("coco", {"shards": 1}),
    "paper, 64 shards": ("coco", {"shards": 64}),
}


def dry_run(config: Path, folder: Path) -> tuple[int, float, float, float]:
    """Jobs, seconds until the graph is there, seconds until the end, MiB at the peak."""
    command = [sys.executable, "-u", "-m", "snakemake", "-n", "--quiet", "rules", "--configfile", str(config)]
    start, graph, text = time.perf_counter(), 0.0, ""
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in process.stdout:
        text += line
        if line.startswith("Job stats") and not graph:
            graph = time.perf_counter() - start
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(text[-2000:])
    jobs = int(re.search(r"^total +(\d+)", text, re.M)[1])
    return jobs, graph, time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    print(f"{'':18}{'jobs':>8}{'graph s':>9}{'all s':>8}{'ms/job':>8}{'MiB':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("rules", "config", "scripts", "envs", "slurm", "Snakefile"):
            (folder / part).symlink_to(ROOT / part)
        for title, (study, more) in STUDIES.items():
            config = folder / "study.yaml"
            config.write_text(
                yaml.safe_dump(yaml.safe_load((ROOT / f"config/{study}.yaml").read_text()) | more)
            )
            jobs, graph, total, memory = dry_run(config, folder)
            print(f"{title:18}{jobs:8d}{graph:9.1f}{total:8.1f}{1000 * graph / jobs:8.2f}{memory:8.0f}")


if __name__ == "__main__":
    main()
