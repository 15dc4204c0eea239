"""Which pose estimators of mmpose work here: one of each family goes the whole way (`helpers.trial`), at its
own size and from random weights. It takes an hour of one core, and writes the second table of
docs/networks.md.

    python tests/bench/try_estimators.py --write
"""

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mmpose
import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
CONFIGS = Path(mmpose.__file__).parent / ".mim/configs"
PAGE = ROOT / "docs/networks.md"
SECONDS = 600  # of one estimator


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


def tried(config: str, labelled: Path, notes: Path) -> None:
    import distill.models  # noqa: F401, before mmdet's operators
    from helpers.trial import trial

    with tempfile.TemporaryDirectory() as folder:
        notes.write_text(json.dumps(trial(f"mmpose::{config}", labelled, Path(folder))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/networks.md")
    parser.add_argument(
        "--notes", type=Path, help="folder that keeps what was seen; these are not tried again"
    )
    parser.add_argument("families", nargs="*", help="default: all")
    args = parser.parse_args()
    from try_detectors import row

    from helpers.arrows import draw_dataset
    from helpers.trial import CHECKS

    lines = [f"| family | config | {' | '.join(CHECKS)} | why not |", "| --- " * (len(CHECKS) + 3) + "|"]
    with tempfile.TemporaryDirectory() as folder:
        labelled = draw_dataset(Path(folder) / "arrows", 4, seed=0)
        notes = args.notes or Path(folder)
        notes.mkdir(exist_ok=True)
        for family, config in families():
            if args.families and family not in args.families:
                continue
            note = notes / f"{family.replace('/', '-')}.json"
            if not note.is_file():
                job = dict(target=tried, args=(config, labelled, note))
                process = multiprocessing.get_context("spawn").Process(**job)
                process.start()
                process.join(SECONDS)
                process.kill()
            died = {"builds": "no: died, or took too long"}
            seen = json.loads(note.read_text()) if note.is_file() else died
            lines.append(row(family, f"x/{config.rpartition('/')[2]}", seen))
            print(lines[-1], flush=True)
    if args.write:
        table = "<!-- estimators -->\n" + "\n".join(lines) + "\n<!-- end of estimators -->"
        text, marks = PAGE.read_text(), "<!-- estimators -->.*<!-- end of estimators -->"
        PAGE.write_text(re.sub(marks, lambda _: table, text, flags=re.S))


if __name__ == "__main__":
    main()
