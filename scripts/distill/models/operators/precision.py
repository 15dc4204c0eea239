"""The precision that operators compute in."""

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it is that: the types that every operator knows."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
