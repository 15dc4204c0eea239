"""Inverts and merges the predictions of one shard under several views into COCO results."""

import argparse
import json

from distill import strict
from distill.datasets.dataset_file import read_dataset
from distill.files import write_json
from distill.predictions.merge import Options
from distill.predictions.merge_files import merge_files
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="JSON of the dataset that was predicted")
    parser.add_argument("--options", type=json.loads, required=True, help="JSON of all merge options")
    parser.add_argument("--output", required=True, help="JSON of merged results")
    parser.add_argument("--boxes", nargs="?", help="the shard's fixed boxes, to compare heatmap files with")
    parser.add_argument(
        "predictions", nargs="+", help="one file for each view: .json of boxes or .h5 of heatmaps"
    )
    args = parser.parse_args()
    options = strict.options(Options, args.options, "--options")
    dataset = read_dataset(args.dataset)
    write_json(args.output, merge_files(args.predictions, dataset, options, args.boxes))


if __name__ == "__main__":
    run(main)
