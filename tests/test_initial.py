"""What a training starts from: checkpoints in the layouts that people have, or one line on what is wrong."""

import logging
import math
import pickle

import pytest
import torch
from safetensors.torch import save, save_file

from distill.models import initial
from distill.models import model as models
from distill.models.weights import read_weights
from distill.program import UserError
from helpers import ROOT


def network():
    """The tiny network of three categories, with random weights."""
    cfg = models.load_config(ROOT / "config/models/faster_rcnn_tiny.py")
    cfg.model.backbone.init_cfg = None
    cfg.model.roi_head.bbox_head.num_classes = 3
    return models.build(cfg)


@pytest.fixture(scope="module")
def trained():
    """Weights that no initialisation gives."""
    return {key: torch.full_like(value, 3) for key, value in network().state_dict().items()}


def under(prefix, state):
    return {f"{prefix}{key}": value for key, value in state.items()}


LAYOUTS = {
    "a model of the workflow": lambda state: {"state_dict": state, "meta": {"model": "teacher"}},
    "bare": lambda state: state,
    "without meta": lambda state: {"state_dict": state},
    "of mmengine": lambda state: {
        "meta": {"epoch": 3},
        "state_dict": state,
        "message_hub": {},
        "ema_state_dict": {"steps": torch.tensor(9), **{f"module.{k}": v + 1 for k, v in state.items()}},
    },
    "only averaged": lambda state: {"ema_state_dict": {"steps": torch.tensor(9), **under("module.", state)}},
    "of detectron2": lambda state: {"model": state, "optimizer": {"state": {}}, "iteration": 3},
    "of several GPUs": lambda state: {"epoch": 1, "model_state_dict": under("module.", state)},
    "of Lightning": lambda state: {"state_dict": under("model.", state), "hyper_parameters": {"model": "a"}},
    "compiled": lambda state: under("_orig_mod.module.", state),
    "nested": lambda state: {"model": {"state_dict": state}, "rng": torch.zeros(3)},
    "of DETRs": lambda state: {"ema": {"module": under("module.", state), "updates": 9}, "last_epoch": 3},
    "half": lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_of_all_weights_is_found(tmp_path, trained, layout):
    torch.save(LAYOUTS[layout](trained), tmp_path / "x.pth")
    assert initial.settings(tmp_path / "x.pth") == {}
    mine = network()
    initial.load(mine, tmp_path / "x.pth")
    assert all((value == 3).all() for value in mine.state_dict().values())


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.", "module.encoder_q.", "model.backbone."])
def test_a_backbone_alone_is_taken_and_the_rest_starts_anew(tmp_path, trained, caplog, prefix):
    backbone = {k.removeprefix("backbone."): v for k, v in trained.items() if k.startswith("backbone.")}
    torch.save({"state_dict": under(prefix, {**backbone, "fc.bias": torch.zeros(1000)})}, tmp_path / "x.pth")
    mine = network()
    with caplog.at_level(logging.INFO, "distill"):
        initial.load(mine, tmp_path / "x.pth")
    for key, value in mine.state_dict().items():
        assert (value == 3).all() == (key.startswith("backbone.") or key.endswith("num_batches_tracked")), key
    assert f"{len(backbone)} of the model's {len(trained)} tensors fit; the others start anew" in caplog.text


def test_another_number_of_categories_is_said(tmp_path, trained, caplog):
    head = "roi_head.bbox_head.fc_cls."
    torch.save(
        {**trained, f"{head}weight": torch.ones(81, 64), f"{head}bias": torch.ones(81)}, tmp_path / "x.pth"
    )
    with caplog.at_level(logging.INFO, "distill"):
        initial.load(network(), tmp_path / "x.pth")
    assert (
        f"2 are of another shape ({head}weight (81, 64) for (4, 256), {head}bias (81,) for (4,))"
        in caplog.text
    )


def test_safetensors_are_read(tmp_path, trained):
    backbone = {k: v.contiguous() for k, v in trained.items() if k.startswith("backbone.")}
    backbone = {k.removeprefix("backbone."): v for k, v in backbone.items()}
    save_file(backbone, tmp_path / "timm.safetensors", {"format": "pt"})
    mine = network()
    initial.load(mine, tmp_path / "timm.safetensors")
    assert all((v == 3).all() for k, v in mine.state_dict().items() if k.startswith("backbone."))


@pytest.mark.parametrize(
    "damaged",
    [
        lambda content: b"",
        lambda content: content[:30],
        lambda content: content[:-1],
        lambda content: content.replace(b"[3]", b"[9]"),
        lambda content: content.replace(b"F32", b"F99"),
        lambda content: b"\x04" + bytes(7) + b"[[]]",
    ],
    ids=range(6),
)
def test_damaged_safetensors_are_refused_in_one_line(tmp_path, damaged):
    path = tmp_path / "x.safetensors"
    path.write_bytes(damaged(save({"a": torch.ones(3)})))
    with pytest.raises(UserError, match=r"x\.safetensors: not a checkpoint of tensors") as error:
        read_weights(path)
    assert "\n" not in str(error.value)


class Whole:
    """A whole network pickled, as `torch.save(network)` does."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a checkpoint of tensors"),
        (b"\0" * 100, "not a checkpoint of tensors"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "not a checkpoint of tensors"),
        (pickle.dumps([1, 2]), "not a checkpoint of tensors"),
        ([torch.zeros(3)], "holds no state dict of tensors; save"),
        ({}, "holds no state dict of tensors; save"),
        ({"state_dict": {}}, "holds no state dict of tensors but state_dict; save"),
        ({"state_dict": None, "meta": 3, "epoch": 1, "best": 2}, "but state_dict, meta, epoch, …; save"),
        ({"model": Whole(), "epoch": 3}, "holds no state dict of tensors but model, epoch; save"),
        ({"body.conv1.weight": torch.zeros(3)}, "0 of the model's 150 tensors fit; it has body.conv1"),
        ({1: torch.zeros(3), "a": [torch.zeros(3)]}, "holds no state dict of tensors but 1, a"),
        (
            {"conv1.weight": torch.zeros(64, 3, 7, 7), "bn1.bias": torch.zeros(64)},
            r"2 are of another shape \(backbone.conv1.weight \(64, 3, 7, 7\) for \([0-9, ]+\), backbone.bn1",
        ),
    ],
    ids=range(12),
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        initial.load(network(), path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_checkpoint_that_holds_itself_is_refused(tmp_path):
    content = {"epoch": 1}
    content["model"] = content
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no state dict of tensors"):
        read_weights(tmp_path / "x.pth")


def test_a_few_layers_of_another_backbone_are_not_enough(tmp_path, trained):
    few = dict(list(trained.items())[:9])
    assert all(key.startswith("backbone.") for key in few)
    torch.save(few, tmp_path / "x.pth")
    with pytest.raises(UserError, match="of another network than `config`: 9 of the model's"):
        initial.load(network(), tmp_path / "x.pth")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, trained, value):
    spoilt = {**trained, "backbone.bn1.bias": torch.full_like(trained["backbone.bn1.bias"], value)}
    torch.save(spoilt, tmp_path / "x.pth")
    said = r"1 of \d+ tensors hold NaN or infinity \(backbone.bn1.bias\)"
    with pytest.raises(UserError, match=said):
        initial.load(network(), tmp_path / "x.pth")
