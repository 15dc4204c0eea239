"""Lists the images of a label set to label next, by next.csv or for comparison by the lowest mean score."""

import argparse
from pathlib import Path

import numpy as np

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
        scores: dict[int, list[float]] = {image["id"]: [] for image in labels["images"]}
        for annotation in labels["annotations"]:
            if annotation["iscrowd"]:  # no label: what is to be ignored
                continue
            if "score" not in annotation:
                raise UserError(
                    f"{args.labels}: annotation {annotation['id']} has no score; give generated labels"
                )
            scores[annotation["image_id"]].append(annotation["score"])
        mean = {image: float(np.mean(found)) if found else 1.0 for image, found in scores.items()}
        names = [image["file_name"] for image in sorted(labels["images"], key=lambda i: mean[i["id"]])]
    if len(names) < args.images:
        log.warning("%s: lists %d images, not %d", args.output, len(names), args.images)
    write_text(args.output, "".join(f"{name}\n" for name in names[: args.images]))


if __name__ == "__main__":
    run(main)
