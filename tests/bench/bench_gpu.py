"""What a GPU does with the networks: images/s, iterations/s of trainings, and where the time goes.

python tests/bench/bench_gpu.py [--networks r50 r101] [--scales 400 800 1200] [--images 256] [--batch 16]

Random weights of the scale of trained ones, generated photographs of 640 × 480. Of each network and view: a
job as `predict_view.py` runs it, loaders included; the bare network, its pixels on the device; mmdet's own,
without folded normalisation; torchvision's, with the same weights, on the same images, which it resizes
itself. Beside them bench_roofline.py's roofline of --machine (docs/gpu.md). Of trainings, the GPU hours of
table 1a of config/coco.yaml follow. Any Python, torch and torchvision will do with which the packages of
envs/requirements.txt import.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from bench_roofline import MACHINES, rows, views
from measure import ROOT, report
from mmengine.logging import MMLogger

from distill.datasets.figures import CATEGORY, generate
from distill.datasets.images import read_image
from distill.files import write_json
from distill.models import model as models
from distill.models.exports import torchvision_loader
from distill.models.exports.exporting import export_model
from distill.models.predictor import Predictor
from distill.models.training import train
from distill.predictions.views import View
from distill.study.needs import needs
from distill.study.resolve import resolve
from helpers.networks import random_model, training_job

PERSONS = 5  # boxes of an image that get keypoints, as docs/gpu.md assumes
PREFIX = {"boxes": "faster_rcnn", "keypoints": "keypoint_rcnn"}


class Photographs:
    """A generated dataset with random annotations, below `folder`."""

    def __init__(self, folder: Path, images: int, size: tuple[int, int] = (640, 480)) -> None:
        coco = generate(folder / "images", images, seed=0, size=size, style="photo")
        coco["info"] = {"image_root": str(folder / "images"), "description": "", "kind": "figures"}
        self.root, self.images, self.path = folder / "images", coco["images"], folder / "dataset.json"
        write_json(self.path, coco)
        box = np.array([[50.0, 40, 300, 400]])
        shifts = 20.0 * np.arange(PERSONS)[:, None] * np.ones((1, 4))
        self.regions = {image["id"]: box + shifts for image in self.images}


def waited(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def rate(images: int, run: Callable[[], object], device: torch.device) -> float:
    """Images/s of a run, after one that warms up."""
    run()
    waited(device)
    start = time.perf_counter()
    run()
    waited(device)
    return images / (time.perf_counter() - start)


class Utilisation:
    """Percent of the time in which a kernel ran, as nvidia-smi says; empty without one."""

    def __enter__(self) -> "Utilisation":
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
        self.process = None
        with suppress(FileNotFoundError):
            self.process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.percent = ""
        if self.process:
            self.process.terminate()
            said = [int(line) for line in self.process.communicate()[0].split() if line.isdigit()]
            self.percent = f"{np.mean(said):.0f}" if said else ""


@torch.inference_mode()
def predictions(
    name: str, task: str, data: Photographs, args: argparse.Namespace, folder: Path
) -> list[dict]:
    """A row for each scale and precision."""
    model = random_model(f"{PREFIX[task]}_{name}_fpn", [CATEGORY], folder / f"{task}-{name}")
    roofline = views(pd.DataFrame(rows(name, tuple(args.size), scales=args.scales)), PERSONS)
    found = []
    for amp in (False, True):
        predictor = Predictor(model, args.device, batch=args.batch, amp=amp)
        unfolded = models.load(model, predictor.device)[0]
        for scale in args.scales:
            view = View(scale, max_side=2000)
            job, mmdet = job_and_batch(predictor, unfolded, task, data, view)
            with Utilisation() as busy:
                row = {"job": rate(len(data.images), job, predictor.device)}
            for key, network in (("bare", predictor.network), ("mmdet", unfolded)):
                count, run = mmdet(network)
                with torch.autocast(predictor.device.type, torch.bfloat16) if amp else nullcontext():
                    row[key] = rate(count, run, predictor.device)
            row["torchvision"] = "" if amp else torchvisions(data, view, predictor)
            machine = f"{args.machine} amp" if amp else args.machine
            same = (roofline["task"] == task) & (roofline["scale"] == scale)
            row["roofline"] = 1000 / float(roofline.loc[same, f"{machine} ms"].iloc[0])
            about = {"network": f"{task} {name}", "scale": scale, "amp": str(amp)}
            found.append(
                {**about, **row, "of roofline": row["job"] / row["roofline"], "busy %": busy.percent}
            )
    return found


def job_and_batch(
    predictor: Predictor, unfolded: torch.nn.Module, task: str, data: Photographs, view: View
) -> tuple[Callable, Callable]:
    """A prediction of all images; and, of a network, the images of a batch in memory and its prediction."""
    if task == "boxes":

        def job() -> object:
            return [found for _, found in predictor.boxes(data.root, data.images, view)]
    else:

        def job() -> object:
            return [maps.cpu() for maps in predictor.heatmaps(data.root, data.images, data.regions, view)]

    first = data.images[: predictor.batch]
    records, inputs, samples = next(predictor.run(data.root, first, view, lambda *batch: batch))
    rois = torch.tensor(
        [[i, *box] for i, image in enumerate(records) for box in data.regions[image["id"]]],
        dtype=torch.float32,
        device=inputs.device,
    )

    def batch(network: torch.nn.Module) -> tuple[int, Callable]:
        if task == "boxes":
            return len(records), lambda: network.predict(inputs, samples, rescale=False)
        return len(records), lambda: network.roi_head.predict_heatmaps(network.extract_feat(inputs), rois)

    return job, batch


def torchvisions(data: Photographs, view: View, predictor: Predictor) -> float:
    """Images/s of torchvision's own network on pixels in memory; it detects the boxes of keypoints itself."""
    weights = predictor.folder / "torchvision.pth"
    export_model(predictor.folder, "torchvision", weights, view.name)
    network = torchvision_loader.load(weights).to(predictor.device)
    read = [read_image(data.root / image["file_name"]) for image in data.images[: predictor.batch]]
    pixels = [torch.from_numpy(one[..., ::-1] / np.float32(255)).permute(2, 0, 1) for one in read]
    pixels = [one.to(predictor.device) for one in pixels]
    return rate(len(pixels), lambda: network(pixels), predictor.device)


