"""What a training is made of: its config, and the digest by which an interrupted one is known again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS
from torch.nn.modules.batchnorm import _BatchNorm

from distill.models.model import build
from distill.models.training_job import fingerprint, full_config
from distill.study.schema import defaults
from helpers import ROOT
from helpers.networks import training_job


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


def test_an_interrupted_training_is_known_again_by_what_shapes_it(tmp_path, arrows):
    def digest(how=None, **spec):
        job = replace(training_job(tmp_path, "faster_rcnn_tiny", arrows, **spec), how=how)
        return fingerprint(job, full_config(job, 0)[0])

    merge = defaults(ROOT, "labels", "merge") | {"plain": 100}
    views = [{"views": [view], "fixed_boxes": {}, "merge": merge} for view in ("s0100", "s0200")]
    assert digest(checkpoint_every=7, tracking=["tensorboard"]) == digest()
    assert digest(seed=1) != digest()
    assert digest(views[0], keep="last") == digest(views[1], keep="last")
    assert digest(views[0], keep="best") != digest(views[1], keep="best")  # other weights would be the best
    of_keypoints = {"fixed_boxes": {"per_image": 9}, "merge": merge | {"average": "logit"}}
    assert digest(views[0] | of_keypoints, keep="best") == digest(views[0], keep="best")
