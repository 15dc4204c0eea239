"""Computes COCO's average precision of merged predictions on an annotated dataset."""

import argparse
from pathlib import Path

from distill.datasets.dataset_file import read_dataset
from distill.evaluation.average_precision import evaluate
from distill.files import read_json, write_json
from distill.predictions.coco_results import Prediction
from distill.program import UserError, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="JSON of the annotated dataset")
    parser.add_argument("--predictions", required=True, help="COCO results")
    parser.add_argument("--task", choices=["boxes", "keypoints"], help="default: what the predictions carry")
    parser.add_argument("--output", required=True, type=Path, help="…/{model}/{dataset}/{views}.json")
    args = parser.parse_args()
    model, dataset, views = args.output.absolute().with_suffix("").parts[-3:]
    names = {"model": model, "dataset": dataset, "views": views}
    predictions = read_json(args.predictions, like=list[Prediction])
    dataset = read_dataset(args.dataset)
    try:
        metrics = evaluate(dataset, predictions, args.task)
    except UserError as error:
        raise UserError(f"{args.predictions} on {args.dataset}: {error}") from None
    if metrics["AP"] is None:
        raise UserError(f"{args.dataset}: has no annotated {metrics['task']}, so that there is no AP")
    write_json(args.output, {**names, **metrics})


if __name__ == "__main__":
    run(main)
