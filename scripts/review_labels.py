"""Lists what to look at first: labels likely wrong, objects likely missed; and which images to label next."""

import argparse
from pathlib import Path

from distill.datasets.dataset_file import read_dataset
from distill.datasets.fingerprints import read_fingerprints
from distill.files import write_text
from distill.labels.next_images import next_images
from distill.labels.review import doubts, worst_first
from distill.labels.thresholds import read_thresholds
from distill.program import UserError, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merged", required=True, help="merged predictions of the unlabelled dataset")
    parser.add_argument("--dataset", required=True, help="JSON of the unlabelled dataset")
    parser.add_argument("--labelled", required=True, help="JSON of the labelled dataset")
    parser.add_argument(
        "--fingerprints", required=True, nargs=2, type=Path, help="of both, by fingerprint_images.py"
    )
    parser.add_argument("--thresholds", required=True, help="thresholds.json of calibrate_threshold.py")
    parser.add_argument("--output", type=Path, required=True, help="a folder for review.csv and next.csv")
    args = parser.parse_args()
    dataset, labelled = map(read_dataset, (args.dataset, args.labelled))
    categories = labelled["categories"]
    prints = [read_fingerprints(path) for path in args.fingerprints]
    for path, found, of in zip(args.fingerprints, prints, (dataset, labelled), strict=True):
        if [one.id for one in found] != [image["id"] for image in of["images"]]:
            raise UserError(f"{path}: are not the fingerprints of these images; have them made again")
    table = doubts(args.merged, dataset, categories, read_thresholds(args.thresholds))
    tables = {
        "review": worst_first(table, dataset, categories),
        "next": next_images(table, dataset, labelled, prints),
    }
    for name, rows in tables.items():
        write_text(args.output / f"{name}.csv", rows.to_csv(index=False))


if __name__ == "__main__":
    run(main)
