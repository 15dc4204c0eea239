"""Checks other programs' predictions of a dataset, and merges them into COCO results."""

import argparse
import json
from pathlib import Path

from distill import strict
from distill.datasets.dataset_file import read_dataset
from distill.datasets.image_names import Images
from distill.files import write_json
from distill.predictions import consensus, given
from distill.predictions.merge import Options
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="JSON of the dataset that was predicted")
    parser.add_argument("--sources", nargs="*", default=[], help="JSON of datasets that it is made of")
    parser.add_argument("--labelled", required=True, help="JSON of the labelled dataset: the categories")
    parser.add_argument("--options", type=json.loads, required=True, help="JSON of all merge options")
    parser.add_argument("--posed", action="store_true", help="a keypoint model learns from them")
    parser.add_argument("--output", required=True, help="JSON of merged results")
    parser.add_argument("predictions", type=Path, nargs="+", help="COCO results in pixels of the image")
    args = parser.parse_args()
    options = strict.options(Options, args.options, "--options")
    images = Images(read_dataset(args.dataset), [read_dataset(path) for path in args.sources])
    categories = read_dataset(args.labelled)["categories"]
    files = [given.read(path, images, categories, args.posed) for path in args.predictions]
    write_json(args.output, consensus.merge(files, images, categories, options))


if __name__ == "__main__":
    run(main)
