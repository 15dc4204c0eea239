"""RoIPool: the greatest value of each bin (Fast R-CNN, arXiv 1504.08083, section 2.1).

Reference: `roi_pool_cuda_kernel.cuh`. torchvision's operator rounds boxes to cells first, this one does not.
"""

import torch
from torch import Tensor

AT_ONCE = 2**24  # values that are looked at together: 64 MiB


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    *,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Writes the greatest values into `output` (N, C, h, w) and their cells (y · W + x) into `argmax`.

    input: (B, C, H, W). rois: (N, 5) index of the image, x1, y1, x2, y2 in pixels, of which there are
    `spatial_scale` cells each; the last pixel belongs to the box. A bin without cells: 0 and cell −1.
    """
    _, channels, height, width = input.shape
    # a row for each cell, its channels together; the last one is what bins have in the place of more cells
    table = torch.cat([input.flatten(2), input.new_full((len(input), channels, 1), -torch.inf)], 2)
    table = table.transpose(1, 2)
    start, extent = rois[:, 1:3] * spatial_scale, (rois[:, 3:] + 1 - rois[:, 1:3]) * spatial_scale
    extent = extent.masked_fill((extent <= 0).any(1, keepdim=True), 0)
    column, is_column = _along(start[:, 0], extent[:, 0], pooled_width, width)
    row, is_row = _along(start[:, 1], extent[:, 1], pooled_height, height)
    # (N, h, w, the cells of a bin)
    cells = (row[:, :, None, :, None] * width + column[:, None, :, None, :]).flatten(3)
    inside = (is_row[:, :, None, :, None] & is_column[:, None, :, None, :]).flatten(3)
    cells = torch.where(inside, cells, height * width)
    step = max(1, AT_ONCE // max(1, cells[:1].numel() * channels))
    for i in range(0, len(rois), step):
        here = cells[i : i + step]
        image = rois[i : i + step, 0].long()[:, None, None, None]
        values, place = table[image, here].max(3)
        where = here.gather(3, place)
        empty = ~inside[i : i + step].any(3, keepdim=True)
        output[i : i + step] = values.masked_fill(empty, 0).permute(0, 3, 1, 2)
        argmax[i : i + step] = where.masked_fill(empty, -1).permute(0, 3, 1, 2)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    *,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Adds the gradient with respect to the features to `grad_input` (B, C, H, W), which is contiguous."""
    channels, cells = grad_input.shape[1], grad_input[0, 0].numel()
    plane = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)
    taken = argmax >= 0
    index = (plane[:, :, None, None] * cells + argmax)[taken]
    grad_input.view(-1).index_add_(0, index, grad_output[taken])


def _along(start: Tensor, extent: Tensor, bins: int, cells: int) -> tuple[Tensor, Tensor]:
    """The cells that each bin touches along one side, and which of them do: both (N, bins, the most).

    start, extent: (N,) in cells; a side has `cells`."""
    size = (extent / bins)[:, None]
    edge = torch.arange(bins, device=start.device)
    first = (edge * size + start[:, None]).floor().clamp(0, cells).long()
    end = ((edge + 1) * size + start[:, None]).ceil().clamp(0, cells).long()
    end = torch.where(extent[:, None] > 0, end, first)
    most = int((end - first).max()) if len(start) else 0
    index = first[..., None] + torch.arange(max(most, 1), device=start.device)
    return index, index < end[..., None]