def profile(name: str, data: Photographs, args: argparse.Namespace, folder: Path) -> list[dict]:
    """The operators of a job of boxes that take the most of the device's time."""
    predictor = Predictor(folder / f"boxes-{name}", args.device, batch=args.batch)
    view, activities = View(args.scales[-1], max_side=2000), [torch.profiler.ProfilerActivity.CPU]
    if predictor.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        list(predictor.boxes(data.root, data.images, view))
    on_gpu = predictor.device.type == "cuda"

    def taken(event) -> float:
        named = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        return float(getattr(event, named, 0) or getattr(event, "self_cuda_time_total", 0))

    events = sorted(profiler.key_averages(), key=taken, reverse=True)
    total = sum(map(taken, events)) or 1.0
    return [
        {"operator": e.key[:40], "calls": str(e.count), "share %": 100 * taken(e) / total}
        for e in events[:10]
    ]


def trainings(args: argparse.Namespace, data: Photographs, folder: Path) -> list[dict]:
    """Iterations/s with the paper's batch on this device, and GPU hours of the models of table 1a."""
    study = resolve(yaml.safe_load((ROOT / "config/coco.yaml").read_text()), ROOT)
    needed = needs(study, study["tables"]["table_1a"]["rows"]).trainings
    length = sum(int(study["models"][model]["iterations"]) for model in needed)
    options = dict(scales=args.train_scales, max_side=1333, batch=args.train_batch, lr=0.001, init="none")
    found = []
    for amp in (False, True):
        seconds = []
        for iterations in (args.iterations, 3 * args.iterations):
            place = folder / f"training-{amp}-{iterations}"
            job = training_job(
                place, "keypoint_rcnn_r50_fpn", data.path, iterations=iterations, amp=amp, **options
            )
            start = time.perf_counter()
            train(replace(job, device=args.device))
            seconds.append(time.perf_counter() - start)
        each = (seconds[1] - seconds[0]) / (2 * args.iterations)
        hours = each * length / 3600
        about = {"training": "keypoints r50", "batch": str(args.train_batch), "amp": str(amp)}
        found.append({**about, "iterations/s": 1 / each, "GPU hours of table_1a": hours})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--machine", default="H100", choices=[name for name in MACHINES if "amp" not in name])
    parser.add_argument("--networks", nargs="+", default=["r50", "r101"])
    parser.add_argument("--scales", type=int, nargs="+", default=[400, 800, 1200])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, nargs=2, default=[640, 480])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=20, help="of the shorter training")
    parser.add_argument("--train-batch", type=int, default=16)
    parser.add_argument("--train-scales", type=int, nargs="+", default=[640, 672, 704, 736, 768, 800])
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.exit(1, "error: torch sees no GPU here; --device cpu tries the program itself\n")
    MMLogger.get_instance("bench", log_level="ERROR")  # mmengine lists every weight that it draws
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = Photographs(folder / "data", args.images, tuple(args.size))
        tables = [predictions(n, task, data, args, folder) for task in PREFIX for n in args.networks]
        report("images per second", [row for table in tables for row in table])
        report("operators of a job", profile(args.networks[0], data, args, folder))
        report("trainings", trainings(args, data, folder))


if __name__ == "__main__":
    main()
