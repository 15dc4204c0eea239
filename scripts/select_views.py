"""Measures a model under each view and under greedily growing sets: which views are worth their time?"""

import argparse
import json
from pathlib import Path

from distill import strict
from distill.evaluation.view_selection import measuring, select, write
from distill.predictions.merge import Options
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="JSON of the annotated dataset")
    parser.add_argument("--options", type=json.loads, required=True, help="JSON of all merge options")
    parser.add_argument(
        "--patience", type=int, default=3, help="additions in a row without a higher AP that end it"
    )
    parser.add_argument("--processes", type=int, default=1, help="view sets that are measured side by side")
    parser.add_argument(
        "--output", type=Path, required=True, help="….csv; .md and .svg are written beside it"
    )
    parser.add_argument(
        "predictions", type=Path, nargs="+", help="…/{view}/{shard}.json or .h5, of all views and shards"
    )
    args = parser.parse_args()
    options = strict.options(Options, args.options, "--options")
    with measuring(args.predictions, args.dataset, options, args.processes) as (views, measure):
        selection = select(views, measure, args.patience)
    write(selection, args.dataset.stem, args.output)


if __name__ == "__main__":
    run(main)
