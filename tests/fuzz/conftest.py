"""What every input has to do with: so much memory, and the folder that it was in; and the sound files that are edited."""

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
