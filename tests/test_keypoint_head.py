"""The keypoint head: targets are the cells that decoding finds again, and the loss is the paper's."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS

from distill.models import model as _registries  # noqa: F401
from distill.models.keypoint_head import KeypointHead, encode_keypoints
from distill.predictions.heatmaps import decode


def random_case(n=6, k=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=g) * 50
    boxes = torch.cat([corner, corner + 20 + torch.rand(n, 2, generator=g) * 100], 1)
    points = boxes[:, None, :2] + torch.rand(n, k, 2, generator=g) * (boxes[:, None, 2:] - boxes[:, None, :2])
    visible = torch.randint(0, 3, (n, k, 1), generator=g).float()
    return torch.cat([points, visible], -1), boxes


def test_decoding_a_target_finds_the_keypoint_within_half_a_cell():
    keypoints, boxes = random_case()
    cell, _ = encode_keypoints(keypoints, boxes, 56)
    heatmaps = torch.zeros(6, 5, 56 * 56).scatter_(2, cell[..., None], 1).reshape(6, 5, 56, 56)
    points = np.asarray(decode(heatmaps.numpy(), heatmaps.numpy(), boxes.numpy(), upsample=False)[0])
    half = ((boxes[:, 2:] - boxes[:, :2]) / 56 / 2)[:, None].numpy()
    assert (np.abs(points - keypoints[..., :2].numpy()) <= half + 1e-4).all()


def test_keypoints_outside_the_roi_or_not_visible_do_not_count():
    boxes = torch.tensor([[10.0, 10.0, 66.0, 66.0]])
    keypoints = torch.tensor([[[10, 10, 2], [66, 66, 1], [66.1, 30, 2], [9.9, 30, 2], [30, 30, 0.0]]])
    cell, valid = encode_keypoints(keypoints, boxes, 56)
    assert valid.tolist() == [[True, True, False, False, False]]
    assert cell[0, :2].tolist() == [0, 56 * 56 - 1]


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_are_those_of_the_visible_keypoints_alone(weighted):
    keypoints, boxes = random_case(seed=2)
    cell, valid = encode_keypoints(keypoints, boxes, 56)
    weights = torch.rand(6) if weighted else None
    heatmaps = torch.randn(6, 5, 56, 56, requires_grad=True)
    head = KeypointHead(5, in_channels=4, convs=1, channels=4)
    loss = head.loss(heatmaps, keypoints, boxes, weights)["loss_keypoint"]
    each = torch.nn.functional.cross_entropy(heatmaps.flatten(2)[valid], cell[valid], reduction="none")
    of_each = torch.ones(6) if weights is None else weights
    expected = (each * of_each[:, None].expand_as(valid)[valid]).sum() / valid.sum()
    assert 0 < valid.sum() < valid.numel()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(*(torch.autograd.grad(value, heatmaps)[0] for value in (loss, expected)))


def test_rois_are_not_rounded_under_autocast():
    """A side at 1203.3 would be at 1200 in bfloat16."""
    layer = dict(type="RoIAlign", output_size=7, sampling_ratio=2)
    extractor = MODELS.build(
        dict(type="SingleRoIExtractor", roi_layer=layer, out_channels=4, featmap_strides=[4])
    )
    features, rois = torch.randn(1, 4, 8, 400).bfloat16(), torch.tensor([[0, 1150.0, 3, 1203.3, 28]])
    with torch.autocast("cpu", torch.bfloat16):
        pooled = extractor((features,), rois)
    assert torch.equal(pooled, extractor((features.float(),), rois))


def test_loss_is_the_mean_cross_entropy_over_visible_keypoints():
    keypoints, boxes = random_case(seed=1)
    head = KeypointHead(5, in_channels=4, convs=1, channels=4)
    heatmaps = torch.randn(6, 5, 56, 56)
    cell, valid = encode_keypoints(keypoints, boxes, 56)
    terms = [
        -torch.log_softmax(heatmaps[n, k].flatten(), 0)[cell[n, k]]
        for n in range(6)
        for k in range(5)
        if valid[n, k]
    ]
    loss = head.loss(heatmaps, keypoints, boxes)["loss_keypoint"]
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)


def test_no_visible_keypoint_gives_zero_loss_with_a_gradient():
    head = KeypointHead(3, in_channels=4, convs=1, channels=4)
    heatmaps = head(torch.randn(2, 4, 14, 14))
    assert heatmaps.shape == (2, 3, 56, 56)
    loss = head.loss(heatmaps, torch.zeros(2, 3, 3), torch.tensor([[0.0, 0, 9, 9]] * 2))["loss_keypoint"]
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None for p in head.parameters())
