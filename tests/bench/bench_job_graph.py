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
from measure import ROOT, report

from helpers.workflow import command, lay_out

STUDIES = {
    "demo": ("config", {}),
    "paper, 1 shard": ("coco", {"shards": 1}),
    "paper, 64 shards": ("coco", {"shards": 64}),
}


def dry_run(folder: Path) -> dict[str, float]:
    """Jobs, seconds until the graph is there, seconds until the end, MiB at the peak."""
    start, graph, text = time.perf_counter(), 0.0, ""
    process = subprocess.Popen(
        command("-n", "--quiet", "rules"),
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        text += line
        if line.startswith("Job stats") and not graph:
            graph = time.perf_counter() - start
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(text[-2000:])
    jobs = int(re.search(r"^total +(\d+)", text, re.M)[1])
    row = {"jobs": jobs, "graph s": graph, "all s": time.perf_counter() - start}
    return row | {"graph ms a job": 1000 * graph / jobs, "peak MiB": usage.ru_maxrss / 1024}


def main() -> None:
    rows = []
    for title, (study, more) in STUDIES.items():
        with tempfile.TemporaryDirectory() as folder:
            lay_out(Path(folder), yaml.safe_load((ROOT / f"config/{study}.yaml").read_text()) | more)
            rows.append({"study": title, **dry_run(Path(folder))})
    report("studies", rows)


if __name__ == "__main__":
    main()
