"""Which detectors of mmdet work here: one of each family goes the whole way (`helpers.trial`), at 128 pixels
and from random weights. It takes an hour of one core, and writes the table of docs/networks.md.

    python tests/bench/try_detectors.py --write
"""

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mmdet
import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
CONFIGS = Path(mmdet.__file__).parent / ".mim/configs"
PAGE = ROOT / "docs/networks.md"
SMALLEST = re.compile("tiny|nano|_s_|r18|r50|b0")
SECONDS = 600  # of one detector


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
        if names := [name for name in names if (CONFIGS / name).is_file()]:
            yield path.parent.name, min(names, key=lambda n: (not SMALLEST.search(n), len(n), n))


def tried(config: str, labelled: Path, notes: Path) -> None:
    import distill.models  # noqa: F401, before mmdet's operators
    from helpers.trial import trial

    with tempfile.TemporaryDirectory() as folder:
        notes.write_text(json.dumps(trial(f"mmdet::{config}", labelled, Path(folder))))


def row(family: str, config: str, seen: dict[str, str]) -> str:
    from helpers.trial import CHECKS

    reasons = [text.removeprefix("no: ") for text in seen.values() if text.startswith("no: ")]
    cells = ["no" if text.startswith("no: ") else text for text in (seen.get(check, "") for check in CHECKS)]
    why = re.sub(r"[|`<>]", " ", reasons[0])[:160] if reasons else ""
    return f"| {family} | `{config.partition('/')[2]}` | {' | '.join(cells)} | {why} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/networks.md")
    parser.add_argument(
        "--notes", type=Path, help="folder that keeps what was seen; these are not tried again"
    )
    parser.add_argument("families", nargs="*", help="default: all")
    args = parser.parse_args()
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
            note = notes / f"{family}.json"
            if not note.is_file():
                process = multiprocessing.get_context("spawn").Process(
                    target=tried, args=(config, labelled, note)
                )
                process.start()
                process.join(SECONDS)
                process.kill()
            seen = (
                json.loads(note.read_text()) if note.is_file() else {"builds": "no: died, or took too long"}
            )
            lines.append(row(family, config, seen))
            print(lines[-1], flush=True)
    if args.write:
        text = PAGE.read_text()
        table = "<!-- table -->\n" + "\n".join(lines) + "\n<!-- end -->"
        PAGE.write_text(re.sub("<!-- table -->.*<!-- end -->", lambda _: table, text, flags=re.S))


if __name__ == "__main__":
    main()
