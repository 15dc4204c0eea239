"""mmcv's operators without its compiled extension: on a GPU what they are on a CPU, values and gradients."""

import pytest
import torch
from mmcv import ops
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use"),
]
SHAPES, STARTS = torch.tensor([[4, 5], [2, 3]]), torch.tensor([0, 20])
CLASSES = torch.tensor([0, 3, 4, 1, 2, 2])
ROIS = torch.tensor([[0, 1.0, 2, 30, 18], [1, 5, 5, 9, 30], [0, -9, 3, 60, 70]])
MASK = (torch.arange(42) % 3 == 0).float().view(1, 6, 7)

# What is called, and the shapes of what it is called with: tensors whose gradients are compared.
CALLS = {
    "focal loss": (
        lambda at, x: ops.sigmoid_focal_loss(x, CLASSES.to(at), 2.0, 0.25, None, "none"),
        [(6, 4)],
    ),
    "softmax focal loss": (
        lambda at, x: ops.softmax_focal_loss(x, CLASSES.clamp(max=3).to(at), 2.0, 0.25, None, "sum"),
        [(6, 4)],
    ),
    "deformable convolution": (
        lambda at, x, offset, weight: ops.deform_conv2d(x, offset, weight, 1, 1),
        [(2, 4, 5, 6), (2, 18, 5, 6), (2, 4, 3, 3)],
    ),
    "modulated": (
        lambda at, *tensors: ops.modulated_deform_conv2d(*tensors, 1, 1),
        [(2, 4, 5, 6), (2, 18, 5, 6), (2, 9, 5, 6), (2, 4, 3, 3), (2,)],
    ),
    "attention": (
        lambda at, *tensors: MultiScaleDeformableAttnFunction.apply(
            tensors[0], SHAPES.to(at), STARTS.to(at), *tensors[1:], 64
        ),
        [(2, 26, 2, 3), (2, 4, 2, 2, 2, 2), (2, 4, 2, 2, 2)],
    ),
    "CARAFE": (lambda at, x, masks: ops.carafe(x, masks, 3, 2, 2), [(2, 4, 3, 4), (2, 18, 6, 8)]),
    "RoIPool": (lambda at, x: ops.roi_pool(x, ROIS.to(at), (3, 2), 0.25), [(2, 3, 8, 9)]),
    "RoIAlign": (lambda at, x: ops.roi_align(x, ROIS.to(at), (3, 2), 0.25, 2, "avg", True), [(2, 3, 8, 9)]),
    "masked convolution": (
        lambda at, x, weight, bias: ops.masked_conv2d(x, MASK.to(at), weight, bias, 1),
        [(1, 3, 6, 7), (2, 3, 3, 3), (2,)],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_those_of_a_cpu(name):
    call, shapes = CALLS[name]
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(*shape, generator=generator) for shape in shapes]
    seen = []
    for device in ("cpu", "cuda"):
        tensors = [tensor.to(device, copy=True).requires_grad_() for tensor in drawn]
        output = call(device, *tensors)
        if name != "masked convolution":  # mmcv does not train it
            output.square().sum().backward()
        seen.append([output.detach().cpu(), *(t.grad.cpu() for t in tensors if t.grad is not None)])
    for ours, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)


def test_an_offset_that_is_no_number_makes_its_cell_none():
    x, offset, weight = (torch.ones(s, device="cuda") for s in ((1, 4, 5, 6), (1, 18, 5, 6), (2, 4, 3, 3)))
    offset[0, 3, 2, 2] = torch.nan
    output = ops.deform_conv2d(x, offset, weight, 1, 1)
    assert output.isnan().sum() == 2
    assert output[0, :, 2, 2].isnan().all()


def test_boxes_on_a_gpu_are_suppressed_as_on_a_cpu():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(50, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + 1 + torch.rand(50, 2, generator=generator) * 20], 1)
    scores = torch.rand(50, generator=generator)
    for call in (
        lambda at: ops.nms(boxes.to(at), scores.to(at), 0.5)[1],
        lambda at: ops.soft_nms(boxes.to(at), scores.to(at), 0.3)[1],
        lambda at: torch.cat(ops.nms_match(torch.cat([boxes, scores[:, None]], 1).to(at), 0.5)),
    ):
        found = call("cuda")
        assert found.is_cuda
        assert found.tolist() == call("cpu").tolist()
