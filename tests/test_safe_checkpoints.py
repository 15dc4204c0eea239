"""Checkpoints that hold more than tensors: the tensors are read, and nothing in the file is run."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from distill.models import model as models
from distill.models.published.array_pickle import read_arrays
from distill.program import UserError
from helpers.checkpoints import published


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_of_arrays_is_read(tmp_path, protocol):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((), np.int64)}
    found = read_arrays(published(tmp_path / "x.pkl", arrays, protocol))
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[key], arrays[key]) for key in arrays)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"a": Evil()}}, r"it holds builtins\.exec; only arrays are read"),
        ({"model": {"a": np.array([Evil()])}}, r"it holds builtins\.exec"),
        ({"model": {"a": np.array(["text"])}}, "'a' is not an array of numbers"),
        ({"blobs": {}}, "has no 'model'"),
        ([1], "has no 'model'"),
    ],
)
def test_a_pickle_of_anything_else_is_refused(tmp_path, content, message):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=message) as error:
        read_arrays(tmp_path / "x.pkl")
    assert "\n" not in str(error.value)


def test_a_damaged_pickle_is_refused(tmp_path):
    path = published(tmp_path / "x.pkl", {"a": np.zeros(99)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="not a pickle of arrays"):
        read_arrays(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_of_mmengines_own_checkpoint_the_tensors_are_read_and_nothing_is_run(tmp_path, zipped):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "run",)

    hub = MessageHub("a training")
    hub.update_scalar("loss", 1.5)  # a HistoryBuffer, which refers to its own methods
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).half().state_dict()
    content = {"meta": {"dataset_meta": {"classes": ("a", "b")}}, "state_dict": state}
    content |= {"message_hub": hub.state_dict(), "trap": Trap()}
    torch.save(content, tmp_path / "epoch_1.pth", _use_new_zipfile_serialization=zipped)
    found = models.read_weights(tmp_path / "epoch_1.pth")
    assert not (tmp_path / "run").exists()
    assert found["meta"] == content["meta"]
    assert found["state_dict"].keys() == state.keys()
    assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in state.items())
