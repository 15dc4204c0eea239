"""The focal loss of one-stage detectors (RetinaNet, arXiv 1708.02002, equation 5), and its gradient.

Reference: `sigmoid_focal_loss_cuda_kernel.cuh` and `softmax_focal_loss_cuda_kernel.cuh`. Where a probability
rounds to 0 or 1 they take the logarithm of the smallest float; here the logarithms stay exact, as in mmdet's
`py_sigmoid_focal_loss`, which CPUs use.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from distill.models.operators.precision import wide


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Writes the loss of every class of every row into `output` (N, C).

    input: (N, C) logits. target: (N,) the class, any other number: none of them. weight: (C,) of the rows
    with that target, or empty.
    """
    x = wide(input)
    p, q = x.sigmoid(), (-x).sigmoid()
    loss = torch.where(
        _is_target(x, target),
        -alpha * q**gamma * logsigmoid(x),
        -(1 - alpha) * p**gamma * logsigmoid(-x),
    )
    output.copy_(loss * _of_row(weight, target))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """Writes the derivative of each loss with respect to its logit into `grad_input` (N, C)."""
    x = wide(input)
    p, q = x.sigmoid(), (-x).sigmoid()
    slope = torch.where(
        _is_target(x, target),
        -alpha * q**gamma * (q - gamma * p * logsigmoid(x)),
        -(1 - alpha) * p**gamma * (gamma * q * logsigmoid(-x) - p),
    )
    grad_input.copy_(slope * _of_row(weight, target))


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Writes the loss of every row into `output` (N,).

    input: (N, C) probabilities, of a softmax. target: (N,) the class; negative: no loss. weight: (C,), or
    empty.
    """
    probability = _of_target(input, target)
    loss = -alpha * (1 - probability) ** gamma * _log(probability)
    output.copy_(loss * (target >= 0) * _of_row(weight, target)[:, 0])


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    *,
    gamma: float,
    alpha: float,
) -> None:
    """Writes the derivative of each row's loss with respect to its logits into `grad_input` (N, C)."""
    p = _of_target(input, target)
    slope = alpha * (gamma * (1 - p) ** (gamma - 1) * p * _log(p) - (1 - p) ** gamma)
    buff.copy_(slope * (target >= 0) * _of_row(weight, target)[:, 0])
    grad_input.copy_(buff[:, None] * (_is_target(input, target).to(input.dtype) - input))


def _is_target(scores: Tensor, target: Tensor) -> Tensor:
    return target[:, None] == torch.arange(scores.shape[1], device=scores.device)


def _of_target(probabilities: Tensor, target: Tensor) -> Tensor:
    return wide(probabilities).gather(1, target.clamp(min=0)[:, None])[:, 0]


def _log(probability: Tensor) -> Tensor:
    return probability.clamp(min=torch.finfo(torch.float32).tiny).log()


def _of_row(weight: Tensor, target: Tensor) -> Tensor:
    """The weights (N, 1) of the rows' classes: 1 of the background, and where there are none."""
    if not weight.numel():
        return weight.new_ones(1, 1)
    known = (target >= 0) & (target < len(weight))
    return torch.where(known, weight[target.clamp(0, len(weight) - 1)], 1)[:, None]
