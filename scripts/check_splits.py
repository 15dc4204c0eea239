"""Refuses a study whose validation images are among its training images, and warns where they look alike."""

import argparse
from pathlib import Path

from distill.datasets.dataset_file import read_source
from distill.datasets.fingerprints import read_fingerprints
from distill.datasets.splits import check_splits
from distill.files import write_json
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validation", required=True, type=Path)
    parser.add_argument("--training", required=True, type=Path)
    parser.add_argument(
        "--fingerprints",
        required=True,
        nargs=2,
        type=Path,
        help="of both, by fingerprint_images.py",
    )
    parser.add_argument("--images-only", action="store_true", help="categories may be others")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()
    names = (args.validation.stem, args.training.stem)
    validation, training = read_source(args.validation), read_source(args.training)
    ours, theirs = map(read_fingerprints, args.fingerprints)
    found = check_splits(names, validation, training, (ours, theirs), categories=not args.images_only)
    write_json(args.output, found)


if __name__ == "__main__":
    run(main)
