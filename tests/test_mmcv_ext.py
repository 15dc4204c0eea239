"""The stand-in for mmcv's compiled operators gives torchvision's results (a CPU's predictions: nearly)."""

import pytest
import torch
import torchvision

from distill.models import mmcv_ext
from distill.models.operators.roi_align import roi_align

mmcv_ext.install()
from mmcv.ops import RoIAlign, line_nms, nms  # noqa: E402


def boxes_and_scores(n=40):
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(n, 2, generator=g) * 30
    return torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=g) * 20], 1), torch.rand(n, generator=g)


def test_nms_is_torchvisions():
    boxes, scores = boxes_and_scores()
    dets, keep = nms(boxes, scores, 0.5)
    expected = torchvision.ops.nms(boxes, scores, 0.5)
    assert keep.tolist() == expected.tolist()
    assert torch.equal(dets[:, :4], boxes[expected])


def test_nms_with_pixel_counting_offset():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 5, 9, 14]])  # 10 × 10 pixels each, IoU 50 / 150 with offset 1
    scores = torch.tensor([0.9, 0.8])
    assert len(nms(boxes, scores, 0.33, offset=1)[1]) == 1
    assert len(nms(boxes, scores, 0.34, offset=1)[1]) == 2


@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_and_its_gradient_are_torchvisions(ratio):
    g = torch.Generator().manual_seed(1)
    features = torch.randn(2, 3, 16, 16, generator=g)
    boxes, _ = boxes_and_scores(8)
    rois = torch.cat([torch.randint(0, 2, (8, 1), generator=g).float(), boxes], 1)
    a, b = features.clone().requires_grad_(), features.clone().requires_grad_()
    ours = RoIAlign(7, spatial_scale=0.25, sampling_ratio=ratio, aligned=True)(a, rois)
    theirs = torchvision.ops.roi_align(b, rois, 7, 0.25, ratio, aligned=True)
    weights = torch.randn(ours.shape, generator=g)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    assert torch.equal(ours, theirs)
    assert torch.allclose(a.grad, b.grad, atol=1e-6)
    unlearning = RoIAlign(7, spatial_scale=0.25, sampling_ratio=ratio, aligned=True)(features, rois)
    assert torch.allclose(unlearning, theirs, atol=1e-5)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("samples", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [(7, 7), (3, 5)])
def test_roi_align_of_any_boxes(size, samples, aligned):
    g = torch.Generator().manual_seed(2)
    features = torch.randn(3, 5, 12, 20, generator=g)
    corner = torch.rand(60, 2, generator=g) * torch.tensor([100, 60]) - 10  # 80 × 48 pixels: some lie outside
    rois = torch.cat([torch.randint(0, 3, (60, 1), generator=g), corner, corner + 1], 1)
    rois[:50, 3:] += torch.rand(50, 2, generator=g) * 70
    rois[-4:, 3:] -= 1  # no extent
    rois[-2:, 3:] -= 2  # less than none
    for layout in (torch.contiguous_format, torch.channels_last):
        ours = roi_align(features.to(memory_format=layout), rois, 0.25, size, samples, aligned)
        theirs = torch.ops.torchvision.roi_align(features, rois, 0.25, *size, samples, aligned)
        assert torch.allclose(ours, theirs, atol=2e-5)
    assert roi_align(features, rois[:0], 0.25, size, samples, aligned).shape == (0, 5, *size)
    rois[:, 1:] = torch.nan
    assert not roi_align(features, rois, 0.25, size, samples, aligned).any()


def test_any_other_operator_says_what_is_missing():
    with pytest.raises(NotImplementedError, match="line_nms_forward"):
        line_nms(*boxes_and_scores(3), 0.5, 10)
