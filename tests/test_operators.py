"""mmcv's operators without its compiled extension: against its published formulas, and their gradients.

What is called is `mmcv.ops`, as the networks do.
"""

import itertools

import numpy as np
import pytest
import torch
from mmcv import ops
from torch.autograd import gradcheck

from distill.models.operators import roi_pool
from helpers import mmcv_reference as reference


@pytest.fixture
def draw():
    """Random float64 tensors of a shape, the same in every run; `learn`: that gradients are taken of."""
    generator = torch.Generator().manual_seed(0)

    def make(*shape, scale=1.0, learn=False):
        return (torch.randn(*shape, generator=generator, dtype=torch.float64) * scale).requires_grad_(learn)

    return make


def random_boxes(count, side=40, seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, side, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(1, side / 2, (count, 2))], 1).astype(np.float32)


def assert_equals(ours, theirs):
    np.testing.assert_allclose(ours.detach().double().numpy(), theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, 0.6), (0.0, 0.5)])
def test_focal_losses(draw, gamma, alpha):
    logits = draw(6, 4, scale=5, learn=True)
    target = torch.tensor([0, 3, 4, 1, -1, 2])  # 4 is the background of four classes
    theirs = reference.sigmoid_focal_loss(logits.detach().numpy(), target.numpy(), gamma, alpha)
    assert_equals(ops.sigmoid_focal_loss(logits, target, gamma, alpha, None, "none"), theirs)
    gradcheck(lambda x: ops.sigmoid_focal_loss(x, target, gamma, alpha, None, "none"), logits)
    weight = torch.tensor([1, 2, 3, 0.5], dtype=torch.float64)
    weighted = ops.sigmoid_focal_loss(logits, target, gamma, alpha, weight, "sum")
    assert_equals(weighted, (theirs * np.array([1, 0.5, 1, 2, 1, 3])[:, None]).sum())
    gradcheck(lambda x: ops.sigmoid_focal_loss(x, target, gamma, alpha, weight, "mean"), logits)

    target = target.where(target < 4, 3)
    theirs = reference.softmax_focal_loss(logits.detach().numpy(), target.numpy(), gamma, alpha)
    assert_equals(ops.softmax_focal_loss(logits, target, gamma, alpha, None, "none"), theirs)
    gradcheck(lambda x: ops.softmax_focal_loss(x, target, gamma, alpha, weight, "sum"), logits)


