"""datasets/{dataset}.json → datasets/{dataset}.stats.json: how many images, instances and keypoints."""

import argparse
from pathlib import Path

from distill.datasets.dataset_file import read_dataset
from distill.datasets.stats import describe
from distill.files import write_json
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()
    write_json(args.output, describe(read_dataset(args.dataset)))


if __name__ == "__main__":
    run(main)
