"""A model in use against its bare network: predict_images from files to files, without the start-up.

python tests/bench/bench_use.py [--config faster_rcnn_r50_fpn] [--images 200] [--scale 600]

Random weights of the scale of trained ones, on generated photographs of 640 × 480 as JPEG, on a CPU; seconds
are CPU time of an image, taken in turns. The bare network has the pixels of every batch in memory and throws
its results away; of keypoint models it has the heatmaps of the same boxes.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path

import cv2
import torch
from measure import best_seconds, report

from distill.datasets.figures import CATEGORY, generate
from distill.datasets.images import read_image
from distill.models.applied import predict_files
from distill.models.predictor import Predictor
from distill.models.sources import Source
from distill.models.usage import plan_of
from distill.predictions.views import View
from helpers.networks import random_model


def photographs(folder: Path, count: int) -> Path:
    coco = generate(folder / "drawn", min(count, 20), seed=0, size=(640, 480), style="photo")
    (folder / "images").mkdir()
    for number in range(count):
        drawn = coco["images"][number % len(coco["images"])]
        pixels = read_image(folder / "drawn" / drawn["file_name"])
        cv2.imwrite(str(folder / f"images/{number:05d}.jpg"), pixels)
    return folder / "images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", nargs="+", default=["faster_rcnn_r50_fpn", "keypoint_rcnn_r50_fpn"])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--scale", type=int, default=600)
    parser.add_argument("--rois", type=int, default=5, help="boxes of an image that get keypoints")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        images = photographs(Path(name), args.images)
        for config in args.config:
            posed = config.startswith("keypoint")
            categories = [CATEGORY] if posed else [{"id": i, "name": str(i)} for i in range(1, 81)]
            model = random_model(config, categories, Path(name) / config)
            predictor, view = Predictor(model, "cpu"), View(args.scale)
            plan = plan_of(model, [view.name])
            plan.fixed_boxes["per_image"] = args.rois
            used, source = predictor.application(plan, 0.0), Source.of([images])
            batches: list = []

            def keep(*batch, batches=batches):
                batches.append(batch)

            for part, pixels in predictor.parts(source, [view]):
                if pixels:
                    predictor.forward(part.images, pixels, view, keep)

            @torch.inference_mode()
            def bare(predictor=predictor, batches=batches, posed=posed):
                for _, inputs, samples in batches:
                    if posed:
                        first = lambda found: [one.bboxes[: args.rois] for one in found]  # noqa: E731
                        predictor.kind.both(predictor.network, inputs, samples, first)
                    else:
                        predictor.kind.boxes(predictor.network, inputs, samples)

            def files(used=used, predictor=predictor, source=source, name=name):
                predict_files(predictor, source, used, Path(name) / "out.json", lambda count: None)

            bare()
            seconds = best_seconds(bare, files, rounds=args.rounds, clock=time.process_time)
            row = {"model": config, "bare s/image": seconds[0] / args.images}
            rows.append({**row, "s/image": seconds[1] / args.images, "over bare": seconds[1] / seconds[0]})
    report(f"{args.images} images at {args.scale}", rows)


if __name__ == "__main__":
    main()
