"""Lists the images of a label set to label next, by next.csv or for comparison by the lowest mean score."""

import argparse
from pathlib import Path

import numpy as np

from distill.datasets.coco import by_image, instances
from distill.datasets.dataset_file import read_dataset
from distill.files import write_text
from distill.labels.listed import read_next
from distill.program import UserError, at_least, log, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, required=True, help="labels/{labels}/annotations.json")
    parser.add_argument("--by", choices=["next", "score"], required=True)
    parser.add_argument("--images", type=int, required=True, help="how many")
    parser.add_argument("--output", type=Path, required=True, help="a list for `ids` of a dataset")
    args = parser.parse_args()
    at_least(1, images=args.images)
    if args.by == "next":
        names = read_next(args.labels.parent / "next.csv")["file_name"].tolist()
    else:
        labels = read_dataset(args.labels)
        found = instances(labels)  # others are to be ignored
        if without := [label["id"] for label in found if "score" not in label]:
            raise UserError(f"{args.labels}: annotation {without[0]} has no score; give generated labels")
        mean = {key: np.mean([label["score"] for label in mine]) for key, mine in by_image(found).items()}
        names = [i["file_name"] for i in sorted(labels["images"], key=lambda i: mean.get(i["id"], 1.0))]
    if len(names) < args.images:
        log.warning("%s: lists %d images, not %d", args.output, len(names), args.images)
    write_text(args.output, "".join(f"{name}\n" for name in names[: args.images]))


if __name__ == "__main__":
    run(main)
