"""A convolution at some cells only, as Guided Anchoring predicts with (arXiv 1901.03278, section 3.5).

Reference: `masked_conv2d_cuda_kernel.cuh`.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    *,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Writes what the kernel sees at each of N cells into `col` (C · kernel_h · kernel_w, N).

    im: (1, C, H, W). mask_h_idx, mask_w_idx: (N,) rows and columns of the cells, of the output.
    """
    padded = pad(im[0], (pad_w, kernel_w - 1, pad_h, kernel_h - 1))
    rows = mask_h_idx + torch.arange(kernel_h, device=im.device)[:, None, None]
    columns = mask_w_idx + torch.arange(kernel_w, device=im.device)[:, None]
    col.copy_(padded[:, rows, columns].reshape(col.shape))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    *,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Writes the columns (C, N) at their cells into `im` (1, C, H, W)."""
    im[0][:, mask_h_idx, mask_w_idx] = col
