"""The one-machine cluster, once for all tests of this folder, and projects of stand-in jobs on it."""

import shutil
from pathlib import Path

import cluster as slurm
import pytest
from project import Project

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def running_cluster():
    """Slurm for the whole session; skips where this machine cannot have one."""
    if lacks := slurm.missing():
        pytest.skip(f"a one-machine Slurm needs {', '.join(lacks)}; make test-slurm, as root")
    try:
        lock = slurm.lock()
    except BlockingIOError:
        pytest.skip("another session uses the one-machine Slurm")
    with lock:
        slurm.start()
        yield
        slurm.stop()


@pytest.fixture
def cluster(running_cluster):
    """The cluster, idle before and after the test."""
    yield slurm
    slurm.cancel_all()


@pytest.fixture
def project(cluster, tmp_path):
    """A project of stand-in jobs. What they do is in the shell script job.sh, called with the shard."""
    made = Project(tmp_path)
    shutil.copy(HERE / "Snakefile", tmp_path)
    (tmp_path / "runs").mkdir()
    yield made
    made.stop()
