"""Writes a table of results as CSV and Markdown."""

import argparse
import json

from distill.evaluation.metrics import read_evaluation
from distill.evaluation.table_text import markdown, write
from distill.evaluation.tables import build
from distill.program import log, require, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the table's name")
    parser.add_argument(
        "--spec", required=True, type=json.loads, help="JSON: rows, task, reference, gains; metrics, gap"
    )
    parser.add_argument("--evaluations", required=True, nargs="+", help="the files that the rows name")
    parser.add_argument("--output", required=True, help="….csv; the Markdown is written beside it")
    args = parser.parse_args()
    require(args.spec, ("rows", "task", "reference", "gains"), "--spec")
    table = build(args.spec, {path: read_evaluation(path) for path in args.evaluations})
    write(table, args.output)
    log.info("table %s\n%s", args.name, markdown(table))


if __name__ == "__main__":
    run(main)
