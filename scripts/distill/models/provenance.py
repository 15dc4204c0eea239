"""Where a model came from: what run.json says of every model, trained or imported."""

import platform
import subprocess
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import torch

from distill import __version__
from distill.datasets.dataset_file import read_dataset
from distill.datasets.images import hash_bytes

LIBRARIES = {  # distribution: module
    "torch": "torch",
    "torchvision": "torchvision",
    "onedl-mmcv": "mmcv",
    "onedl-mmengine": "mmengine",
    "onedl-mmdetection": "mmdet",
}


def digests(files: Mapping[str, Path | None]) -> dict[str, str]:
    """Name → digest of the file's bytes; paths that are None are left out."""
    found = {}
    for name, path in files.items():
        if path is not None:
            with open(path, "rb") as file:
                found[name] = hash_bytes(file)
    return found


def content_digest(path: Path) -> str:
    """Of what a dataset's file says, but for `info`: where images lie makes no difference, their hashes do.
    Raises UserError where it is missing or damaged."""
    dataset = read_dataset(path)
    content = {key: dataset[key] for key in ("images", "annotations", "categories")}
    return hash_bytes(msgspec.json.encode(content))


def provenance(model: str, inputs: Mapping[str, str], seconds: float, device: torch.device) -> dict[str, Any]:
    """The inputs' digests, the commit of the code, versions, the device's name, and the wall time."""
    cpu = platform.processor() or platform.machine()
    return {
        "model": model,
        "inputs": inputs,
        "commit": _commit(),
        "versions": {
            "distill": __version__,
            "python": platform.python_version(),
            **{name: _version(name, module) for name, module in LIBRARIES.items()},
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "seconds": round(seconds, 1),
    }


def _version(distribution: str, module: str) -> str:
    """Of what is installed: others publish mmcv and mmdet under other names."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return import_module(module).__version__


def _commit() -> str:
    """`git describe` of the code, empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
