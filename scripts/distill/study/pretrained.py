"""The weights of ImageNet that a study's models start from: which files they are, and where."""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = "weights"  # of the project, so that studies share them


@cache
def published(root: Path) -> dict[str, dict[str, str]]:
    """url and sha256 by the path of the file, of all that config/models/weights.yaml has."""
    return {f"{FOLDER}/{_file(entry)}": entry for entry in _table(root).values()}


def weights_of(models: Iterable[Mapping[str, Any]], root: Path) -> list[str]:
    """The paths of the files that resolved models start from, as far as they are published here."""
    table = _table(root)
    return sorted(
        {
            f"{FOLDER}/{_file(entry)}"
            for model in models
            for end, entry in table.items()
            if model["init"] == "pretrained" and model["config"].endswith(f"_{end}")
        }
    )


@cache
def _table(root: Path) -> dict[str, dict[str, str]]:
    return yaml.safe_load((root / "config/models/weights.yaml").read_text())


def _file(entry: Mapping[str, str]) -> str:
    return entry["url"].rpartition("/")[2]
