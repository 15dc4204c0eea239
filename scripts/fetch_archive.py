"""Downloads a file, going on where an earlier run broke off, and checks its size and checksum."""

import argparse

from distill.datasets.download import fetch
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    checksum = parser.add_mutually_exclusive_group(required=True)
    checksum.add_argument("--md5", help="hexadecimal")
    checksum.add_argument("--sha256", help="hexadecimal; its beginning will do")
    parser.add_argument("--size", type=int, help="bytes")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    algorithm = "md5" if args.md5 else "sha256"
    fetch(args.url, args.output, args.md5 or args.sha256, args.size, algorithm=algorithm)


if __name__ == "__main__":
    run(main)
