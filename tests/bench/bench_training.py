"""An iteration of a training against the bare forward, backward and step on the same tensors in memory.

python tests/bench/bench_training.py [--config keypoint_rcnn_r50_fpn mmdet::detr/detr_r50_8xb2-150e_coco.py]

The training reads images, transforms and collates them, clips gradients, checks the loss, and keeps its
history; its time is mmengine's of an iteration, without the first ones and without checkpoints. CPU time of
one core, so that what else runs on the machine counts little.
"""

import argparse
import logging
import tempfile
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from measure import ROOT, report
from mmengine.hooks import iter_timer_hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner

from distill.datasets.figures import generate
from distill.files import write_json
from distill.models import model as models
from distill.models.training import train
from distill.models.training_job import Job, full_config
from distill.study.model_config import is_outside, path_of
from helpers.options import training_options

# batch, shorter side, iterations
SIZES = {"tiny": (8, 128, 14), "r50": (2, 256, 4)}
WARM = 2  # iterations that are not counted


def job_of(folder: Path, config: str, dataset: Path) -> Job:
    batch, scale, iterations = SIZES["tiny" if config.endswith("tiny") else "r50"]
    lr = "auto" if is_outside(config) else 1e-4
    spec = {"iterations": iterations, "batch": batch, "lr": lr, "scales": [scale], "max_side": 1333}
    spec = training_options(**spec, init="none", checkpoint_every=10**6)
    return Job(
        Path(config).stem,
        path_of(config, ROOT),
        spec,
        dataset,
        None,
        None,
        folder / "work",
        folder / "model",
        "cpu",
    )


def bare_seconds(job: Job) -> float:
    """Of an iteration: forward, backward and the optimizer's step."""
    cfg, _ = full_config(job, workers=0)
    network = models.build(cfg)
    network.init_weights()
    network.train()
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    batches = [network.data_preprocessor(batch, True) for batch in islice(loader, job.spec["iterations"])]
    wrapper = dict(cfg.optim_wrapper.optimizer)
    optimizer = getattr(torch.optim, wrapper.pop("type"))(network.parameters(), **wrapper)
    times = []
    for batch in batches:
        start = time.process_time()
        losses, _ = network.parse_losses(network.loss(batch["inputs"], batch["data_samples"]))
        losses.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.process_time() - start)
    return float(np.mean(times[WARM:]))


def training_seconds(job: Job) -> tuple[float, float]:
    """Of an iteration, and those of its waiting for images."""
    iter_timer_hook.time = SimpleNamespace(time=time.process_time)
    train(job, workers=0)
    scalars = MessageHub.get_current_instance().log_scalars
    return tuple(float(np.mean(scalars[f"train/{name}"].data[0][WARM:])) for name in ("time", "data_time"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    configs = ["keypoint_rcnn_tiny", "faster_rcnn_tiny", "keypoint_rcnn_r50_fpn", "faster_rcnn_r50_fpn"]
    parser.add_argument("--config", nargs="+", default=configs)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.disable(logging.INFO)
    rows = []
    for config in args.config:
        tiny = config.endswith("tiny")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            coco = generate(
                folder / "images", 16, seed=0, size=(320, 240) if tiny else (640, 480), style="photo"
            )
            coco["info"]["image_root"] = str(folder / "images")
            write_json(folder / "dataset.json", coco)
            job = job_of(folder, config, folder / "dataset.json")
            bare = bare_seconds(job)
            whole, data = training_seconds(job)
        row = {"config": config, "batch": job.spec["batch"], "shorter side": job.spec["scales"][0]}
        rows.append(row | {"bare s": bare, "training s": whole, "of it data s": data, "ratio": whole / bare})
    report(f"an iteration, {args.threads} threads", rows)


if __name__ == "__main__":
    main()