def test_the_focal_loss_of_certain_wrong_scores_is_exact_in_float32():
    """There the reference takes the logarithm of the smallest float: of a chance of 1 in 10^9 as of none."""
    logits = torch.tensor([[30.0, -30.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.tensor([1]), 2.0, 0.25, None, "none")
    assert torch.allclose(loss, torch.tensor([[0.75 * 30, 0.25 * 30]]))
    loss.sum().backward()
    assert torch.allclose(logits.grad, torch.tensor([[0.75, -0.25]]))


CONVOLUTIONS = [
    # stride, padding, dilation, groups, groups of offsets
    ((1, 1), (1, 1), (1, 1), 1, 1),
    ((2, 1), (1, 2), (1, 2), 2, 1),
    ((1, 2), (0, 1), (2, 1), 1, 2),
]


def convolution(draw, stride, padding, dilation, groups, offset_groups, kernel=(3, 2), learn=False):
    """Input, offsets, mask, weight and bias of a convolution of 4 channels to 2."""
    sides = (
        (side + 2 * p - (d * (k - 1) + 1)) // s + 1
        for side, p, d, k, s in zip((5, 6), padding, dilation, kernel, stride, strict=True)
    )
    size = (2, offset_groups * kernel[0] * kernel[1], *sides)
    return (
        draw(2, 4, 5, 6, learn=learn),
        draw(2, 2 * size[1], *size[2:], scale=1.5, learn=learn),
        draw(*size, learn=learn),
        draw(2, 4 // groups, *kernel, learn=learn),
        draw(2, learn=learn),
    )


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_deformable_convolutions(draw, options):
    image, offset, mask, weight, bias = convolution(draw, *options)
    arrays = [tensor.numpy() for tensor in (image, offset, mask, weight, bias)]
    modulated = ops.modulated_deform_conv2d(image, offset, mask, weight, bias, *options)
    assert_equals(modulated, reference.deform_conv(*arrays, *options))
    arrays[2], arrays[4] = np.ones_like(arrays[2]), np.zeros(2)
    assert_equals(
        ops.deform_conv2d(image, offset, weight, *options), reference.deform_conv(*arrays, *options)
    )


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_gradients_of_deformable_convolutions(draw, options):
    image, offset, mask, weight, bias = convolution(draw, *options, learn=True)

    def plain(image, offset, weight):
        return ops.deform_conv2d(image, offset, weight, *options)

    def modulated(image, offset, mask, weight, bias):
        return ops.modulated_deform_conv2d(image, offset, mask, weight, bias, *options)

    gradcheck(plain, (image, offset, weight), fast_mode=True)
    gradcheck(plain, (image.detach(), offset.detach(), weight), fast_mode=True)
    gradcheck(modulated, (image, offset, mask, weight, bias), fast_mode=True)
    gradcheck(modulated, (image, offset, mask, weight, None), fast_mode=True)


def test_offsets_of_more_cells_than_the_output_has_are_read_in_their_order(draw):
    """As mmcv's kernels do, and as mmdet's DyHead needs it: the offsets of a level for one half as fine."""
    options = ((2, 2), (1, 1), (1, 1), 1, 1)
    image, offset, mask, weight, bias = convolution(draw, *options, learn=True)
    (height, width), count = mask.shape[2:], mask.shape[1]
    more = [
        torch.cat([one.detach().flatten(1), draw(2, one.shape[1] * 3 * height * width)], 1)
        .view(2, one.shape[1], 2 * height, 2 * width)
        .requires_grad_()
        for one in (offset, mask)
    ]
    assert count == 6
    given = ops.modulated_deform_conv2d(image, *more, weight, bias, *options)
    assert_equals(given, ops.modulated_deform_conv2d(image, offset, mask, weight, bias, *options).detach())

    def modulated(image, offset, mask):
        return ops.modulated_deform_conv2d(image, offset, mask, weight.detach(), bias.detach(), *options)

    gradcheck(modulated, (image, *more), fast_mode=True)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf, 1e30])
@pytest.mark.parametrize("modulated", [False, True])
def test_an_offset_that_is_no_number_makes_its_cell_none(draw, wrong, modulated):
    options = CONVOLUTIONS[0]
    image, offset, mask, weight, bias = convolution(draw, *options, learn=True)
    before = offset.detach().clone()
    with torch.no_grad():
        offset[1, :, 2, 3] = wrong
    before[1, :, 2, 3] = 1000  # outside of the image
    if modulated:
        bare = ops.modulated_deform_conv2d
        output, expected = (bare(image, where, mask, weight, bias, *options) for where in (offset, before))
    else:
        output, expected = (ops.deform_conv2d(image, where, weight, *options) for where in (offset, before))
    output.sum().backward()  # reads no memory of others
    if wrong != wrong:
        assert output[1, :, 2, 3].isnan().all()
        assert output.isnan().sum() == output.shape[1]
    else:
        assert torch.equal(output, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_deformable_convolutions_of_half_precision(draw, dtype):
    options = CONVOLUTIONS[0]
    tensors = [tensor.to(dtype) for tensor in convolution(draw, *options)]
    image, offset, mask, weight, bias = (tensor.requires_grad_() for tensor in tensors)
    exact = [tensor.detach().float() for tensor in tensors]
    for output, expected in (
        (
            ops.modulated_deform_conv2d(image, offset, mask, weight, bias, *options),
            ops.modulated_deform_conv2d(*exact, *options),
        ),
        (
            ops.deform_conv2d(image, offset, weight, *options),
            ops.deform_conv2d(exact[0], exact[1], exact[3], *options),
        ),
    ):
        assert output.dtype == dtype
        assert torch.equal(output, expected.to(dtype))
        output.sum().backward()
        assert all(tensor.grad.isfinite().all() for tensor in (image, offset, weight))


def test_multi_scale_deformable_attention(draw):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    shapes = torch.tensor([[4, 5], [2, 3]])
    starts = torch.tensor([0, 20])
    value = draw(2, 26, 2, 3, learn=True)
    locations = (draw(2, 4, 2, 2, 2, 2, scale=0.4) + 0.5).requires_grad_()  # some lie outside
    weights = draw(2, 4, 2, 2, 2).softmax(-1).requires_grad_()

    def attend(value, locations, weights):
        return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)

    arrays = [tensor.detach().numpy() for tensor in (value, locations, weights)]
    theirs = reference.ms_deform_attn(arrays[0], shapes.tolist(), *arrays[1:])
    assert_equals(attend(value, locations, weights), theirs)
    gradcheck(attend, (value, locations, weights), fast_mode=True)
    half = attend(value.bfloat16(), locations, weights)
    assert half.dtype == torch.bfloat16
    np.testing.assert_allclose(half.detach().float().numpy(), theirs, atol=0.1)


@pytest.mark.parametrize("operator", [ops.carafe, ops.carafe_naive])
@pytest.mark.parametrize(("kernel", "groups", "factor"), [(5, 1, 2), (3, 2, 2), (1, 4, 3)])
def test_carafe(draw, operator, kernel, groups, factor):
    features = draw(2, 4, 3, 4, learn=True)
    masks = draw(2, groups * kernel**2, 3 * factor, 4 * factor, learn=True)
    theirs = reference.carafe(features.detach().numpy(), masks.detach().numpy(), kernel, groups, factor)
    assert_equals(operator(features, masks, kernel, groups, factor), theirs)
    if operator is ops.carafe:  # mmcv refuses to train the other on CPUs
        gradcheck(lambda *both: operator(*both, kernel, groups, factor), (features, masks), fast_mode=True)


@pytest.mark.parametrize(("kernel", "padding"), [((3, 3), 1), ((1, 3), 1), ((3, 2), 2)])
def test_masked_convolution(draw, kernel, padding):
    image, weight, bias = draw(1, 3, 6, 7), draw(2, 3, *kernel), draw(2)
    mask = (draw(1, 6, 7) > 0.5).double()
    mask[:, 6 + 2 * padding - kernel[0] + 1 :] = 0  # where the output has no cells
    mask[..., 7 + 2 * padding - kernel[1] + 1 :] = 0
    theirs = reference.masked_conv(*(x.numpy() for x in (image, mask, weight, bias)), padding)
    layer = ops.MaskedConv2d(3, 2, kernel, padding=padding).double()
    layer.weight.data, layer.bias.data = weight, bias
    assert_equals(layer(image, mask), theirs)
    assert not layer(image, torch.zeros_like(mask)).any()


def test_roi_pool_and_its_gradient(draw, monkeypatch):
    features = draw(2, 3, 8, 9, learn=True)
    rois = np.concatenate([np.arange(12)[:, None] % 2, random_boxes(12)], 1).astype(np.float64)
    rois[-4:, 3:] += 40  # beyond the image
    rois[-3, 1:] = (60, 60, 70, 70)
    rois[-2, 1:] = (20, 20, 10, 30)
    rois[-1, 1:] = (-30, -30, -20, 10)
    theirs = reference.roi_pool(features.detach().numpy(), rois, (3, 2), 0.25)
    rois = torch.from_numpy(rois)
    assert_equals(ops.roi_pool(features, rois, (3, 2), 0.25), theirs)
    gradcheck(lambda x: ops.roi_pool(x, rois, (3, 2), 0.25), features, fast_mode=True)
    monkeypatch.setattr(roi_pool, "AT_ONCE", 1)
    assert_equals(ops.roi_pool(features, rois, (3, 2), 0.25), theirs)
    assert ops.roi_pool(features, rois[:0], (3, 2), 0.25).shape == (0, 3, 3, 2)


def test_roi_align_in_float64(draw):
    rois = torch.tensor([[0, 1, 2, 20, 18], [1, 5, 5, 9, 30]], dtype=torch.float64)
    features = draw(2, 2, 6, 7, learn=True)
    gradcheck(lambda x: ops.roi_align(x, rois, (2, 3), 0.25, 2, "avg", True), features)


@pytest.mark.parametrize(("method", "offset"), [*itertools.product(["naive", "linear", "gaussian"], [0, 1])])
def test_soft_nms(method, offset):
    rng = np.random.default_rng(1)
    boxes = random_boxes(60)
    scores = rng.integers(1, 9, 60).astype(np.float32) / 10  # many equal ones
    detections, kept = ops.soft_nms(boxes, scores, 0.3, 0.5, 0.15, method, offset)
    indices, lowered = reference.softnms(boxes.tolist(), scores.tolist(), 0.3, 0.5, 0.15, method, offset)
    assert 0 < len(kept) < 60
    assert kept.tolist() == indices
    np.testing.assert_allclose(detections, np.column_stack([boxes[kept], lowered]), rtol=1e-5)
    assert len(ops.soft_nms(boxes[:0], scores[:0])[1]) == 0
    without_extent = np.zeros((2, 4), np.float32)
    assert len(ops.soft_nms(without_extent, scores[:2], method=method)[1]) == 2


def test_soft_nms_of_a_detector_with_several_classes():
    boxes, scores = torch.from_numpy(random_boxes(30)), torch.linspace(0.9, 0.1, 30)
    classes = torch.arange(30) % 3
    found, kept = ops.batched_nms(boxes, scores, classes, {"type": "soft_nms", "iou_threshold": 0.3})
    expected = {}
    for c in range(3):
        own = torch.nonzero(classes == c)[:, 0]
        indices, lowered = reference.softnms(
            boxes[own].tolist(), scores[own].tolist(), 0.3, 0.5, 1e-3, "linear", 0
        )
        expected |= dict(zip(own[indices].tolist(), lowered, strict=True))
    assert sorted(kept.tolist()) == sorted(expected)
    np.testing.assert_allclose(found[:, 4], [expected[i] for i in kept.tolist()], rtol=1e-3)


def test_nms_match():
    boxes = random_boxes(50)
    scores = np.random.default_rng(2).permutation(50).astype(np.float32)
    groups = ops.nms_match(np.column_stack([boxes, scores]), 0.3)
    assert [group.tolist() for group in groups] == reference.nms_match(boxes.tolist(), scores.tolist(), 0.3)
    assert len(groups) < 50
    assert ops.nms_match(torch.zeros(0, 5), 0.3) == []
