"""Mixed precision that also works on CPUs: bfloat16, whose range needs no loss scaling."""

from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn
from torch.utils._pytree import tree_map_only

from distill.program import log


def supported(device: torch.device) -> bool:
    """Whether bfloat16 is fast there: on GPUs from Ampere on, and on CPUs that compute it in hardware.
    Says so where not."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        asked = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # private: it may go
        fast = asked()
    if not fast:
        log.warning("amp: this %s has no bfloat16 arithmetic; computing in float32", device.type.upper())
    return fast


def keep_float32(layer: nn.Module) -> None:
    """Has a layer of one input compute in float32 under autocast too."""
    forward = layer.forward

    def full(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float())

    layer.forward = full


def features_in_bfloat16(network: Any) -> None:
    """Has a detector's backbone and neck compute under autocast; its heads are given float32."""
    extract = network.extract_feat

    def half(inputs: torch.Tensor) -> Any:
        with torch.autocast(inputs.device.type, torch.bfloat16):
            features = extract(inputs)
        return tree_map_only(torch.Tensor, torch.Tensor.float, features)

    network.extract_feat = half


@OPTIM_WRAPPERS.register_module(name="OptimWrapper", force=True)
class QuietOptimWrapper(OptimWrapper):
    """mmengine's OptimWrapper, but that the norm of the gradient stays on the device: `grad_norm`."""

    def _clip_grad(self) -> None:
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.grad_norm = self.clip_func([p for p in weights if p.grad is not None], **self.clip_grad_kwargs)


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(QuietOptimWrapper):
    """With the forward pass under bfloat16 autocast, on the model's device."""

    @contextmanager
    def optim_context(self, model: nn.Module):
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
