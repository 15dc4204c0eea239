"""What run.json says of where a model came from."""

from importlib.metadata import PackageNotFoundError

import mmcv
import mmdet
import torch

from distill.models import provenance
from distill.models.provenance import LIBRARIES


def test_libraries_have_versions_whatever_their_distributions_are_called(monkeypatch):
    expected = provenance.provenance("x", {}, 1.0, torch.device("cpu"))["versions"]
    assert set(LIBRARIES) < set(expected)

    def version(name):
        if name.startswith("onedl"):
            raise PackageNotFoundError(name)
        return expected[name]

    monkeypatch.setattr(provenance, "version", version)
    said = provenance.provenance("x", {}, 1.0, torch.device("cpu"))["versions"]
    assert said["torch"] == expected["torch"]
    assert said["onedl-mmcv"] == mmcv.__version__
    assert said["onedl-mmdetection"] == mmdet.__version__


def test_a_gpu_is_named_where_it_was_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a GPU")
    assert provenance.provenance("x", {}, 1.0, torch.device("cpu"))["device"] != "a GPU"
    assert provenance.provenance("x", {}, 1.0, torch.device("cuda"))["device"] == "a GPU"
