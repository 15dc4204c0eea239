"""Which detectors of mmdet work here: one of each family goes the whole way (`helpers.trial`), at 128 pixels
and from random weights. It takes an hour of one core, and writes the table of docs/networks-tried.md.

    python tests/bench/try_detectors.py --write
"""

import re
from collections.abc import Iterator
from pathlib import Path

import mmdet
import tried
import yaml

CONFIGS = Path(mmdet.__file__).parent / ".mim/configs"
# Trained on another network's proposals; pooled by an operator that no CPU has.
SPECIAL = re.compile(r"(^|[/_-])fast-rcnn|_m?dpool")
SMALLEST = re.compile("tiny|nano|_s_|r18|r50|b0")


def families() -> Iterator[tuple[str, str]]:
    """The families that mmdet has detectors of boxes of, and of each a small one: the config of the shortest
    name among those with a small backbone."""
    for path in sorted(CONFIGS.glob("*/metafile.yml")):
        content = yaml.safe_load(path.read_text())
        models = content["Models"] if isinstance(content, dict) else content
        names = [
            model["Config"].removeprefix("configs/")
            for model in models
            if any(result.get("Task") == "Object Detection" for result in model.get("Results") or [])
        ]
        if names := [name for name in names if (CONFIGS / name).is_file() and not SPECIAL.search(name)]:
            yield path.parent.name, min(names, key=lambda n: (not SMALLEST.search(n), len(n), n))


if __name__ == "__main__":
    tried.main(__doc__, "mmdet", families(), "detectors")
