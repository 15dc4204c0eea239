"""What a training is made of: its config, and the digest by which an interrupted one is known again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmengine.registry import PARAM_SCHEDULERS
from torch.nn.modules.batchnorm import _BatchNorm

from distill.files import read_json, write_json
from distill.models.model import build
from distill.models.training_job import fingerprint, full_config
from distill.models.weights import save_weights
from distill.study.pretrained import weights_of
from distill.study.schema import defaults
from helpers import ROOT
from helpers.networks import loader_config, training_job


@pytest.mark.parametrize(
    "config", ["faster_rcnn_r50_fpn", "faster_rcnn_lite", "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"]
)
def test_from_random_weights_all_of_a_network_learns(tmp_path, arrows, config):
    """Published configs freeze a stem, and normalise by statistics, that nobody has trained then."""
    job = training_job(tmp_path, config, arrows, init="none", lr="auto" if "::" in config else 0.02)
    network = build(full_config(replace(job, config=config) if "::" in config else job, 0)[0]).train()
    assert all(parameter.requires_grad for parameter in network.parameters())
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    assert norms
    assert all(norm.training for norm in norms)


def test_a_warm_up_that_is_asked_for_is_not_cut(tmp_path, arrows):
    job = training_job(tmp_path, "faster_rcnn_tiny", arrows, iterations=20, warmup=15)
    assert full_config(job, 0)[0].param_scheduler[0]["end"] == 15


@pytest.mark.parametrize(("warmup", "first"), [(0, 1.0), (1, 1.0), (2, 0.1)])
def test_the_rate_is_whole_after_the_warm_up(tmp_path, arrows, warmup, first):
    job = training_job(tmp_path, "faster_rcnn_tiny", arrows, iterations=10, warmup=warmup)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(scheduler), default_args={"optimizer": optimizer})
        for scheduler in full_config(job, 0)[0].param_scheduler
    ]
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert np.allclose(rates, [first, *[1.0] * 6, 0.1, 0.1, 0.01])


def test_an_interrupted_training_is_known_again_by_what_shapes_it(tmp_path, arrows, monkeypatch):
    def digest(how=None, job=None, **spec):
        job = replace(training_job(tmp_path, "faster_rcnn_tiny", arrows, **spec), how=how, **job or {})
        return fingerprint(job, full_config(job, 0)[0])

    merge = defaults(ROOT, "labels", "merge") | {"plain": 100}
    views = [{"views": [view], "fixed_boxes": {}, "merge": merge} for view in ("s0100", "s0200")]
    assert digest(checkpoint_every=7, tracking=["tensorboard"]) == digest()
    assert digest(seed=1) != digest()
    assert digest(views[0], keep="last") == digest(views[1], keep="last")
    assert digest(views[0], keep="best") != digest(views[1], keep="best")  # other weights would be the best
    of_keypoints = {"fixed_boxes": {"per_image": 9}, "merge": merge | {"average": "logit"}}
    assert digest(views[0] | of_keypoints, keep="best") == digest(views[0], keep="best")
    averaged = views[0] | {"merge": merge | {"boxes": "average"}}
    assert digest(averaged | {"fixed_boxes": {"per_image": 9}}, keep="best") != digest(averaged, keep="best")

    assert digest(job={"version": "2"}) != digest()
    found = []
    for fast in (True, False):  # killed on one machine, it goes on on another
        monkeypatch.setattr("distill.models.amp.supported", lambda device, fast=fast: fast)
        found.append(digest(amp=True))
    assert found[0] == found[1] != digest(amp=False)
    dataset = read_json(arrows)
    moved, changed = tmp_path / "moved.json", tmp_path / "changed.json"
    write_json(moved, dataset | {"info": dataset["info"] | {"image_root": "/elsewhere"}})
    write_json(changed, dataset | {"annotations": dataset["annotations"][1:]})
    assert digest(job={"labelled": moved}) == digest() != digest(job={"labelled": changed})


def test_a_training_that_goes_on_from_another_draws_what_that_one_has_not(tmp_path, arrows):
    """Also its student and a model of labelled images alone: these see the same ones."""
    coco = read_json(arrows)

    def draws(before):
        start = tmp_path / f"{before}.pth"
        if before is not None:
            save_weights(start, {"weight": torch.zeros(1)}, {"iterations": 1, "trainings": before})
        job = training_job(tmp_path, "faster_rcnn_tiny", arrows, init="none")
        job = replace(job, init=None if before is None else start)
        loader = loader_config(job, iterations=12)
        images = DATASETS.build(loader["dataset"])
        return list(DATA_SAMPLERS.build(loader["sampler"], default_args={"dataset": images}))

    first, second, third = draws(None), draws(1), draws(2)
    assert draws(0) == first  # of weights that no training here has made
    assert draws(1) == second
    keys = [{key for _, key in drawn} for drawn in (first, second, third)]
    assert len(keys[0] | keys[1] | keys[2]) == 3 * len(first)
    orders = [[index for index, _ in drawn][: len(coco["images"])] for drawn in (first, second, third)]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_other_weights_to_start_from_make_another_training(tmp_path, arrows, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = training_job(tmp_path, "faster_rcnn_r50_fpn", arrows, init="pretrained")
    (weights,) = weights_of([job.spec | {"config": job.config.stem}], ROOT)
    found = []
    for content in (b"some", b"others"):
        Path(weights).parent.mkdir(exist_ok=True)
        Path(weights).write_bytes(content)
        found.append(fingerprint(job, full_config(job, 0)[0]))
    assert found[0] != found[1]


def test_the_length_of_a_pose_estimator_goes_by_instances(tmp_path, arrows, monkeypatch):
    monkeypatch.setattr("distill.study.lengths.LEAST", 1)
    objects = [a for a in read_json(arrows)["annotations"] if not a["iscrowd"]]
    posed = sum(any(a.get("keypoints", ())[2::3]) for a in objects)
    images = len({a["image_id"] for a in objects})
    config = "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py"
    for name, count in ((config, posed), ("faster_rcnn_tiny", images)):
        job = training_job(tmp_path, name, arrows, init="none", iterations="auto", batch=2)
        cfg, _ = full_config(replace(job, config=name) if "::" in name else job, 0)
        assert cfg.train_cfg.max_iters == round(18 * count / 2)
    assert posed != images
