"""Takes the merged predictions of a subset's images from those of the dataset that it is of."""

import argparse

from distill.datasets.dataset_file import read_dataset
from distill.files import write_json
from distill.predictions.coco_results import select
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="the subset")
    parser.add_argument("--merged", required=True, help="JSON of merged results on the whole dataset")
    parser.add_argument("--output", required=True, help="JSON of merged results")
    args = parser.parse_args()
    write_json(args.output, select(args.merged, read_dataset(args.dataset)))


if __name__ == "__main__":
    run(main)
