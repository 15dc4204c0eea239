"""What every input has to do with: so much memory, and the folder that it was in."""

import os
import resource
from collections.abc import Iterator

import pytest

MEMORY = 6 << 30  # bytes; what reads without an end gets a MemoryError, not the machine


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    folder, limits = os.getcwd(), resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, limits)
    os.chdir(folder)
