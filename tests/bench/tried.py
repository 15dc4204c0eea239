"""What the programs share that try a network of each family (`helpers.trial`): a process for each, notes of
what was seen, and a table of docs/networks-tried.md."""

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
PAGE = ROOT / "docs/networks-tried.md"
SECONDS = 600  # of one network


def tried(config: str, labelled: Path, notes: Path) -> None:
    """Where it cannot be trained, or diverges, once more on larger images and with a low learning rate."""
    import distill.models  # noqa: F401, before mmdet's operators
    from helpers.trial import trial

    with tempfile.TemporaryDirectory() as folder:
        seen = trial(config, labelled, Path(folder))
    if seen.get("trains", "").startswith("no: "):
        with tempfile.TemporaryDirectory() as folder:
            again = trial(config, labelled, Path(folder), scales=[320], max_side=400, lr=1e-5)
        seen = seen if again["trains"].startswith("no: ") else again
    notes.write_text(json.dumps(seen))


def row(family: str, config: str, seen: dict[str, str]) -> str:
    from helpers.trial import CHECKS

    reasons = [text.removeprefix("no: ") for text in seen.values() if text.startswith("no: ")]
    cells = ["no" if text.startswith("no: ") else text for text in (seen.get(check, "") for check in CHECKS)]
    why = re.sub(r"^UserError: (\S+: )?", "", reasons[0] if reasons else "").partition(" (the last good")[0]
    why = re.sub(r"[|`<>]", "", why)[:160]
    return f"| {family} | `{Path(config).name}` | {' | '.join(cells)} | {why} |"


def main(description: str, package: str, families: Iterable[tuple[str, str]], table: str) -> None:
    """The program. package: of the configs. families: names, and of each a config. table: its name in the
    page."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--write", action="store_true", help="into docs/networks-tried.md")
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
        for family, config in families:
            if args.families and family not in args.families:
                continue
            note = notes / f"{family.replace('/', '-')}.json"
            if not note.is_file():
                job = dict(target=tried, args=(f"{package}::{config}", labelled, note))
                process = multiprocessing.get_context("spawn").Process(**job)
                process.start()
                process.join(SECONDS)
                process.kill()
            died = {"builds": "no: died, or took too long"}
            seen = json.loads(note.read_text()) if note.is_file() else died
            lines.append(row(family, config, seen))
            print(lines[-1], flush=True)
    if args.write:
        first, last = f"<!-- {table} -->", f"<!-- end of {table} -->"
        text = "\n".join([first, *lines, last])
        page = re.sub(f"{first}.*{last}", lambda _: text, PAGE.read_text(), flags=re.S)
        PAGE.write_text(page)
