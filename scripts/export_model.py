"""Writes a model for the programs of others: torchvision, mmdet, mmpose, ONNX."""

import argparse
from contextlib import redirect_stdout
from pathlib import Path

from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder with model.pth and config.py")
    parser.add_argument("--format", required=True, choices=["torchvision", "mmdet", "mmpose", "onnx"])
    parser.add_argument(
        "--output", type=Path, required=True, help="file of weights (.pth, .onnx); others go beside it"
    )
    parser.add_argument(
        "--view", default="plain", help="what images are resized to: a view such as s0800, or plain"
    )
    args = parser.parse_args()
    with redirect_stdout(None):  # mmdet says there what is not installed
        from distill.models.exports.exporting import export_model
    for path in export_model(args.model, args.format, args.output, args.view):
        print(path)


if __name__ == "__main__":
    run(main)
