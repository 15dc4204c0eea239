"""Checkpoints to start from, and folders of models: one clear line, or weights that are what they should be."""

import math
import os
import pickle
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from distill.models import initial
from distill.models.weights import read_weights
from fuzz.harness import judge, outcome

NO_STATE = "holds no state dict of tensors"
NO_FILE = "not a checkpoint of tensors"
OTHER = "of another network than `config`"
NAN = "hold NaN or infinity"


def network() -> nn.Module:
    """Of a backbone of four tensors and a head of two, all of them ones."""
    parts = {"conv1": nn.Conv2d(3, 4, 3), "conv2": nn.Conv2d(4, 4, 3)}
    whole = nn.ModuleDict({"backbone": nn.ModuleDict(parts), "head": nn.Linear(4, 2)})
    return whole.requires_grad_(False).apply(
        lambda layer: [values.fill_(1.0) for values in layer.parameters(recurse=False)]
    )


STATE = {key: torch.full_like(value, 3.0) for key, value in network().state_dict().items()}
WEIGHT = "backbone.conv1.weight"


def under(prefix):
    return {f"{prefix}{key}": value for key, value in STATE.items()}


def changed(weight):
    """The state with another first tensor."""
    return STATE | {WEIGHT: weight}


class Trap:
    """Makes a file where it is run."""

    def __reduce__(self):
        return os.mkdir, ("run",)


# What torch.save is given => what is said, or `ok` and what is true of the weights afterwards.
CONTENTS = {
    "all of them": (STATE, "ok it == 6"),
    "state_dict": ({"state_dict": STATE}, "ok it == 6"),
    "meta of a wrong kind": ({"state_dict": STATE, "meta": [1]}, "ok it == 6"),
    "meta of text": ({"state_dict": STATE, "meta": "x"}, "ok it == 6"),
    "settings of none": ({"state_dict": STATE, "meta": {"settings": None}}, "ok it == 6"),
    "settings of text": ({"state_dict": STATE, "meta": {"settings": "x"}}, "settings"),
    "settings that build": (
        {"state_dict": STATE, "meta": {"settings": {"neck": {"type": "subprocess.Popen"}}}},
        "settings",
    ),
    "settings deep down": (
        {"state_dict": STATE, "meta": {"settings": {"backbone": {"style": {"type": "os.system"}}}}},
        "settings",
    ),
    "module.": (under("module."), "ok it == 6"),
    "module.module.": (under("module.module."), "ok it == 6"),
    "of Lightning": ({"state_dict": under("model.")}, "ok it == 6"),
    "of a compiled one": (under("_orig_mod."), "ok it == 6"),
    "of a teacher": ({"teacher": STATE, "student": {}}, "ok it == 6"),
    "model": ({"model": STATE, "epoch": 3}, "ok it == 6"),
    "model_state_dict": ({"model_state_dict": STATE}, "ok it == 6"),
    "an average": ({"ema_state_dict": under("module.")}, "ok it == 6"),
    "an average and itself": (
        {"state_dict": STATE, "ema_state_dict": {k: v + 1 for k, v in STATE.items()}},
        "ok it == 6",
    ),
    "the backbone": ({k: v for k, v in STATE.items() if "head" not in k}, "ok it == 4"),
    "the bare backbone": (
        {k.removeprefix("backbone."): v for k, v in STATE.items() if "head" not in k},
        "ok it == 4",
    ),
    "half of the backbone": ({k: v for k, v in STATE.items() if "conv1" in k}, "ok it == 2"),
    "a quarter of it": ({WEIGHT: STATE[WEIGHT]}, OTHER),
    "the head": ({k: v for k, v in STATE.items() if "head" in k}, OTHER),
    "another backbone": ({"stem.0.weight": torch.ones(3)}, OTHER),
    "of a wrong shape": ({key: torch.ones(7) for key in STATE}, "6 are of another shape"),
    "scalars": ({key: torch.tensor(1.0) for key in STATE}, "6 are of another shape"),
    "no elements": ({key: torch.ones(0) for key in STATE}, "6 are of another shape"),
    "float16": ({k: v.half() for k, v in STATE.items()}, "ok it == 6"),
    "bfloat16": ({k: v.bfloat16() for k, v in STATE.items()}, "ok it == 6"),
    "float64": ({k: v.double() for k, v in STATE.items()}, "ok it == 6"),
    "whole numbers": ({k: v.long() for k, v in STATE.items()}, "ok it == 6"),
    "a transposed view": (changed(torch.full((3, 3, 3, 4), 3.0).permute(3, 0, 1, 2)), "ok it == 6"),
    "an expanded one": (changed(torch.tensor(3.0).expand(4, 3, 3, 3)), "ok it == 6"),
    "a parameter": (changed(nn.Parameter(STATE[WEIGHT])), "ok it == 6"),
    "one that needs gradients": (changed(STATE[WEIGHT].clone().requires_grad_()), "ok it == 6"),
    "NaN": (changed(torch.full_like(STATE[WEIGHT], math.nan)), NAN),
    "infinity": (changed(torch.full_like(STATE[WEIGHT], -math.inf)), NAN),
    "too large for float32": (changed(torch.full((4, 3, 3, 3), 1e300, dtype=torch.float64)), NAN),
    "NaN of what is not taken": (STATE | {"other": torch.tensor(math.nan)}, "ok it == 6"),
    "sparse": (changed(torch.zeros(4, 27).to_sparse()), "ok it == 5"),
    "sparse of the shape": (changed(STATE[WEIGHT].to_sparse()), "is a sparse tensor"),
    "complex": (changed(STATE[WEIGHT].to(torch.complex64)), "is of complex64"),
    "quantized": (changed(torch.quantize_per_tensor(STATE[WEIGHT], 1.0, 0, torch.qint8)), "is of qint8"),
    "without values": (changed(torch.empty(4, 3, 3, 3, device="meta")), "without values"),
    "truth values": ({k: v.bool() for k, v in STATE.items()}, "is of bool"),
    "none": (None, NO_STATE),
    "a number": (3, NO_STATE),
    "text": ("x", NO_STATE),
    "a list": ([STATE], NO_STATE),
    "a tensor": (torch.ones(3), NO_STATE),
    "an empty one": ({}, NO_STATE),
    "an empty state": ({"state_dict": {}}, NO_STATE),
    "a list as the state": ({"state_dict": [torch.ones(3)]}, NO_STATE),
    "numbers for names": ({3: torch.ones(3)}, NO_STATE),
    "numbers for tensors": (dict.fromkeys(STATE, 3.0), NO_STATE),
    "too deep": ({"model": {"model": {"model": {"model": STATE}}}}, NO_STATE),
    "a network": ({"model": Trap()}, NO_STATE),
    "a trap beside": ({"state_dict": STATE, "epoch": Trap()}, "ok it == 6"),
    "a trap for a name": ({"state_dict": STATE, "meta": {"model": Trap()}}, "ok it == 6"),
    "an odd name": ({"\n\x1b[31m\ud800" * 99: torch.ones(3)}, OTHER),
}


