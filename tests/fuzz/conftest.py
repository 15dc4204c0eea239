"""What every input has to do with: so much memory, and the folder that it was in; and sound files, which are spoilt."""

import os
import resource
from collections.abc import Iterator

import pytest

from helpers.annotated import Coco

MEMORY = 6 << 30  # bytes; what reads without an end gets a MemoryError, not the machine


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    folder, limits = os.getcwd(), resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, limits)
    os.chdir(folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Coco:
    return Coco(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    from helpers.artifacts import Study

    return Study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def spoil(study):
    """Writes bytes in the place of an artifact, which comes back afterwards."""
    kept = []

    def write(name, content):
        path = study.path(name)
        kept.append((path, path.read_bytes()))
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return path

    yield write
    for path, content in kept:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(content)
