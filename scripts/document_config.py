"""Writes the reference of the configuration from its schemas: every key, its meaning, default and unit."""

import argparse
from pathlib import Path

from distill import ROOT
from distill.files import write_text
from distill.program import run
from distill.study.config_reference import reference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "config/README.md", help="Markdown")
    args = parser.parse_args()
    write_text(args.output, reference(ROOT))


if __name__ == "__main__":
    run(main)
