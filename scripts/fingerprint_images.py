"""datasets/{dataset}.json → datasets/fingerprints/{dataset}.json: what its images show, to find copies."""

import argparse
from pathlib import Path

from distill.datasets.dataset_file import read_dataset, root_of
from distill.datasets.fingerprints import fingerprints
from distill.files import write_json
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()
    dataset = read_dataset(args.dataset)
    write_json(args.output, {"images": fingerprints(dataset, root_of(dataset, args.dataset))})


if __name__ == "__main__":
    run(main)
