"""Turns merged predictions at or above the thresholds into a COCO annotation file."""

import argparse

from distill.datasets.dataset_file import read_dataset
from distill.labels.generate import generate
from distill.labels.thresholds import read_thresholds
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merged", required=True, help="merged predictions of the unlabelled dataset")
    parser.add_argument("--dataset", required=True, help="JSON of the unlabelled dataset")
    parser.add_argument("--labelled", required=True, help="JSON of the labelled dataset")
    parser.add_argument("--thresholds", required=True, help="thresholds.json of calibrate_threshold.py")
    parser.add_argument("--output", required=True, help="annotations.json")
    args = parser.parse_args()
    dataset, labelled = map(read_dataset, (args.dataset, args.labelled))
    generate(args.merged, dataset, labelled, read_thresholds(args.thresholds), args.output)


if __name__ == "__main__":
    run(main)
