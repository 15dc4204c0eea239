"""Trainings that are validated, and whose weights are averaged: what is kept, and exactly so after a kill."""

import json
import multiprocessing
import os
import subprocess
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch
from mmengine.runner import Runner

from distill.evaluation.average_precision import evaluate
from distill.files import read_json
from distill.models.prediction import detect_boxes, predict_boxes
from distill.models.predictor import Predictor
from distill.models.training import train
from distill.models.validation import points
from distill.models.weights import read_weights
from distill.predictions.merge import merge_boxes
from distill.predictions.views import View
from distill.program import UserError
from helpers.networks import kill_in, training_job
from helpers.options import fixed_boxes, merge_options

OPTIONS = dict(iterations=6, checkpoint_every=2, scales=[64], lr=0.002, ema=0.6)


def tuned(tmp_path, arrows, keypoint_model, config="faster_rcnn_tiny", **spec):
    """A training that starts from a model which finds something."""
    job = training_job(tmp_path, config, arrows, **{**OPTIONS, **spec})
    return replace(job, init=keypoint_model / "model.pth")


def validated(tmp_path, arrows, keypoint_model, merge=merge_options, **spec):
    job = tuned(tmp_path, arrows, keypoint_model, **{"validate": 3, **spec})
    how = {"views": ["s0096"], "fixed_boxes": fixed_boxes(), "merge": vars(merge())}
    return replace(job, validation=arrows, how=how)


def weights(job):
    return (job.output / "model.pth").read_bytes()


def test_points_are_even_and_where_the_history_has_rows():
    assert points(1000, 5, 50) == [200, 400, 600, 800, 1000]
    assert points(500, 3, 25) == [175, 325, 500]
    assert points(7, 20, 1) == [*range(1, 8)]
    assert points(90, 1, 4) == [90]


