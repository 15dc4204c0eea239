"""Draws the rows of a table that have an x: AP by x, as SVG and PNG."""

import argparse
import json

from distill.evaluation import plots
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True, help="….csv")
    parser.add_argument("--options", required=True, type=json.loads, help="JSON: x, baseline")
    parser.add_argument("--output", required=True, help="….svg; the PNG is written beside it")
    args = parser.parse_args()
    table = plots.read_rows(args.table)
    plots.save(lambda axes: plots.rows(axes, table, args.options), args.output)


if __name__ == "__main__":
    run(main)