def taken(path):
    """How many tensors a network takes from a checkpoint, whose values are 3."""
    mine = network()
    assert isinstance(initial.settings(path), dict)
    initial.load(mine, path)
    values = mine.state_dict().values()
    assert all(v.eq(3).all() or v.eq(1).all() for v in values)
    return sum(bool(v.eq(3).all()) for v in values)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_checkpoint(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, expected = CONTENTS[name]
    torch.save(content, "x.pth")
    judge(expected, lambda: taken("x.pth"), "" if expected.startswith("ok") else "x.pth")
    assert not os.path.exists("run")


def test_a_file_of_the_old_form(tmp_path):
    torch.save(STATE, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    judge("ok it == 6", lambda: taken(tmp_path / "x.pth"))


FILES = {
    "empty": (b"", NO_FILE),
    "zeros": (bytes(1000), NO_FILE),
    "text": (b"weights", NO_FILE),
    "a page": (b"<!DOCTYPE html><html>404</html>", NO_FILE),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", NO_FILE),
    "JSON": (b'{"state_dict": {}}', NO_FILE),
    "a pickle": (pickle.dumps({"state_dict": {"a": [1]}}), NO_FILE),
    "a trap": (pickle.dumps(Trap()), NO_FILE),
    "an empty archive": (b"PK\5\6" + bytes(18), NO_FILE),
    "safetensors": (b"\x02\0\0\0\0\0\0\0{}", NO_FILE),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(500), NO_FILE),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_none(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, expected = FILES[name]
    (tmp_path / "x.pth").write_bytes(content)
    judge(expected, lambda: read_weights("x.pth"), "x.pth")
    assert not os.path.exists("run")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (os.mkfifo, "is not a file"),
        (os.mkdir, "is not a file"),
        (lambda path: None, "no such file"),
        (lambda path: os.symlink(path, path), "Too many levels of symbolic links"),
    ],
    ids=["pipe", "folder", "missing", "link to itself"],
)
def test_what_is_no_file(tmp_path, make, expected):
    make(tmp_path / "x.pth")
    judge(expected, lambda: read_weights(tmp_path / "x.pth"), "x.pth")


def test_an_archive_of_other_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("config.json", "{}")
    judge(NO_FILE, lambda: read_weights(tmp_path / "x.pth"), "x.pth")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "x.pth"
    torch.save({"state_dict": STATE, "meta": {"model": "teacher"}}, path)
    return path.read_bytes()


EXAMPLES = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@EXAMPLES
@given(data=st.data())
def test_bytes_that_are_others_are_refused_or_change_values_alone(sound, tmp_path_factory, data):
    """What an archive holds is read with its checksums, but for the tensors, which torch does not check."""
    path = tmp_path_factory.getbasetemp() / "spoilt.pth"
    at = data.draw(st.integers(0, len(sound) - 1))
    kind = data.draw(st.sampled_from(["cut", "other", "zeros", "left out"]))
    length = data.draw(st.integers(1, 64))
    new = {"cut": b"", "other": data.draw(st.binary(min_size=1, max_size=9)), "zeros": bytes(length)}
    rest = b"" if kind == "cut" else sound[at + length :]
    path.write_bytes(sound[:at] + new.get(kind, b"") + rest)
    message, found = outcome(lambda: read_weights(path))
    if message is None:
        assert all(torch.is_tensor(value) for value in found["state_dict"].values())
        outcome(lambda: initial.load(network(), path))
    else:
        assert str(path) in message
