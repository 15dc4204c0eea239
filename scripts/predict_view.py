"""Predicts one shard of a dataset under one view: boxes (.json), or heatmaps (.h5) in given boxes."""

import argparse
from pathlib import Path
from typing import Any

from distill.cluster.gpus import claim
from distill.predictions.views import View
from distill.program import DEVICE, at_least, run


def arguments(description: str) -> argparse.ArgumentParser:
    """The arguments of every prediction."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, required=True, help="folder with model.pth and config.py")
    parser.add_argument("--dataset", type=Path, required=True, help="dataset JSON")
    parser.add_argument("--view", type=View.parse, required=True, help="for example s0800-flip")
    parser.add_argument("--shard", type=int, required=True, help="this shard, from 0 …")
    parser.add_argument("--shards", type=int, required=True, help="… of so many")
    running(parser)
    parser.add_argument("--output", type=Path, required=True)
    return parser


def running(parser: argparse.ArgumentParser) -> None:
    """Adds the options of every program that runs a model."""
    parser.add_argument("--device", default=DEVICE, choices=["auto", "cpu", "cuda"])
    parser.add_argument("--batch", type=int, help="most images in a batch (default 4, on a GPU 16)")
    parser.add_argument("--amp", action="store_true", help="bfloat16 where the hardware computes in it")
    parser.add_argument("--workers", type=int, help="processes that load images")


def claimed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, those of `running` checked. The GPU is claimed, before torch is imported."""
    args = parser.parse_args()
    at_least(1, batch=args.batch)
    at_least(0, workers=args.workers)
    claim(1, args.device)
    return args


def parsed(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The arguments of a prediction as the library takes them, `claimed`."""
    args = vars(claimed(parser))
    args["shards"] = (args.pop("shard"), args["shards"])
    return args


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--boxes", type=Path, nargs="?", help="fixed boxes of the shard, of detect_boxes.py, to predict in"
    )
    args = parsed(parser)
    from distill.models.prediction import predict_boxes, predict_heatmaps

    predict = predict_boxes if args["output"].suffix == ".json" else predict_heatmaps
    predict(**args)


if __name__ == "__main__":
    run(main, imports="distill.models.prediction")
