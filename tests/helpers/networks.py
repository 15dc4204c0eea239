"""Trainings that take seconds, and networks that were not trained."""

import json
import sys
from copy import deepcopy
from pathlib import Path

import pytest

from helpers import ROOT
from helpers.options import generate, training_options

SMALL = dict(iterations=20, batch=2, lr=0.02, scales=[96, 112], max_side=200, init="none")
SPEC = training_options(**SMALL)


def training_job(tmp_path: Path, config: str, labelled: Path, name="model", labels=None, **spec):
    """A Job of distill.models.training_job with small numbers."""
    from distill.models.training_job import Job

    return Job(
        name,
        ROOT / f"config/models/{config}.py",
        training_options(**{**SMALL, **spec}),
        labelled,
        labels,
        None,
        tmp_path / f"{name}.work",
        tmp_path / name,
        "cpu",
    )


def program(job, *before) -> list[str]:
    """The command line of a job."""
    command = [
        *(before or (sys.executable,)),
        ROOT / "scripts/train.py",
        "--name",
        job.name,
        "--config",
        job.config,
        "--spec",
        json.dumps(job.spec),
        "--labelled",
        job.labelled,
        "--device",
        "cpu",
        "--work",
        job.work,
        "--output",
        job.output,
    ]
    if job.labels:
        command += ["--labels", job.labels]
    return [str(part) for part in command]


def loader_config(job, iterations: int = 10) -> dict:
    """Config of a job's training images."""
    from distill.datasets.dataset_file import read_dataset
    from distill.models import model as models
    from distill.models.networks import kind_of
    from distill.models.training_job import dataloader

    coco, cfg = read_dataset(job.labelled), models.load_config(job.config)
    models.fit_to_dataset(cfg, coco["categories"], str(job.labelled))
    return dataloader(job, kind_of(cfg), cfg, coco, iterations, workers=0)


class Killed(Exception):
    pass


def kill_in(job, iteration: int, monkeypatch) -> None:
    """A training with averaged weights that dies in an iteration, counted from 0."""
    from distill.models.averaging import AverageWeights
    from distill.models.training import train

    update = AverageWeights.after_train_iter

    def killed(hook, runner, batch_idx, *rest, **more):
        if batch_idx == iteration:
            raise Killed
        update(hook, runner, batch_idx, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(AverageWeights, "after_train_iter", killed)
        with pytest.raises(Killed):
            train(job)


SPREAD = {"rpn_head.rpn_cls": 2.0, "rpn_head.rpn_reg": 0.3}
SPREAD |= {"roi_head.bbox_head.fc_reg": 1.0, "roi_head.bbox_head.fc_cls": 2.5}


def random_model(config: str, categories: list[dict], folder: Path) -> Path:
    """The folder of a network with random weights, one of config/models with the scale of trained ones."""
    import torch

    from distill.models import config_file
    from distill.models import model as models
    from distill.models.weights import save_weights
    from distill.study.model_config import is_outside, path_of

    cfg = models.load_config(path_of(config, ROOT))
    models.drop_pretrained(cfg)
    models.fit_to_dataset(cfg, categories, config)
    posed = models.has_keypoints(cfg)
    torch.manual_seed(0)
    network = models.build(deepcopy(cfg)).eval()  # DETR's head writes a tensor into what it is made of
    network.init_weights()
    if not is_outside(config):
        scale_rcnn(network, posed, folder)
    task = "keypoints" if posed else "boxes"
    meta = {"model": folder.name, "categories": categories, "iterations": 0, "task": task}
    save_weights(folder / "model.pth", network.state_dict(), meta)
    config_file.write(folder / "config.py", cfg)
    return folder


def scale_rcnn(network, posed: bool, folder: Path) -> None:
    """Gives random weights of an R-CNN the scale of trained ones.

    Of images like those that it is tried on: after noise nearly every score would be exactly 0 or 1, and NMS
    keeps any of boxes of equal scores.
    """
    import torch
    from mmdet.structures import DetDataSample

    from distill.datasets.images import read_image
    from helpers.checkpoints import scale_like_trained

    images = generate(folder / "seen", 4, seed=3, size=(256, 192), style="sketch")["images"]
    read = [read_image(folder / "seen" / image["file_name"]) for image in images]
    shape = {"img_shape": (192, 256), "ori_shape": (192, 256), "scale_factor": (1, 1)}
    samples = [DetDataSample(metainfo=shape) for _ in read]
    inputs = [torch.from_numpy(one).permute(2, 0, 1) for one in read]
    pixels = network.data_preprocessor({"inputs": inputs, "data_samples": samples})["inputs"]

    def run() -> None:
        network.predict(pixels, samples, rescale=False)
        if posed:
            rois = torch.tensor([[0, 10.0, 10, 150, 150], [1, 20.0, 30, 90, 120]])
            network.roi_head.predict_heatmaps(network.extract_feat(pixels), rois)

    scale_like_trained(network, SPREAD | ({"roi_head.keypoint_head.deconv": 3.0} if posed else {}), run)
