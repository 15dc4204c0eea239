"""Mixed precision that also works on CPUs: bfloat16, whose range needs no loss scaling."""

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from distill.program import log


def supported() -> bool:
    """Whether bfloat16 is fast here: on GPUs, and on CPUs that compute it in hardware. Says so where not."""
    fast = torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported()
    if not fast:
        log.warning("amp: this CPU has no bfloat16 arithmetic; computing in float32")
    return fast


def keep_float32(layer: nn.Module) -> None:
    """Has a layer of one input compute in float32 under autocast too."""
    forward = layer.forward

    def full(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float())

    layer.forward = full


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """mmengine's OptimWrapper with the forward pass under bfloat16 autocast, on the model's device."""

    @contextmanager
    def optim_context(self, model: nn.Module):
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
