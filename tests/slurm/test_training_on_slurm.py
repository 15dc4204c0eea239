"""Real trainings under Slurm, disturbed in every way: they end with the model of an undisturbed one."""

import json
import os
import subprocess
from pathlib import Path

import cluster as slurm
import psutil
import pytest
import torch
from project import MODEL, ROOT, SETTINGS, Project

from helpers.workflow import lay_out, succeed

pytestmark = pytest.mark.slurm

LOADERS = f"""
import runpy, sys

sys.argv += ["--workers", "2"]
sys.path[:0] = ["{ROOT}/scripts"]
runpy.run_path("{ROOT}/scripts/train.py", run_name="__main__")
"""
STUDY = {
    **SETTINGS,
    "model": MODEL | {"iterations": 200},
    "datasets": {"labelled": {"kind": "figures", "images": 4, "seed": 1}},
    "models": {
        "calm": {"checkpoint_every": 1000},
        "signalled": {"checkpoint_every": 1000},
        "disturbed": {"checkpoint_every": 10},
        "two-gpus": {"iterations": 4, "gpus": 2},
        "two-nodes": {"iterations": 4, "nodes": 2},
        "four-gpus": {"iterations": 4, "nodes": 2, "gpus": 2, "batch": 4},
        "preempted": {"iterations": 100, "checkpoint_every": 1000},
        "preempted-two": {"iterations": 100, "checkpoint_every": 1000, "gpus": 2},
        "small-disk": {"iterations": 4},
        "long": {"iterations": 900, "checkpoint_every": 1000},
    },
    "evaluate": {"on": "labelled"},
    "tables": {"results": {"rows": ["calm"]}},
}


@pytest.fixture(scope="module")
def study(running_cluster, tmp_path_factory):
    """The workflow with a study of its own, whose dataset is there."""
    folder = tmp_path_factory.mktemp("study")
    lay_out(folder, STUDY)
    made = Project(folder)
    succeed(folder, "--cores", "2", "--", "out/datasets/labelled.json")
    yield made
    made.stop()


def start(study, *models: str, options=()) -> subprocess.Popen:
    targets = [f"out/models/{model}/model.pth" for model in models]
    return study.start(*options, "--configfile", "study.yaml", "--", *targets)


def weights(study, model: str) -> dict[str, torch.Tensor]:
    return torch.load(study.folder / f"out/models/{model}/model.pth", weights_only=True)["state_dict"]


def record(study, model: str) -> dict:
    return json.loads((study.folder / f"out/models/{model}/run.json").read_text())


def checkpoints(study, model: str) -> list[Path]:
    return sorted((study.folder / f"out/models/{model}.work").glob("iter_*.pth"))


def advance(study, model: str) -> None:
    """Waits until the training has come further than it ever was."""
    history = study.folder / f"out/models/{model}.work/history.csv"

    def done() -> int:
        return int(history.read_text().splitlines()[-1].partition(",")[0]) if history.exists() else 0

    before = done()
    slurm.wait_for(lambda: done() > before, f"{model} to go on", 600)


def process(study, model: str) -> psutil.Process:
    """The process that trains the model."""
    wanted = [f"out/models/{model}", "scripts/train.py"]
    return next(
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.info["cwd"] == str(study.folder)
        and set(wanted) <= set(process.info["cmdline"] or [])
        and "snakemake" not in process.info["cmdline"]
    )


def restarts(cluster, job: str) -> int:
    return int(cluster.output("scontrol", "show", "job", job).partition("Restarts=")[2].split()[0])


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_signalled_training_ends_like_a_calm_one(cluster, study):
    """Signalled as before a time limit, then as before a preemption; it writes no checkpoints but those."""
    study.options = ["--retries", "1"]
    run = start(study, "calm", "signalled")
    job = study.job("rule_train_teacher_wildcards_signalled")
    advance(study, "signalled")
    assert not checkpoints(study, "signalled")
    cluster.output("scancel", "--signal=USR1", job)
    cluster.wait_for(lambda: restarts(cluster, job) == 1, "the job to be requeued")
    first = checkpoints(study, "signalled")
    assert len(first) == 1

    advance(study, "signalled")
    cluster.output("scancel", "--signal=TERM", job)
    cluster.wait_for(lambda: len(checkpoints(study, "signalled")) > 1, "another checkpoint")
    assert study.finish(run) == 0
    assert "stopped by a signal at iteration" in study.terminal
    assert same(weights(study, "calm"), weights(study, "signalled"))
    assert [record(study, model)["resumes"] for model in ("calm", "signalled")] == [0, 2]


