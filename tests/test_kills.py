"""kill -9 in every stage: what was finished stays, nothing half-written is taken for whole."""

import json
import random
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from helpers.arrows import lay_out_arrows
from helpers.workflow import command, kill, succeed

STUDY = """
results: out
threads: 1
model: {config: keypoint_rcnn_tiny, iterations: 8, batch: 2, lr: 0.02, scales: [96], checkpoint_every: 2}
datasets:
  labelled: {kind: coco, images: labelled/images, annotations: labelled/labelled.json}
  unlabelled: {kind: folder, images: unlabelled/images}
  val: {kind: coco, images: val/images, annotations: val/val.json}
views:
  plain: [{scale: 96}]
  all: {scales: [96], flip: true}
models:
  teacher: {}
  student: {labels: distilled}
tables:
  main: {rows: [teacher, {model: teacher, views: all}, student]}
"""
STAGES = {  # the kill comes within so many seconds; the stage takes longer
    "split_data": 0.4,
    "train_teacher": 6,
    "detect_boxes": 3,
    "choose_boxes": 0.4,
    "infer_view_heatmaps": 3,
    "merge_views": 0.4,
    "calibrate_threshold": 0.4,
    "generate_labels": 0.4,
    "retrain_student": 6,
    "evaluate": 0.4,
    "tabulate": 0.4,
    "report": 0.4,
}
RUN = ("--cores", "2", "--rerun-incomplete")  # as the profile has it
OF_THE_RUN = {"seconds", "seconds_per_iteration", "resumes"}


def lay_out_study(folder: Path) -> Path:
    folder.mkdir()
    lay_out_arrows(folder, yaml.safe_load(STUDY), labelled=8, unlabelled=8, val=6)
    return folder


def kill_in(stage: str, folder: Path, delay: float) -> None:
    """Runs Snakemake up to the stage; kills it and all its jobs a moment after a job of the stage began."""
    log = folder / f"{stage}.log"
    with open(log, "w") as file:
        run = subprocess.Popen(command(*RUN, "--until", stage), cwd=folder, stdout=file, stderr=file)
    while not re.search(rf"rule {stage}:", log.read_text()):
        assert run.poll() is None, log.read_text()[-3000:]
        time.sleep(0.05)
    time.sleep(delay)
    assert run.poll() is None, "the stage was over before the kill"
    kill(run, folder)


def artifacts(folder: Path) -> dict[str, object]:
    """What a run writes, without the times in it."""
    found = {}
    for path in sorted((folder / "out").rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or re.search(r"\.work/|\.lock$|out/(logs|benchmarks)/|report\.html$", name):
            continue
        found[name] = path.read_bytes()
        if path.name == "run.json":
            found[name] = {k: v for k, v in json.loads(found[name]).items() if k not in OF_THE_RUN}
    return found


def take_halves(found: dict[str, object]) -> list[str]:
    """Takes out what was half-written when its job was killed, and returns what it was to become."""
    halves = {name: re.fullmatch(r"(.*/)\.(.+)\.\d+\.tmp", name) for name in found}
    for name in [name for name, half in halves.items() if half]:
        del found[name]
    return [half[1] + half[2] for half in halves.values() if half]


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_with_the_same_files(tmp_path):
    whole, killed = lay_out_study(tmp_path / "whole"), lay_out_study(tmp_path / "killed")
    succeed(whole, *RUN)
    chance = random.Random(1)
    for stage, longest in STAGES.items():
        kill_in(stage, killed, delay=chance.uniform(0, longest))
    succeed(killed, *RUN)
    expected, found = artifacts(whole), artifacts(killed)
    halves = take_halves(found)
    assert len(halves) <= len(STAGES)
    assert set(halves) <= set(found)  # the next run wrote them whole
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
