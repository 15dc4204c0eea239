"""RoIAlign (Mask R-CNN, arXiv 1703.06870, section 3): torchvision's, but for predictions on CPUs.

torchvision's CPU operator goes through one channel after the other. `roi_align` here has a pixel's channels
together in memory, and a bin is a weighted sum of such rows, which is what torch's embedding_bag is made for.
"""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from distill.models.operators.precision import wide


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Writes the pooled features (N, C, h, w) of `rois` (N, 5: image, x1, y1, x2, y2) into `output`."""
    if pool_mode != 1:
        raise NotImplementedError("mmcv._ext.roi_align_forward with pool_mode='max' needs the compiled mmcv")
    arguments = (wide(input), wide(rois), spatial_scale)
    if input.is_cuda or input.requires_grad:  # the gradient below is torchvision's
        pooled = torch.ops.torchvision.roi_align(
            *arguments, aligned_height, aligned_width, sampling_ratio, aligned
        )
    else:
        pooled = roi_align(*arguments, (aligned_height, aligned_width), sampling_ratio, aligned)
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Writes the gradient with respect to the features into `grad_input` (B, C, H, W)."""
    gradient = torch.ops.torchvision._roi_align_backward(
        wide(grad_output),
        wide(rois),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(gradient)


def roi_align(
    features: Tensor, rois: Tensor, scale: float, size: tuple[int, int], samples: int, aligned: bool
) -> Tensor:
    """The features (N, C, h, w) of `rois` in `size` (h, w) bins each, as torchvision's `roi_align`.

    features: (B, C, H, W) float32, best channels last. rois: (N, 5) index of the image, x1, y1, x2, y2 in
    pixels, of which there are `scale` cells each. samples: in a bin, along each side; 0: as many as it has
    cells. aligned: the centre of a cell is at +0.5, not at its corner.
    """
    _, channels, height, width = features.shape
    table = features.permute(0, 2, 3, 1).reshape(-1, channels)
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0)
    start, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        extent = extent.clamp(min=1)
    bins = extent.new_tensor([size[1], size[0]])
    taken = (
        torch.full_like(extent, samples)
        if samples
        else (extent / bins).ceil().nan_to_num(posinf=0).clamp(min=0)
    )
    pooled = features.new_zeros(len(rois), *size, channels)
    for grid in torch.unique(taken, dim=0):
        here = (taken == grid).all(1)
        across, down = grid.int().tolist()
        if not across or not down:  # a box without extent
            continue
        x, weight_x = _along(start[here, 0], extent[here, 0], size[1], across, width)
        y, weight_y = _along(start[here, 1], extent[here, 1], size[0], down, height)
        row = rois[here, 0].long()[:, None, None] * height + y
        # (n, h, w, the samples of a bin): every row of cells with every column of cells
        index = row[:, :, None, :, None] * width + x[:, None, :, None, :]
        weight = weight_y[:, :, None, :, None] * weight_x[:, None, :, None, :]
        index, weight = (values.flatten(3).flatten(0, 2) for values in (index, weight))
        bags = embedding_bag(index, table, per_sample_weights=weight, mode="sum")
        pooled[here] = bags.view(-1, *size, channels)
    return pooled.permute(0, 3, 1, 2)


def _along(start: Tensor, extent: Tensor, bins: int, samples: int, cells: int) -> tuple[Tensor, Tensor]:
    """The cells that the samples of each bin lie between, along one side, and their weights in the mean of
    the bin: both (n, bins, 2 · samples). start, extent: (n,) in cells; a side has `cells`."""
    steps = (torch.arange(bins * samples, dtype=start.dtype) + 0.5) / (bins * samples)
    place = start[:, None] + extent[:, None] * steps
    inside = (place >= -1) & (place <= cells)
    place = torch.where(inside, place, 0).clamp(0, cells - 1)
    low = place.floor()
    high = (low + 1).clamp(max=cells - 1)
    weights = torch.stack([1 - (place - low), place - low], -1) * inside[..., None] / samples
    shape = (len(start), bins, 2 * samples)
    return torch.stack([low, high], -1).long().view(shape), weights.view(shape)
