"""A training's iteration where wide and tall images are kept apart, against one where they are not.

python tests/bench/bench_shapes.py [--config faster_rcnn_lite --batch 4 --scale 192]

Three images of ten are tall, as in COCO. Where a minibatch has both kinds it is padded to a square. In turns,
on the same images, in CPU time of one core.
"""

import argparse
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from bench_training import job_of, training_seconds
from measure import report

from distill.datasets.figures import generate
from distill.files import write_json
from distill.models.sampler import WINDOW, RatioSampler

LEAST = 40  # images


def dataset(folder: Path, count: int) -> Path:
    """Drawn images, three of ten tall, none square."""
    coco = generate(folder / "images", 4 * count, seed=0, size=(640, 480), style="photo")
    posed = {a["image_id"] for a in coco["annotations"]}
    wide, tall = (
        [i for i in coco["images"] if i["id"] in posed and i[longer] == 640] for longer in ("width", "height")
    )
    coco["images"] = [*wide[: count * 7 // 10], *tall[: count * 3 // 10]]
    kept = {image["id"] for image in coco["images"]}
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] in kept]
    coco["info"]["image_root"] = str(folder / "images")
    write_json(folder / "dataset.json", coco)
    return folder / "dataset.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="faster_rcnn_lite")
    parser.add_argument("--batch", type=int, nargs="+", default=[4])
    parser.add_argument("--scale", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        path = dataset(Path(name), max(LEAST, 4 * max(args.batch)))
        for batch in args.batch:
            seconds: dict[str, list[float]] = {"apart": [], "mixed": []}
            for turn in range(args.rounds):
                for how, found in seconds.items():
                    job = job_of(Path(name) / f"{batch}-{turn}-{how}", args.config, path)
                    options = {"batch": batch, "scales": [args.scale], "iterations": 2 * WINDOW}
                    job = replace(job, spec=job.spec | options)
                    by_shape = RatioSampler.by_shape if how == "apart" else lambda self, indices: indices
                    with mock.patch.object(RatioSampler, "by_shape", by_shape):
                        found.append(training_seconds(job)[0])
            apart, mixed = (min(found) for found in seconds.values())
            times = {"apart s": apart, "mixed s": mixed, "ratio": mixed / apart}
            rows.append({"config": args.config, "batch": batch, **times})
    report("an iteration, wide and tall images", rows)


if __name__ == "__main__":
    main()
