"""Chooses the score thresholds above which merged predictions become labels."""

import argparse
import json

from distill import strict
from distill.datasets.dataset_file import read_dataset
from distill.files import write_json
from distill.labels.calibrate import Options, calibrate
from distill.program import UserError, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--merged", required=True, help="merged predictions of the unlabelled dataset")
    parser.add_argument("--dataset", required=True, help="JSON of the unlabelled dataset")
    parser.add_argument("--labelled", required=True, help="JSON of the labelled dataset: what to aim at")
    parser.add_argument(
        "--validated",
        nargs="*",
        default=[],
        help="for `aim: validation`: merged predictions of the validation dataset, and its JSON",
    )
    parser.add_argument("--options", type=json.loads, required=True, help="JSON of all calibrate options")
    parser.add_argument("--output", required=True, help="thresholds.json")
    args = parser.parse_args()
    options = strict.options(Options, args.options, "--options")
    if len(args.validated) != 2 * (options.aim == "validation"):
        raise UserError(f"--validated: {len(args.validated)} files; two for `aim: validation`, else none")
    dataset, labelled = read_dataset(args.dataset), read_dataset(args.labelled)
    validated = (args.validated[0], read_dataset(args.validated[1])) if args.validated else None
    write_json(args.output, calibrate(args.merged, dataset, labelled, options, validated))


if __name__ == "__main__":
    run(main)
