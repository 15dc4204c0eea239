"""Writes the reference of the configuration from its schemas: every key, its meaning, default and unit."""

import argparse
from pathlib import Path

from distill.files import replacing
from distill.program import run
from distill.study.config_reference import reference

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "config/README.md", help="Markdown")
    args = parser.parse_args()
    with replacing(args.output) as temporary:
        temporary.write_text(reference(ROOT), encoding="utf-8")


if __name__ == "__main__":
    run(main)
