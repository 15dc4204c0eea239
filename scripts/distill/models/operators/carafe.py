"""CARAFE: upsampling by kernels that the content predicts (arXiv 1905.02188, section 3.1).

Reference: `carafe_naive_cuda_kernel.cuh`. A cell of the output is a weighted sum of the k × k cells around
the one that it lies in; outside the features they are 0.
"""

from itertools import product

from torch import Tensor
from torch.autograd.functional import vjp
from torch.nn.functional import pad, pixel_shuffle, pixel_unshuffle

from distill.models.operators.precision import wide


def reassemble(features: Tensor, masks: Tensor, kernel: int, groups: int, factor: int) -> Tensor:
    """The upsampled features (B, C, factor · H, factor · W).

    features: (B, C, H, W). masks: (B, groups · kernel², factor · H, factor · W), the weights; each group is
    for C / groups channels.
    """
    batch, channels, height, width = features.shape
    padded = pad(features, [kernel // 2] * 4).unflatten(1, (groups, -1))[:, :, :, None]
    # the factor² cells of the output that lie in one of the features: beside each other, as channels
    weights = pixel_unshuffle(masks, factor).view(batch, groups, kernel**2, 1, factor**2, height, width)
    cells = features.new_zeros(batch, groups, channels // groups, factor**2, height, width)
    for tap, (down, right) in enumerate(product(range(kernel), repeat=2)):
        around = padded[..., down : down + height, right : right + width]
        cells.addcmul_(around, weights[:, :, tap])
    return pixel_shuffle(cells.view(batch, channels * factor**2, height, width), factor)


def carafe_naive_forward(
    features: Tensor, masks: Tensor, output: Tensor, *, kernel_size: int, group_size: int, scale_factor: int
) -> None:
    """Writes into `output` what `reassemble` makes of features and masks."""
    output.copy_(reassemble(wide(features), wide(masks), kernel_size, group_size, scale_factor))


def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    *,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Writes the gradients with respect to features and masks into the last two tensors."""

    def upsampled(features: Tensor, masks: Tensor) -> Tensor:
        return reassemble(features, masks, kernel_size, group_size, scale_factor)

    _, gradients = vjp(upsampled, (wide(features), wide(masks)), wide(grad_output))
    grad_input.copy_(gradients[0])
    grad_masks.copy_(gradients[1])


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    **options: int,
) -> None:
    """As `carafe_naive_forward`; keeps the features in `rfeatures`: the backward pass is given no others."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, **options)


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    **options: int,
) -> None:
    """As `carafe_naive_backward`."""
    carafe_naive_backward(grad_output, rfeatures, masks, grad_input, grad_masks, **options)
