"""Where a model came from: what run.json says of every model, trained or imported."""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from distill import __version__
from distill.datasets.images import hash_bytes

LIBRARIES = ("torch", "torchvision", "onedl-mmcv", "onedl-mmengine", "onedl-mmdetection")


def digests(files: Mapping[str, Path | None]) -> dict[str, str]:
    """Name → digest of the file's bytes; paths that are None are left out."""
    found = {}
    for name, path in files.items():
        if path is not None:
            with open(path, "rb") as file:
                found[name] = hash_bytes(file)
    return found


def provenance(model: str, inputs: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """The inputs' digests, the commit of the code, versions, the machine, and the wall time."""
    cpu = platform.processor() or platform.machine()
    return {
        "model": model,
        "inputs": inputs,
        "commit": _commit(),
        "versions": {
            "distill": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu,
        "seconds": round(seconds, 1),
    }


def _commit() -> str:
    """`git describe` of the code, empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
