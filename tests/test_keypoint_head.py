"""The keypoint head: targets are the cells that decoding finds again, and the loss is the paper's."""

import numpy as np
import pytest
import torch

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
