"""Deformable convolution (arXiv 1703.06211) and the modulated one (arXiv 1811.11168), by torchvision.

Reference: `pytorch/deform_conv.cpp` and `pytorch/modulated_deform_conv.cpp`. torchvision's operator reads
outside of memory where an offset is not a number: it is given 0 there, and the output of those cells is NaN.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from distill.models.operators.precision import wide


class Grid(NamedTuple):
    """Where the kernel is applied, in the order of torchvision's arguments: rows, then columns."""

    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    offset_groups: int


def convolve(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, grid: Grid
) -> Tensor:
    """The convolved features (B, out, h, w).

    input: (B, C, H, W). weight: (out, C / groups, kh, kw). offset: (B, offset groups · kh · kw · 2, h, w)
    y, x in cells. mask: (B, offset groups · kh · kw, h, w), or None. bias: (out,), or None.
    """
    output = torch.ops.torchvision.deform_conv2d(*_arguments(input, weight, offset, mask, bias, grid))
    return output.masked_fill(offset.isnan().any(1, keepdim=True), torch.nan)


def gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    grid: Grid,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients with respect to input, weight, offset, mask and bias; arguments: see `convolve`."""
    arguments = _arguments(input, weight, offset, mask, bias, grid)
    return torch.ops.torchvision._deform_conv2d_backward(wide(grad_output), *arguments)


def _arguments(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, grid: Grid
) -> tuple:
    modulated = mask is not None
    mask = input.new_zeros(len(input), 1) if mask is None else mask
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    offset = offset.masked_fill(offset.isnan(), 0)
    return (*(wide(tensor) for tensor in (input, weight, offset, mask, bias)), *grid, modulated)


def _grid(options: dict[str, int]) -> Grid:
    """Of the names that mmcv gives the plain operator's options."""
    names = ("dH", "dW", "padH", "padW", "dilationH", "dilationW", "group", "deformable_group")
    return Grid(*(options[name] for name in names))


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **options: int,
) -> None:
    """Writes into `output` what `convolve` makes of the input."""
    output.copy_(convolve(input, weight, offset, None, None, _grid(options)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **options: int,
) -> None:
    """Writes the gradients into `grad_input` and `grad_offset`. That of the weight comes with them: it waits
    in `columns`, the buffer that `deform_conv_backward_parameters` is given next."""
    of_input, of_weight, of_offset, _, _ = gradients(
        grad_output, input, weight, offset, None, None, _grid(options)
    )
    grad_input.copy_(of_input)
    grad_offset.copy_(of_offset)
    columns.resize_(of_weight.shape).copy_(of_weight)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **options: int,
) -> None:
    """Adds `scale` × the gradient to `grad_weight`."""
    if columns.shape == grad_weight.shape:
        of_weight = columns
    else:  # neither the input nor the offsets learn; the gradient does not depend on the weight
        _, of_weight, _, _, _ = gradients(grad_output, input, grad_weight, offset, None, None, _grid(options))
    grad_weight.add_(of_weight, alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    kernel_h: int,
    kernel_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
    **steps: int,
) -> None:
    """Writes into `output` what `convolve` makes of the input."""
    grid = Grid(**steps, groups=group, offset_groups=deformable_group)
    offset, mask = (_of_cells(values, output.shape) for values in (offset, mask))
    output.copy_(convolve(input, weight, offset, mask, bias if with_bias else None, grid))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    kernel_h: int,
    kernel_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
    **steps: int,
) -> None:
    """Writes the gradients into the tensors whose names begin with `grad_`, but for `grad_output`."""
    grid = Grid(**steps, groups=group, offset_groups=deformable_group)
    offset, mask = (_of_cells(values, grad_output.shape) for values in (offset, mask))
    found = gradients(grad_output, input, weight, offset, mask, bias if with_bias else None, grid)
    places = (grad_input, grad_weight, grad_offset, grad_mask, grad_bias)
    for place, gradient in zip(places[: 5 if with_bias else 4], found, strict=False):
        if place.numel() > gradient.numel():
            gradient = torch.nn.functional.pad(
                gradient.flatten(1), (0, place[0].numel() - gradient[0].numel())
            )
        place.copy_(gradient.reshape(place.shape))


def _of_cells(values: Tensor, output: torch.Size) -> Tensor:
    """Offsets or masks of an output's cells. mmcv reads one row of cells after the other, however many there
    are: DyHead gives those of a level to the next coarser one, which has a quarter of them."""
    height, width = output[2:]
    count = values.shape[1]
    return values.flatten(1)[:, : count * height * width].view(-1, count, height, width)