@pytest.fixture(scope="module")
def plain(tmp_path_factory, arrows, keypoint_model):
    """A training with averaged weights that is not validated, and its weights after each iteration."""
    states = []
    job = tuned(tmp_path_factory.mktemp("plain"), arrows, keypoint_model)
    call_hook = Runner.call_hook

    def watching(runner, name, **kwargs):
        call_hook(runner, name, **kwargs)
        if name == "after_train_iter":
            states.append({key: value.clone() for key, value in runner.model.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "call_hook", watching)
        train(job)
    return job, states


def test_the_model_is_the_mean_of_its_weights(plain):
    """By the formula, with the statistics of batch normalisation."""
    job, states = plain
    model = read_weights(job.output / "model.pth")["state_dict"]
    moved = 0
    for key, value in model.items():
        mean = states[0][key].double()
        for step, state in enumerate(states[1:], 1):
            share = max(1 - OPTIONS["ema"], 9 / (9 + step))
            mean += share * (state[key].double() - mean)
        if value.is_floating_point():
            assert torch.allclose(value.double(), mean, rtol=1e-4, atol=1e-6), key
            moved += "running" in key and not torch.equal(value, states[-1][key])
    assert moved > 0


def test_validation_changes_no_weight_and_says_what_the_evaluation_says(
    tmp_path, arrows, keypoint_model, plain
):
    job = validated(tmp_path, arrows, keypoint_model)
    train(job)
    assert weights(job) == weights(plain[0])
    history = pd.read_csv(job.output / "history.csv")
    assert history.dropna(subset="AP")["iteration"].tolist() == [2, 4, 6]
    assert history.drop(columns="AP").equals(pd.read_csv(plain[0].output / "history.csv"))
    found = tmp_path / "found.json"
    predict_boxes(job.output, arrows, View.parse("s0096"), (0, 1), found, device="cpu")
    dataset = read_json(arrows)
    records = list(merge_boxes([found], dataset, merge_options()))
    ap = evaluate(dataset, records, "boxes", resampled=False)["AP"]
    assert ap > 0.02
    assert history["AP"].iloc[-1] == pytest.approx(100 * ap, abs=5e-4)
    assert not (job.work / "validation").exists()


def test_the_best_is_kept_and_after_a_kill_the_same(tmp_path, arrows, keypoint_model, monkeypatch):
    """The second of three validations is the best; the training is killed before the third."""
    aps = iter([0.1, 0.3, 0.2, 0.2])
    seen = []

    def measure(state, *rest):
        seen.append({key: value.clone() for key, value in state.items()})
        return next(aps)

    monkeypatch.setattr("distill.models.training.average_precision", measure)
    job = validated(tmp_path, arrows, keypoint_model, keep="best")
    kill_in(job, 5, monkeypatch)
    train(job)
    kept = read_weights(job.output / "model.pth")["state_dict"]
    assert all(torch.equal(kept[key], seen[1][key]) for key in kept)
    assert not torch.equal(
        kept["roi_head.bbox_head.fc_cls.weight"], seen[2]["roi_head.bbox_head.fc_cls.weight"]
    )
    run = json.loads((job.output / "run.json").read_text())
    assert (run["kept"], run["resumes"]) == (4, 1)
    history = pd.read_csv(job.output / "history.csv")
    assert history["AP"].dropna().tolist() == [10, 30, 20]


def test_averages_go_on_after_a_kill_as_they_were(tmp_path, arrows, keypoint_model, plain, monkeypatch):
    job = tuned(tmp_path, arrows, keypoint_model)
    kill_in(job, 3, monkeypatch)
    train(job)
    assert weights(job) == weights(plain[0])
    train(job)  # it is complete; its mean is still the model
    assert weights(job) == weights(plain[0])


def test_keypoints_are_validated_too(tmp_path, arrows, keypoint_model):
    options = dict(config="keypoint_rcnn_tiny", iterations=2, validate=1, ema=None)
    job = validated(tmp_path, arrows, keypoint_model, **options)
    train(job)
    assert (pd.read_csv(job.output / "history.csv")["AP"] > 0).tolist() == [False, True]


def test_boxes_are_validated_as_they_are_averaged(tmp_path, arrows, keypoint_model):
    averaged = partial(merge_options, boxes="average")
    job = validated(tmp_path, arrows, keypoint_model, averaged, iterations=2, validate=1, ema=None)
    train(job)
    shared, found, dataset = tmp_path / "shared.json", tmp_path / "found.json", read_json(arrows)
    detect_boxes(job.output, arrows, View.parse("s0096"), (0, 1), fixed_boxes(), shared, device="cpu")
    predict_boxes(job.output, arrows, View.parse("s0096"), (0, 1), found, shared, device="cpu")
    ap = evaluate(dataset, list(merge_boxes([found], dataset, averaged())), "boxes", resampled=False)["AP"]
    assert ap > 0.01
    assert pd.read_csv(job.output / "history.csv")["AP"].iloc[-1] == pytest.approx(100 * ap, abs=5e-4)


def test_a_signal_during_validation_writes_a_checkpoint(tmp_path, arrows, keypoint_model, monkeypatch):
    """Slurm signals the process that loads images for it too, which there is on a GPU."""
    forward = Predictor.forward

    def signalled(*batch):
        monkeypatch.setattr(Predictor, "forward", forward)
        loaders = [str(process.pid) for process in multiprocessing.active_children()]
        assert len(loaders) == 1
        subprocess.run(["sh", "-c", f"kill -TERM {os.getpid()} {' '.join(loaders)}"], check=True)
        return forward(*batch)

    monkeypatch.setattr("distill.models.predictor.pick_workers", lambda device: 1)
    monkeypatch.setattr(Predictor, "forward", signalled)
    job = validated(tmp_path, arrows, keypoint_model, validate=6, checkpoint_every=6)
    with pytest.raises(UserError, match="stopped by a signal at iteration 1; a checkpoint was written"):
        train(job)
    assert [path.name for path in job.work.glob("iter_*.pth")] == ["iter_1.pth"]
    assert not multiprocessing.active_children()