@pytest.mark.parametrize("model", [pytest.param("preempted", marks=pytest.mark.slow), "preempted-two"])
def test_a_preempted_training_writes_a_checkpoint_and_goes_on(cluster, tmp_path, model):
    """There is no retry. Slurm signals all processes of the step, those too that load images, as on a GPU."""
    lay_out(tmp_path, STUDY)
    (tmp_path / "scripts").unlink()
    (tmp_path / "scripts").mkdir()
    for path in (ROOT / "scripts").iterdir():
        (tmp_path / "scripts" / path.name).symlink_to(path)
    (tmp_path / "scripts/train.py").unlink()
    (tmp_path / "scripts/train.py").write_text(LOADERS)
    project = Project(tmp_path)
    try:
        run = start(project, model, options=["--default-resources", "slurm_partition=graceful"])
        job = project.job(f"rule_train_teacher_wildcards_{model}")
        advance(project, model)
        assert not checkpoints(project, model)
        cluster.output("sbatch", "-p", "urgent", "-N2", "--exclusive", "-t1", "-o/dev/null", "--wrap=true")
        cluster.wait_for(lambda: checkpoints(project, model), "a checkpoint", 120)
        assert project.finish(run) == 0, project.terminal[-3000:]
    finally:
        project.stop()
    assert restarts(cluster, job) == 1
    assert record(project, model)["resumes"] == 1


def test_a_requeued_killed_and_lost_training_ends_like_a_calm_one(cluster, study):
    study.options = ["--retries", "1"]
    run = start(study, "calm", "disturbed")
    first = study.job("rule_train_teacher_wildcards_disturbed")
    cluster.wait_for(lambda: checkpoints(study, "disturbed"), "a checkpoint")
    cluster.output("scontrol", "requeue", first)

    advance(study, "disturbed")
    process(study, "disturbed").kill()
    study.job("rule_train_teacher_wildcards_disturbed", "FAILED")
    job = study.job("rule_train_teacher_wildcards_disturbed")  # another one, by Snakemake
    assert job != first

    advance(study, "disturbed")
    node = cluster.output("squeue", "-hj", job, "-o", "%N")
    cluster.output("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    study.job("rule_train_teacher_wildcards_disturbed")  # on the other node
    assert restarts(cluster, job) == 1
    cluster.output("scontrol", "update", f"NodeName={node}", "State=RESUME")
    assert study.finish(run) == 0
    assert same(weights(study, "calm"), weights(study, "disturbed"))
    assert [record(study, model)["resumes"] for model in ("calm", "disturbed")] == [0, 3]


def test_two_nodes_train_what_one_node_with_two_gpus_trains(cluster, study):
    run = start(study, "two-gpus", "two-nodes")
    study.job("rule_train_teacher_wildcards_two-nodes")
    assert study.finish(run) == 0
    one, two = (weights(study, model) for model in ("two-gpus", "two-nodes"))
    assert same(one, two)
    assert [record(study, model)["processes"] for model in ("two-gpus", "two-nodes")] == [2, 2]


SAYS = """
import os, sys
from pathlib import Path

cores = len(os.sched_getaffinity(0))
Path(os.environ["SLURMD_NODENAME"]).write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {cores}")
output = Path(sys.argv[sys.argv.index("--output") + 1])
output.mkdir(exist_ok=True)
for name in ("model.pth", "config.py", "history.csv", "run.json"):
    (output / name).touch()
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="of one core, each node has all")
def test_each_node_gives_the_gpus_and_cores_that_its_processes_are_to_have(cluster, study, tmp_path):
    """Also where nodes have more, and where tasks are bound to the cores that they ask for."""
    lay_out(tmp_path, STUDY)
    (tmp_path / "scripts").unlink()
    (tmp_path / "scripts").mkdir()
    for path in ("distill", "split_data.py"):
        (tmp_path / "scripts" / path).symlink_to(ROOT / "scripts" / path)
    (tmp_path / "scripts/launch.py").write_text(SAYS)
    project = Project(tmp_path)
    cluster.output("scontrol", "update", "NodeName=n1,n2", "CpuBind=threads")
    try:
        options = ["--set-resources", "train_teacher:cpus_per_gpu=1"]
        assert project.finish(start(project, "four-gpus", options=options)) == 0, project.terminal[-3000:]
    finally:
        cluster.output("scontrol", "update", "NodeName=n1,n2", "CpuBind=off")
        project.stop()
    assert [(tmp_path / node).read_text() for node in ("n1", "n2")] == ["0,1 2"] * 2


@pytest.mark.slow
def test_a_full_disk_is_said_and_then_the_training_goes_on(cluster, study):
    disk = study.folder / "out/models"
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    try:
        study.options = []
        assert study.finish(start(study, "small-disk")) == 1
        assert "No space left on device" in study.terminal
        subprocess.run(["mount", "-o", "remount,size=900m", disk], check=True)
        assert study.finish(start(study, "small-disk")) == 0
        assert record(study, "small-disk")["spec"]["iterations"] == 4
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.slow
def test_slurm_signals_before_the_time_limit(cluster, study):
    """The limit is two minutes, the signal may come one minute early; Snakemake sees one job."""
    limits = ["--set-resources", "train_teacher:runtime=2", "train_teacher:slurm_extra='--signal=USR1@30'"]
    run = start(study, "long", options=limits)
    job = study.job("rule_train_teacher_wildcards_long")
    cluster.wait_for(lambda: restarts(cluster, job) >= 1, "the job to be requeued", 200)
    assert study.finish(run, 900) == 0
    assert record(study, "long")["resumes"] >= 1
    assert "TIMEOUT" not in study.terminal
