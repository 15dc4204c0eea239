"""Refuses a study whose validation images are, byte for byte, among its training images."""

import argparse
from pathlib import Path

from distill.datasets.stats import check_splits
from distill.files import read_json, write_json
from distill.program import run


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validation", required=True, type=Path)
    parser.add_argument("--training", required=True, nargs="+", type=Path)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args(argv)
    training = {path.stem: read_json(path) for path in args.training}
    write_json(args.output, check_splits(args.validation.stem, read_json(args.validation), training))


if __name__ == "__main__":
    run(main)
