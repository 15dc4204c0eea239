"""Normalisation becomes part of convolutions where that changes nothing, and is left where it would."""

from copy import deepcopy

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.model import revert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from distill.models import model as models
from distill.models.folding import fold
from distill.models.networks import kind_of
from helpers import ROOT
from helpers.detectors import narrow

CATEGORIES = [{"id": 1, "name": "a"}]
PIXELS = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def network_of(config):
    """A network whose normalisation layers do something, and what it computes."""
    cfg = models.load_config(config)
    kind = kind_of(cfg)
    kind.settle(cfg, CATEGORIES, "test")
    models.drop_pretrained(cfg)
    torch.manual_seed(0)
    network = revert_sync_batchnorm(models.build(cfg)).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):  # of a size at which every layer counts
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, _BatchNorm):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.normal_(layer.running_mean, std=0.1)
    return network, lambda network: kind.raw(network, PIXELS)


@torch.no_grad()
def largest_change(network, other, compute) -> float:
    """Of the outputs of two networks, relative to the largest of each."""
    pairs = zip(*(torch.utils._pytree.tree_leaves(compute(n)) for n in (network, other)), strict=True)
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-9)) for a, b in pairs)


@pytest.mark.parametrize("name", ["faster_rcnn_tiny", "faster_rcnn_lite"])
def test_networks_of_this_project_fold_as_mmcv_folds_them(name):
    network, compute = network_of(ROOT / f"config/models/{name}.py")
    theirs = fuse_conv_bn(deepcopy(network))
    assert fold(network, lambda: compute(network)) > 10
    ours, expected = network.state_dict(), theirs.state_dict()
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], expected[key]) for key in ours)


def test_convolutions_that_levels_share_stay_as_they_are(tmp_path):
    """RTMDet's heads share convolutions between levels, each with a normalisation of its own."""
    network, compute = network_of(narrow("rtmdet", tmp_path))
    original = deepcopy(network)
    with torch.no_grad():
        theirs = largest_change(original, fuse_conv_bn(deepcopy(network)), compute)
    assert theirs > 0.1
    assert fold(network, lambda: compute(network)) > 10
    ours = largest_change(original, network, compute)
    assert ours < 1e-4
    kept = [name for name, layer in network.named_modules() if isinstance(layer, _BatchNorm)]
    assert kept
    assert all(name.startswith("bbox_head") for name in kept)


class Standardised(nn.Conv2d):
    def forward(self, x):
        return nn.functional.conv2d(x, self.weight / self.weight.std(), self.bias)


class Pair(nn.Module):
    """conv → norm, and what `more` makes of the convolution's output."""

    def __init__(self, conv, more=None):
        super().__init__()
        self.conv, self.norm, self.more = conv, nn.BatchNorm2d(3), more
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x):
        between = self.conv(x)
        return self.norm(between) if self.more is None else self.more(self, between)


@pytest.mark.parametrize(
    ("pair", "folded"),
    [
        (Pair(nn.Conv2d(3, 3, 1)), 1),
        (Pair(nn.Conv2d(3, 3, 1, bias=False)), 1),
        (Pair(Standardised(3, 3, 1)), 0),
        (Pair(nn.Conv2d(3, 3, 1), lambda self, x: self.norm(x) + x), 0),  # undone after the comparison
        (Pair(nn.Conv2d(3, 3, 1), lambda self, x: self.norm(x.relu())), 0),
        (Pair(nn.Conv2d(3, 3, 1), lambda self, x: self.norm(self.conv(x))), 0),
        (Pair(nn.Conv2d(3, 3, 1), lambda self, x: 1 / 0), 0),
    ],
    ids=["plain", "no bias", "standardised", "used twice", "not adjacent", "called twice", "fails"],
)
def test_only_what_is_seen_to_hold_is_folded(pair, folded):
    pair = pair.eval()
    original = deepcopy(pair)
    assert fold(pair, lambda: pair(PIXELS)) == folded
    assert isinstance(pair.norm, nn.Identity) == bool(folded)
    if folded:
        assert largest_change(original, pair, lambda network: network(PIXELS)) < 1e-5
    else:
        before, after = original.state_dict(), pair.state_dict()
        assert all(torch.equal(after[key], before[key]) for key in before)
        assert not pair.conv._forward_hooks  # which would keep all that it computes


def test_a_normalisation_without_weights_stays():
    pair = Pair(nn.Conv2d(3, 3, 1)).eval()
    pair.norm = nn.BatchNorm2d(3, affine=False).eval()
    assert fold(pair, lambda: (pair(PIXELS), pair(PIXELS) > 0)) == 0
