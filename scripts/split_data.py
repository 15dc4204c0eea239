"""One config entry of `datasets:` → datasets/{dataset}.json (and, for videos and figures, its images)."""

import argparse
import json
from pathlib import Path

from distill.datasets.dataset_file import read_source
from distill.datasets.kinds import build
from distill.files import write_json
from distill.program import UserError, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the dataset's name")
    parser.add_argument("--spec", required=True, help="its config entry with all options, as JSON")
    parser.add_argument(
        "--source", action="append", default=[], metavar="NAME=PATH", help="a dataset it refers to"
    )
    parser.add_argument("--images", type=Path, help="folder for the images that videos and figures make")
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()
    try:
        spec = json.loads(args.spec)
    except json.JSONDecodeError as error:
        raise UserError(f"--spec is not JSON ({error})") from None
    pairs = (source.partition("=")[::2] for source in args.source)
    sources = {name: read_source(path) for name, path in pairs}
    write_json(args.output, build(args.name, spec, sources, args.images))


if __name__ == "__main__":
    run(main)
