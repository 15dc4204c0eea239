"""Counts the trainings and predictions of a study: of each table, and what sharing between them saves."""

import argparse
from pathlib import Path

from distill import ROOT
from distill.program import run
from distill.study.needs import needs, shards_of
from distill.study.resolve import read, resolve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="the study, ….yaml")
    study = resolve(read(parser.parse_args().config), ROOT)
    tables = {name: table["rows"] for name, table in study["tables"].items()}
    counts = {name: [needs(study, rows)] for name, rows in tables.items()}
    counts["every row on its own"] = [needs(study, [row]) for rows in tables.values() for row in rows]
    counts["every table on its own"] = [needs(study, rows) for rows in tables.values()]
    counts["everything shared"] = [needs(study, [row for rows in tables.values() for row in rows])]
    print("| | trainings | predictions: a model on a dataset under one view | jobs: one for each shard |")
    print("| --- | ---: | ---: | ---: |")
    for name, parts in counts.items():
        trainings = sum(len(part.trainings) for part in parts)
        shards = [shards_of(study, dataset) for part in parts for _, dataset, _ in part.predictions]
        print(f"| {name} | {trainings} | {len(shards)} | {sum(shards)} |")


if __name__ == "__main__":
    run(main)
