"""How well the doubt of a review finds wrong labels and missed objects, where the true labels are hidden.

`learned` is no doubt that anybody could have: it has seen the hidden labels of the other half of the images.
"""

import argparse
from pathlib import Path

import pandas as pd

from distill.files import write_text
from distill.program import UserError, run
from distill.report.artifacts import Results, read_study
from distill.report.hidden_review import review_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", type=Path, nargs="+", help="study.json of results that hide labels")
    parser.add_argument("--output", type=Path, required=True, help="a table (CSV)")
    args = parser.parse_args()
    rows = []
    for path in args.studies:
        results = Results(read_study(path), path.parent)
        rows += [
            {"labels": name, **row}
            for name in results.labels
            for row in review_rows(results, name, learn=True)
        ]
    if not rows:
        raise UserError(f"{', '.join(map(str, args.studies))}: no labels with hidden ones to compare with")
    table = pd.DataFrame(rows)
    write_text(args.output, table.to_csv(index=False))
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    run(main)
