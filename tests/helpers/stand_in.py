"""The workflow by the real Snakemake; the programs are stand-ins that only write files."""

import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import yaml

from helpers import ROOT
from helpers.workflow import snakemake

STAND_IN = """
import hashlib, sys
from pathlib import Path

argv = sys.argv[1:]
output = Path(argv[argv.index("--output") + 1])
paths = [part.rpartition("=")[2] for part in argv if part != str(output)]
digest = hashlib.sha256(" ".join(argv).encode())
for path in paths:
    if len(path) < 200 and Path(path).is_file():
        digest.update(Path(path).read_bytes())
names = {
    "train.py": ["model.pth", "config.py", "history.csv", "run.json"],
    "import_model.py": ["model.pth", "config.py", "run.json"],
    "review_labels.py": ["review.csv", "next.csv"],
    "choose_boxes.py": [Path(path).name for path in paths if "/detected/" in path],
}.get(Path(__file__).name)
files = [output / name for name in names] if names else [output]
beside = {".csv": [".md", ".svg"], ".svg": [".png"]}
files += [output.with_suffix(suffix) for suffix in beside.get(output.suffix, [])]
for file in files:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(digest.hexdigest())
"""
STUDY = """
results: out
device: cpu
threads: 1
shards: 2
model: {config: keypoint_rcnn_tiny, iterations: 100}
datasets:
  pool: {kind: folder, images: pool}
  labelled: {kind: figures, images: 3}
  unlabelled: {kind: subset, of: pool, fraction: 0.5}
  val: {kind: figures, images: 4, seed: 1}
views:
  plain: [{scale: 200}]
  all: {scales: [160, 200], flip: true}
models:
  teacher: {}
  student: {labels: distilled}
  box-teacher: {config: faster_rcnn_tiny}
  box-student: {config: faster_rcnn_tiny, labels: boxes}
labels:
  distilled: {}
  boxes: {teacher: box-teacher}
tables:
  keypoints: {rows: [teacher, {model: teacher, views: all}, student]}
  boxes: {rows: [box-teacher, {model: box-student, x: 1}], plot: {x: students}}
"""


class Project:
    """A copy of the workflow in a folder of its own, where `snakemake` is run."""

    def __init__(self, folder: Path, study: str = STUDY) -> None:
        self.folder, self.config = folder, yaml.safe_load(study)
        shutil.copytree(ROOT / "rules", folder / "rules")
        shutil.copytree(ROOT / "config", folder / "config")
        shutil.copy(ROOT / "Snakefile", folder)
        (folder / "envs").mkdir()
        (folder / "envs/distill.yaml").write_text("dependencies: []\n")
        (folder / "scripts").mkdir()
        (folder / "scripts/distill").symlink_to(ROOT / "scripts/distill")
        for program in (ROOT / "scripts").glob("*.py"):
            (folder / "scripts" / program.name).write_text(STAND_IN)
        (folder / "scripts/check_models.py").write_text("")  # makes nothing, and finds no mistake
        for name in ("a day, in May", "{another}", "two\nlines", os.fsdecode(b"caf\xe9")):
            (folder / "pool" / name).mkdir(parents=True)

    def snakemake(self, *args: str, config: dict | None = None) -> subprocess.CompletedProcess:
        (self.folder / "study.yaml").write_text(yaml.safe_dump(config or self.config, sort_keys=False))
        return snakemake(self.folder, *args)

    def run(self, *args: str, config: dict | None = None) -> None:
        done = self.snakemake("--cores", "2", *args, config=config)
        assert done.returncode == 0, done.stdout + done.stderr

    def plan(self, *args: str, config: dict | None = None) -> dict[str, set[str]]:
        """The outputs that a run would make, by rule; log, tables and report of every change left out."""
        done = self.snakemake("-n", *args, config=config)
        assert done.returncode == 0, done.stdout + done.stderr
        plan = defaultdict(set)
        for rule, body in re.findall(
            r"^(?:local)?rule ([\w-]+):\n((?:    .*\n)+)", done.stdout + done.stderr, re.M
        ):
            if output := re.search(r"^    output: (.*)$", body, re.M):
                plan[rule] |= {path.removeprefix("out/") for path in output[1].split(", ")}
        return dict(plan)


def models_of(paths: set[str]) -> set[str]:
    return {path.split("/")[1] for path in paths}
