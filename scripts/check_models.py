"""Whether trainings can begin, as far as the configs of other programs say it; asked before any job runs."""

import argparse
import json

from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--models", type=json.loads, required=True, help="JSON: the options of models by name, with `config`"
    )
    args = parser.parse_args()
    from distill.models.training_job import check_config

    for name, spec in args.models.items():
        check_config(name, spec)


if __name__ == "__main__":
    run(main)
