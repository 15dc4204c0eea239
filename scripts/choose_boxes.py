"""Chooses the detected boxes that get heatmaps, on images that are only to be labelled."""

import argparse
from pathlib import Path

from distill.datasets.dataset_file import read_dataset
from distill.files import write_json
from distill.labels.heatmap_boxes import choose, least_scores
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="JSON of the unlabelled dataset")
    parser.add_argument(
        "--labelled", required=True, nargs="+", help="JSON of the datasets that labels aim at"
    )
    parser.add_argument(
        "--per-label", type=float, required=True, help="boxes for each label that is expected"
    )
    parser.add_argument(
        "--agnostic-nms",
        type=float,
        nargs="*",
        default=[],
        help="values of this calibrate option that labels have",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for files of the same names")
    parser.add_argument("detected", type=Path, nargs="+", help="the boxes of all shards, of detect_boxes.py")
    args = parser.parse_args()
    labelled = [read_dataset(path) for path in args.labelled]
    least = least_scores(
        args.detected, read_dataset(args.dataset), labelled, args.per_label, args.agnostic_nms
    )
    for path in args.detected:
        write_json(args.output / path.name, choose(path, least))


if __name__ == "__main__":
    run(main)
