"""Takes files and folders out of a zip archive: all of them, or none."""

import argparse

from distill.datasets.download import extract
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", required=True, help="….zip")
    parser.add_argument("--folder", required=True, help="where to; names are kept")
    parser.add_argument("names", nargs="+", help="files, or folders with a slash at the end")
    args = parser.parse_args()
    extract(args.archive, args.folder, args.names)


if __name__ == "__main__":
    run(main)
