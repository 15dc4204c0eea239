"""Which pose estimators of mmpose work here: one of each family goes the whole way (`helpers.trial`), at its
own size and from random weights. It takes an hour of one core, and writes the second table of
docs/networks-tried.md.

    python tests/bench/try_estimators.py --write
"""

from collections.abc import Iterator
from pathlib import Path

import mmpose
import tried
import yaml

CONFIGS = Path(mmpose.__file__).parent / ".mim/configs"


def families() -> Iterator[tuple[str, str]]:
    """The families that mmpose has top-down estimators of bodies of, and of each the config of the shortest
    name."""
    for path in sorted(CONFIGS.glob("body_2d_keypoint/*/coco/*.yml")):
        names = [
            str(model["Config"]).removeprefix("configs/")
            for model in yaml.safe_load(path.read_text())["Models"]
        ]
        whole = ("associative_embedding", "cid", "dekr", "edpose", "rtmo", "yoloxpose")  # images, not crops
        if path.parts[-3] not in whole and (names := [n for n in names if (CONFIGS / n).is_file()]):
            yield f"{path.parts[-3]}/{path.stem}", min(names, key=lambda name: (len(name), name))


if __name__ == "__main__":
    tried.main(__doc__, "mmpose", families(), "estimators")
