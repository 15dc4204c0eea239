"""Trains one model: a teacher on labelled images, or a student on labelled images and generated labels."""

import argparse
import json
from pathlib import Path

from distill.cluster.gpus import claim
from distill.program import DEVICE, at_least, require, run
from distill.study.resolve import TRAINING_OPTIONS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the model")
    parser.add_argument("--config", type=Path, required=True, help="model config: a path, or mmdet::…")
    parser.add_argument(
        "--spec",
        type=json.loads,
        required=True,
        help=f"JSON: {', '.join(TRAINING_OPTIONS)}; ratio of students",
    )
    parser.add_argument("--labelled", type=Path, required=True, help="COCO JSON of the labelled dataset")
    parser.add_argument("--labels", type=Path, help="COCO JSON of generated labels (a student)")
    parser.add_argument("--init", type=Path, help="model.pth to fine-tune from")
    parser.add_argument(
        "--validation", type=Path, help="COCO JSON of the validation dataset, if it is looked at"
    )
    parser.add_argument("--how", type=json.loads, help="JSON: how it is predicted: views, fixed_boxes, merge")
    parser.add_argument("--version", default="", help="of what a training does: of another one none goes on")
    parser.add_argument("--device", default=DEVICE, choices=["auto", "cpu", "cuda"])
    parser.add_argument("--workers", type=int, help="processes that load images, per GPU")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    args = vars(parser.parse_args())
    workers = args.pop("workers")
    at_least(0, workers=workers)
    require(args["spec"], (*TRAINING_OPTIONS, *(["ratio"] if args["labels"] else [])), "--spec")
    claim(1, args["device"])
    from distill.models.training import train
    from distill.models.training_job import Job

    train(Job(**args), workers)


if __name__ == "__main__":
    run(main)
