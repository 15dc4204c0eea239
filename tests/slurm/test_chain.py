"""The whole chain as Slurm jobs, and what a user sees of it meanwhile."""

import re
import subprocess
import sys

import pytest
from project import MODEL, SETTINGS, Project

from helpers.workflow import lay_out, succeed

pytestmark = pytest.mark.slurm

STUDY = {
    **SETTINGS,
    "model": MODEL | {"iterations": 12},
    "datasets": {
        "figures": {"kind": "figures", "images": 12, "seed": 1},
        "labelled": {"kind": "subset", "of": "figures", "images": 5},
        "unlabelled": {"kind": "subset", "of": "figures", "exclude": "labelled", "strip_annotations": True},
        "val": {"kind": "figures", "images": 4, "seed": 2},
    },
    "views": {"plain": [{"scale": 64}], "all": {"scales": [64], "flip": True}},
    "models": {"teacher": {}, "student": {"labels": "distilled"}},
    "tables": {"results": {"rows": ["teacher", "student"]}},
}


@pytest.fixture(scope="module")
def folders(running_cluster, tmp_path_factory):
    """One folder for Slurm, with two shards, and one for this machine alone, with a single one."""
    made = []
    for name, shards in (("slurm", 2), ("local", 1)):
        folder = tmp_path_factory.mktemp(name)
        lay_out(folder, STUDY | {"shards": shards})
        made.append(folder)
    return made


def plan(folder) -> str:
    command = [sys.executable, "scripts/plan.py", "--configfile", "study.yaml"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def counts(outlook: str, rule: str) -> list[str]:
    """Of a rule: jobs, done, running, …"""
    return re.search(rf"^ *{rule} +(.*)$", outlook, re.M)[1].split()


def test_the_chain_on_slurm_is_the_chain_on_one_machine(cluster, folders):
    """Its shards are jobs of their own; labels and table are, byte for byte, those of a run without Slurm."""
    project = Project(folders[0], retries=1)
    try:
        run = project.start("--configfile", "study.yaml")
        project.job("rule_train_teacher_wildcards_teacher", seconds=120)
        before = plan(folders[0])
        assert counts(before, "train_teacher")[:3] == ["1", "0", "1"]
        assert "infer_view_boxes_wildcards" in before  # on the critical path
        project.job("rule_retrain_student_wildcards_student", seconds=900)
        meanwhile = plan(folders[0])
        assert counts(meanwhile, "retrain_student")[:3] == ["1", "0", "1"]
        assert counts(meanwhile, "infer_view_boxes")[0] == str(2 * (2 + 1 + 1))
        assert int(counts(meanwhile, "infer_view_boxes")[1]) >= 2 * 2
        assert re.search(r"about .* h with the \d+ GPUs that are at work now", meanwhile)
        assert project.finish(run) == 0, project.terminal[-3000:]
    finally:
        project.stop()
    succeed(folders[1], "--cores", "2")
    for path in (
        "labels/distilled/annotations.json",
        "labels/distilled/thresholds.json",
        "tables/results.md",
    ):
        here, there = (folder / "out" / path for folder in folders)
        assert here.read_bytes() == there.read_bytes(), path
    assert (folders[0] / "out/report.html").exists()
    assert "left: 0 jobs" in plan(folders[0])
