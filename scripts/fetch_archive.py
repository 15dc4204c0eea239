"""Downloads a file, going on where an earlier run broke off, and checks its size and md5."""

import argparse

from distill.datasets.download import fetch
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--md5", required=True, help="hexadecimal")
    parser.add_argument("--size", type=int, help="bytes")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    fetch(args.url, args.output, args.md5, args.size)


if __name__ == "__main__":
    run(main)
