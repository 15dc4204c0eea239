"""Gathers the merged results of all shards of a dataset into one file."""

import argparse

from distill.files import write_json
from distill.predictions.coco_results import gather
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, help="JSON of merged results")
    parser.add_argument("shards", nargs="+", help="merged shards in the dataset's order")
    args = parser.parse_args()
    write_json(args.output, gather(args.shards))


if __name__ == "__main__":
    run(main)
