"""Programs that run in forks of one process that has imported what they import."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from distill import forks
from distill.files import read_json
from helpers import SCRIPTS
from helpers.networks import random_model
from helpers.stand_in import Project
from helpers.workflow import command

PROGRAM = """
import os, sys, time
sys.path.append({scripts!r})
from distill.files import replacing
from distill.program import UserError, run

def main():
    print(os.getppid(), os.getpid(), "colorsys" in sys.modules, os.getcwd(), *sys.argv[1:], flush=True)
    match sys.argv[1]:
        case "bad": raise UserError("what, where, what to do")
        case "bug": raise ValueError("a bug")
        case "wait":
            with replacing(sys.argv[2]) as half:
                half.touch()
                print("waits", flush=True)
                time.sleep(60)

run(main, imports={imports!r})
"""


@pytest.fixture
def sockets() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def start(tmp_path, sockets):
    """Starts the program with arguments; `imports` is what its forks share."""

    def start(*args: str, imports: str = "colorsys") -> subprocess.Popen:
        path = tmp_path / f"program-{imports}.py"
        if not path.exists():  # another one may be reading it
            path.write_text(PROGRAM.format(scripts=str(SCRIPTS), imports=imports))
        return subprocess.Popen(
            [sys.executable, path, *args],
            cwd=tmp_path,
            env={**os.environ, forks.VARIABLE: str(sockets)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid: int) -> bool:
    """Whether a process ends within a few seconds."""
    for _ in range(100):
        if not alive(pid):
            return True
        time.sleep(0.1)
    return False


def test_forks_are_of_one_process_and_behave_as_the_program(start, tmp_path, sockets):
    with ThreadPoolExecutor(4) as pool:  # at once: all but one find a process or wait for it
        runs = [start(word, "ä ' \n") for word in ("good", "bad", "bug", "good")]
        found = list(pool.map(lambda process: (*process.communicate(), process.returncode), runs))
    parents = {out.split()[0] for out, _, _ in found}
    assert len(parents) == 1
    assert parents != {str(os.getpid())}
    for out, _, _ in found:
        assert out.split("True ")[1].startswith(f"{tmp_path} ")  # the module was there before the program
        assert out.endswith("ä ' \n\n")
    assert [code for *_, code in found] == [0, 1, 1, 0]
    assert found[1][1] == "error: what, where, what to do\n"
    assert found[2][1].startswith("Traceback")
    assert found[2][1].endswith("ValueError: a bug\n")
    (server,) = map(int, parents)
    for path in sockets.iterdir():
        path.unlink()
    assert gone(server)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_whoever_ends_the_program_ends_its_fork(start, tmp_path, how):
    process = start("wait", "output")
    fork = int(process.stdout.readline().split()[1])
    assert process.stdout.readline() == "waits\n"
    assert [path.suffix for path in tmp_path.glob(".output.*")] == [".tmp"]
    assert fork != process.pid
    assert alive(fork)
    process.send_signal(how)
    process.communicate()
    assert process.returncode != 0
    assert gone(fork)
    assert not list(tmp_path.glob(".output.*"))  # half-written


def test_a_lost_fork_is_an_error(start):
    process = start("wait", "output")
    os.kill(int(process.stdout.readline().split()[1]), signal.SIGKILL)
    process.communicate()
    assert process.returncode == 137


def test_where_the_import_fails_the_program_runs_by_itself(start):
    process = start("good", imports="no_such_module")
    out, _ = process.communicate()
    assert process.returncode == 0
    assert out.split()[:3] == [str(os.getpid()), str(process.pid), "False"]


POISONED = """
import os, sys, types
cuda = types.SimpleNamespace(_is_in_bad_fork=lambda: True)
sys.modules["torch"] = types.SimpleNamespace(cuda=cuda)
exists = os.path.exists
os.path.exists = lambda path: path == "/dev/nvidiactl" or exists(path)
"""


@pytest.mark.parametrize(("device", "forked"), [("auto", False), ("cpu", True)])
def test_where_cuda_would_fail_in_a_fork_the_program_runs_by_itself(
    start, tmp_path, monkeypatch, device, forked
):
    """As on a part of a GPU that NVML does not know."""
    (tmp_path / "poisoned.py").write_text(POISONED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DISTILL_DEVICE", device)
    process = start("good", imports="poisoned")
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert (out.split()[1] != str(process.pid)) == forked


def test_where_a_path_is_too_long_for_a_socket_the_program_runs_by_itself(tmp_path, monkeypatch):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setenv(forks.VARIABLE, str(folder))
    assert forks.hand_over("json") is None


def test_threads_that_wait_for_each_other_sleep():
    """The library is loaded after this has been set, in programs and in what they start."""
    code = "import os, sys, distill.program; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    environ = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environ, "PYTHONPATH": str(SCRIPTS)}, capture_output=True
    )
    assert done.stdout == b"PASSIVE False\n"


@pytest.mark.parametrize("mode", ["default", "remote"])
def test_a_job_of_a_cluster_keeps_no_process_for_others(tmp_path, sockets, mode):
    """Its Snakemake, which runs it alone, may have inherited the folder of the one that submitted it."""
    project = Project(tmp_path)
    program = "import os, sys; print(os.environ.get('DISTILL_FORKS'), file=open(sys.argv[-1], 'w'))"
    (tmp_path / "scripts/split_data.py").write_text(program)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(project.config))
    options = ["--cores", "1", "--mode", mode, "--", "out/datasets/val.json"]
    environ = {**os.environ, forks.VARIABLE: str(sockets)}
    done = subprocess.run(command(*options), cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "out/datasets/val.json").read_text()
    assert said.startswith("/") == (mode == "default")
    assert said != str(sockets)


def predict(model: Path, dataset: Path, output: Path, device: str, **environ: str) -> str:
    """Two programs under a view each; their logs."""
    logs = []
    for view in ("s0096", "s0112-flip"):
        options = f"--view {view} --shard 0 --shards 1 --device {device} --workers 2 --output"
        command = [sys.executable, SCRIPTS / "predict_view.py", "--model", model, "--dataset", dataset]
        command += [*options.split(), output / f"{view}.json"]
        done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        logs.append(done.stderr)
    return "".join(logs)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_predictions_of_forks_have_the_same_bytes(tmp_path, sockets, arrows, device):
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU that torch can use")
    model = random_model("faster_rcnn_tiny", read_json(arrows)["categories"], tmp_path / "model")
    for name in ("alone", "forked"):
        (tmp_path / name).mkdir()
    alone = predict(model, arrows, tmp_path / "alone", device)
    forked = predict(model, arrows, tmp_path / "forked", device, **{forks.VARIABLE: str(sockets)})
    assert sum(path.is_socket() for path in sockets.iterdir()) == 1
    assert "batches of s0112-flip" in alone
    assert "batches of s0112-flip" in forked
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("alone", "forked")
    ]
    assert files[0] == files[1]
    assert len(read_json(tmp_path / "alone/s0096.json")["predictions"]) > 20
