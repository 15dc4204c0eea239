"""Draws the losses of trainings as SVG and PNG."""

import argparse

from distill.evaluation import plots
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, help="….svg; the PNG is written beside it")
    parser.add_argument("histories", nargs="+", metavar="NAME=PATH", help="history.csv of a model")
    args = parser.parse_args()
    pairs = (history.partition("=")[::2] for history in args.histories)
    histories = [(name, plots.read_history(path)) for name, path in pairs]
    plots.save(lambda axes: plots.losses(axes, histories), args.output)


if __name__ == "__main__":
    run(main)
