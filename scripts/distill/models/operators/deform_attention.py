"""Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, equation 3), for CUDA as for CPUs.

mmcv has the formula in torch's own functions, which its layers use on CPUs. It serves where they call the
compiled operator, too; the backward pass computes it again, so that no samples are kept between them.
"""

from functools import partial

from torch import Tensor
from torch.autograd.functional import vjp

from distill.models.operators.precision import wide


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    *,
    im2col_step: int,
) -> Tensor:
    """What the queries see: (B, queries, heads · C).

    value: (B, cells of all levels, heads, C). value_spatial_shapes: (levels, 2) their rows and columns.
    sampling_locations: (B, queries, heads, levels, points, 2) x, y from 0 to 1. attention_weights: the same
    without the last. Levels follow each other in `value`: `value_level_start_index` says nothing more.
    """
    inputs = map(wide, (value, sampling_locations, attention_weights))
    return _attend(value_spatial_shapes, *inputs).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    *,
    im2col_step: int,
) -> None:
    """Writes the gradients with respect to values, locations and weights into the last three tensors."""
    inputs = tuple(map(wide, (value, sampling_locations, attention_weights)))
    _, gradients = vjp(partial(_attend, value_spatial_shapes), inputs, wide(grad_output))
    for place, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), gradients, strict=True):
        place.copy_(gradient)


def _attend(shapes: Tensor, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    # here, since it looks up this module's operators
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch as attend

    # As a list: a tensor on a GPU would be waited for at every level.
    return attend(value, shapes.tolist(), locations, weights)
