"""mmcv without its compiled extension: NMS and RoIAlign from torchvision.

mmdet imports all of `mmcv.ops`, each of which looks its functions up in the compiled `mmcv._ext`. Building
that takes a quarter of an hour and nvcc; Faster R-CNN needs two of its operators, and torchvision ships both
for CPU and CUDA. Where `mmcv._ext` is missing, `install()` puts a module with those two in its place.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from distill.models.roi_align import roi_align


def _load_operators() -> None:
    """Registers torchvision's compiled operators, as `import torchvision` does; but that takes two seconds of
    every job, most of them for torch's compiler, which is of no use here."""
    spec = importlib.util.find_spec("torchvision")
    libraries = sorted(Path(spec.origin).parent.glob("_C*.so")) if spec and spec.origin else []
    if libraries:
        torch.ops.load_library(libraries[0])
    else:
        import torchvision  # noqa: F401


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes (N, 4) that survive, best first; `offset` 1 counts pixels (x2 − x1 + 1)."""
    extent = boxes.new_tensor([0, 0, offset, offset])
    return torch.ops.torchvision.nms((boxes + extent).float(), scores.float(), iou_threshold)


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
    arguments = (input.float(), rois.float(), spatial_scale)
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
        grad_output.float(),
        rois.float(),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(gradient)


class _TorchvisionExtension(ModuleType):
    nms = staticmethod(nms)
    roi_align_forward = staticmethod(roi_align_forward)
    roi_align_backward = staticmethod(roi_align_backward)

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise NotImplementedError(f"mmcv._ext.{name} needs the compiled mmcv, which is not installed")

        return missing


def install() -> None:
    """Registers the torchvision-backed extension; does nothing where mmcv has its own."""
    if "mmcv._ext" in sys.modules or importlib.util.find_spec("mmcv._ext") is not None:
        return
    _load_operators()
    extension = _TorchvisionExtension("mmcv._ext")
    extension.__spec__ = ModuleSpec("mmcv._ext", loader=None)
    sys.modules["mmcv._ext"] = extension
