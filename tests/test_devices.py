"""What a network runs on where there is a GPU; torch's answers are made up, since the tests have none."""

import pytest
import torch

from distill.models import devices
from distill.models.devices import Portions, pick_device, pick_workers
from distill.program import UserError

CUDA = torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch):
    """Has torch see a GPU of a compute capability."""
    built = ["sm_75", "sm_80", "sm_90a", "sm_120", "compute_120"]

    def see(*capability: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        devices._too_old.cache_clear()

    yield see
    devices._too_old.cache_clear()


@pytest.mark.parametrize("capability", [(7, 5), (8, 6), (12, 0), (13, 1)])
def test_a_gpu_that_torch_is_made_for_is_used(gpu, capability):
    gpu(*capability)
    assert pick_device("auto") == pick_device("cuda") == CUDA
    assert pick_device("cpu") == torch.device("cpu")


def test_a_gpu_that_is_too_old_for_torch_is_said_before_it_fails(gpu, caplog):
    gpu(7, 0)  # V100
    with pytest.raises(UserError, match=r"compute capability is 7\.0, and torch .* is made for 7\.5"):
        pick_device("cuda")
    assert pick_device("auto") == torch.device("cpu")
    assert "the GPU is too old, this runs on the CPU" in caplog.text


@pytest.mark.parametrize(
    ("shares", "processes", "workers"),
    [(1, 1, 16), (4, 1, 7), (2, 2, 7), (1, 4, 7), (32, 1, 1)],
    ids=["alone", "one of four GPUs", "two of four", "four of four", "more GPUs than cores"],
)
def test_jobs_share_the_cores_as_they_share_the_gpus(monkeypatch, shares, processes, workers):
    monkeypatch.setattr(devices, "processors", lambda: 32)
    monkeypatch.setenv("DISTILL_SHARES", str(shares))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert pick_workers(CUDA) == workers
    assert pick_workers(torch.device("cpu")) == 0


def test_what_the_memory_bears_is_tried_once_for_each_shape():
    tried: list[tuple[int, int]] = []

    def call(rows: slice) -> list[int]:
        tried.append((rows.start, rows.stop))
        if rows.stop - rows.start > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return list(range(rows.start, rows.stop))

    portions = Portions()
    assert portions(call, 10, "large") == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert tried == [(0, 10), (0, 5), (0, 3), (3, 6), (6, 9), (9, 10)]
    tried.clear()
    assert portions(call, 7, "large") == [[0, 1, 2], [3, 4, 5], [6]]
    assert tried == [(0, 3), (3, 6), (6, 7)]
    tried.clear()
    assert portions(call, 4, "small") == [[0, 1], [2, 3]]  # of which nothing is known
    assert tried == [(0, 4), (0, 2), (2, 4)]
