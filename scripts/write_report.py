"""Writes the page that shows a study, report.html, from study.json and the artifacts beside it."""

import argparse
from pathlib import Path

from distill.files import write_text
from distill.program import log, run
from distill.report.artifacts import read_study
from distill.report.page import Report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="the resolved study (JSON)")
    parser.add_argument("--results", type=Path, required=True, help="the results folder of the study")
    parser.add_argument("--output", type=Path, required=True, help="the HTML page to write")
    args = parser.parse_args()
    page = Report(read_study(args.study), args.results).render()
    write_text(args.output, page)
    log.info("%s: %.1f MB", args.output, len(page) / 1e6)


if __name__ == "__main__":
    run(main)
