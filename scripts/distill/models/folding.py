"""Normalisation layers that are made part of the convolutions before them: they move a quarter of all memory.

A convolution followed by the normalisation y = (x − mean) · γ / σ + β is a convolution with other weights, if
its output goes nowhere else and is linear in its weights. mmcv's `fuse_conv_bn` takes the order of the layers
for a proof, and changes what networks compute whose levels share convolutions (RTMDet, NAS-FPN) or which
standardise weights (DetectoRS). Here one forward pass shows what follows what, and another one, of the folded
network, that nothing has changed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import torch
from mmcv.cnn.bricks import wrappers
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from distill.program import cause, log

PLAIN = (nn.Conv2d, wrappers.Conv2d, Conv2dAdaptivePadding)  # themselves: others derive from them
TOLERANCE = 1e-3  # of the largest value; sums in another order differ by less

Pair = tuple[nn.Conv2d, nn.Module, str]  # a convolution; parent and name of the normalisation behind it


@torch.no_grad()
def fold(network: nn.Module, compute: Callable[[], Any]) -> int:
    """Folds the normalisation of a network in eval mode, in place. Says in the log why, if it does not.

    compute: has the network compute something, always the same, and returns it: tensors, nested. What
        takes no part in it stays as it is.

    Returns how many layers were folded.
    """
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        try:
            before, pairs = _observed(network, compute)
        except Exception as error:  # whatever a network raises that cannot be run this way
            log.info("normalisation layers are not folded: %s", cause(error))
            return 0
        unfolded = [(conv.weight, conv.bias, getattr(parent, name)) for conv, parent, name in pairs]
        for conv, parent, name in pairs:
            conv.weight, conv.bias = _folded(conv, getattr(parent, name))
            setattr(parent, name, nn.Identity())
        after = [value for value in tree_leaves(compute()) if torch.is_tensor(value)]
    if all(map(alike, before, after)):
        return len(pairs)
    for (conv, parent, name), (weight, bias, norm) in zip(pairs, unfolded, strict=True):
        conv.weight, conv.bias = weight, bias
        setattr(parent, name, norm)
    log.info("normalisation layers are not folded: they change what the network computes")
    return 0


def _observed(network: nn.Module, compute: Callable[[], Any]) -> tuple[list[Tensor], list[Pair]]:
    """What the network computes, and the pairs in which a convolution is used for a normalisation alone."""
    places = [(parent, *item) for parent in network.modules() for item in parent.named_children()]
    shared = Counter(layer for parent in network.modules() for layer in parent._modules.values())
    calls: Counter[nn.Module] = Counter()
    origins: dict[nn.Module, Counter[nn.Module | None]] = defaultdict(Counter)
    # By the output's identity, which is its own for as long as it is here.
    made: dict[int, tuple[Tensor, nn.Module]] = {}

    def convolved(conv: nn.Module, inputs: tuple, output: Tensor) -> None:
        calls[conv] += 1
        made[id(output)] = output, conv

    def normalised(norm: nn.Module, inputs: tuple) -> None:
        origins[norm][made.get(id(inputs[0]), (None, None))[1]] += 1

    handles = [m.register_forward_hook(convolved) for m in network.modules() if type(m) in PLAIN]
    handles += [
        m.register_forward_pre_hook(normalised) for m in network.modules() if isinstance(m, _BatchNorm)
    ]
    try:
        computed = [value.clone() for value in tree_leaves(compute()) if torch.is_tensor(value)]
    finally:  # else they would keep all that is computed from now on
        for handle in handles:
            handle.remove()
    pairs = []
    for parent, name, norm in places:
        (conv, times), *others = origins[norm].most_common() or [(None, 0)]
        if not isinstance(conv, nn.Conv2d) or others or not (norm.track_running_stats and norm.affine):
            continue
        if shared[norm] == shared[conv] == 1 and calls[conv] == times:
            pairs.append((conv, parent, name))
    return computed, pairs


def _folded(conv: nn.Conv2d, norm: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias of the convolution that does the work of both."""
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = torch.zeros_like(norm.running_mean) if conv.bias is None else conv.bias
    weight = conv.weight * factor.reshape([conv.out_channels, 1, 1, 1])
    return nn.Parameter(weight), nn.Parameter((bias - norm.running_mean) * factor + norm.bias)


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two networks computed the same, but for the order of sums."""
    if one.shape != other.shape:
        return False
    one, other = one.float(), other.float()
    return not one.numel() or bool((one - other).abs().max() <= TOLERANCE * one.abs().max())
