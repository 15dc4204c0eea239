"""What CPUs cannot prove: that a GPU says and learns the same. `make test-gpu`; else skipped."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from distill.files import read_json
from distill.models.amp import supported
from distill.models.prediction import detect_boxes, predict_boxes, predict_heatmaps
from distill.models.training import train
from distill.predictions.merge_heatmaps import merge_heatmaps
from distill.predictions.views import View
from helpers import ROOT, SCRIPTS
from helpers.arrows import draw_dataset
from helpers.checkpoints import detections, share_in_common
from helpers.networks import random_model, training_job
from helpers.options import merge_options

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use"),
]
CONFIGS = sorted(path.stem for path in (ROOT / "config/models").glob("*.py"))
VIEWS = [View(160), View(200, flip=True)]
FIXED_BOXES = {"min_score": 0.05, "per_image": 20}
MEMORY = 24 << 30  # bytes: what a common GPU has


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Float32 is float32 here; TF32 has a test of its own."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module", params=CONFIGS)
def model(request, tmp_path_factory, arrows):
    folder = tmp_path_factory.mktemp(request.param) / "model"
    return random_model(request.param, read_json(arrows)["categories"], folder)


@pytest.mark.parametrize(("tf32", "score", "share"), [(False, 1e-3, 0.995), (True, 5e-3, 0.97)])
def test_a_gpu_finds_the_boxes_that_a_cpu_finds(model, arrows, tmp_path, monkeypatch, tf32, score, share):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    for view in VIEWS:
        predict_boxes(model, arrows, view, (0, 1), tmp_path / "cpu.json", device="cpu")
        options = dict(device=DEVICE, batch=4, workers=2)
        predict_boxes(model, arrows, view, (0, 1), tmp_path / "gpu.json", **options)
        ours, theirs = (detections(tmp_path / f"{name}.json") for name in ("gpu", "cpu"))
        assert len(theirs) > 50
        assert share_in_common(ours, theirs, 0.5, score)[0] >= share


def test_mixed_precision_says_nearly_the_same_of_given_boxes(model, arrows, tmp_path):
    """Of boxes found anew, random weights and NMS would make others."""
    boxes = tmp_path / "boxes.json"
    detect_boxes(model, arrows, VIEWS[0], (0, 1), FIXED_BOXES, boxes, device="cpu")
    found = []
    for device, amp in (("cpu", False), (DEVICE, True)):
        output = tmp_path / f"{device}-{amp}.json"
        predict_boxes(model, arrows, VIEWS[1], (0, 1), output, boxes=boxes, device=device, amp=amp)
        found.append(read_json(output)["predictions"])
    scores, others = (np.array([record["score"] for record in records]) for records in found)
    sides, others_sides = (np.array([record["bbox"] for record in records]) for records in found)
    assert len(scores) > 50
    assert np.median(np.abs(scores - others)) < 0.05
    assert np.median(np.abs(sides - others_sides)) < 2


@pytest.mark.parametrize("amp", [False, True])
def test_a_gpu_puts_keypoints_where_a_cpu_puts_them(model, arrows, tmp_path, amp):
    if not model.parent.name.startswith("keypoint"):
        pytest.skip("has no keypoints")
    boxes = tmp_path / "boxes.json"
    detect_boxes(model, arrows, VIEWS[0], (0, 1), FIXED_BOXES, boxes, device="cpu")
    merged = {}
    for device, on in (("cpu", False), (DEVICE, amp)):
        paths = []
        for view in VIEWS:
            paths.append(tmp_path / f"{device}-{view.name}.h5")
            predict_heatmaps(model, arrows, view, (0, 1), paths[-1], boxes, device=device, amp=on)
        merged[device] = list(merge_heatmaps(paths, read_json(arrows), merge_options(), boxes))
    points, others = (np.array([r["keypoints"] for r in merged[d]]).reshape(-1, 3) for d in ("cpu", DEVICE))
    assert len(points) > 50
    near = np.abs(points[:, :2] - others[:, :2]).max(1) <= 0.5
    assert near.mean() >= (0.9 if amp else 0.99)
    assert np.abs(points[near, 2] - others[near, 2]).max() <= (0.05 if amp else 1e-3)


def job_of(folder, config, dataset, **options):
    return replace(training_job(folder, config, dataset, **options), device=DEVICE)


@pytest.mark.parametrize("config", ["faster_rcnn_tiny", "keypoint_rcnn_tiny", "faster_rcnn_lite"])
def test_a_training_of_50_iterations_is_close_to_that_of_a_cpu(tmp_path, arrows, config):
    losses = {}
    for device in ("cpu", DEVICE):
        job = replace(training_job(tmp_path / device, config, arrows, iterations=50, lr=0.002), device=device)
        train(job, workers=0)
        losses[device] = pd.read_csv(job.output / "history.csv")["loss"].to_numpy()
    assert np.allclose(losses[DEVICE][:3], losses["cpu"][:3], rtol=0.02)
    assert losses[DEVICE][-5:].mean() == pytest.approx(losses["cpu"][-5:].mean(), rel=0.15)


def test_a_training_with_mixed_precision_is_finite_and_close_to_one_without(tmp_path, arrows):
    if not supported(torch.device(DEVICE)):
        pytest.skip("this GPU has no bfloat16 arithmetic")
    losses = []
    for mixed in (False, True):
        options = dict(iterations=50, lr=0.002, amp=mixed)
        job = job_of(tmp_path / str(mixed), "keypoint_rcnn_tiny", arrows, **options)
        train(job, workers=0)
        losses.append(pd.read_csv(job.output / "history.csv")["loss"].to_numpy())
    assert np.isfinite(losses[1]).all()
    assert np.allclose(losses[1][:3], losses[0][:3], rtol=0.05)
    assert losses[1][-5:].mean() == pytest.approx(losses[0][-5:].mean(), rel=0.15)


def command(job, *before):
    names = {"name": job.name, "config": job.config, "spec": json.dumps(job.spec), "labelled": job.labelled}
    names |= {"work": job.work, "output": job.output}
    options = [str(part) for key, value in names.items() for part in (f"--{key}", value)]
    return [*(before or [sys.executable]), str(SCRIPTS / "train.py"), *options, "--device", DEVICE]


def test_a_training_that_slurm_preempts_writes_a_checkpoint_and_goes_on(tmp_path, arrows):
    """Its loaders, which are there by default on a GPU, get the signal too."""
    job = job_of(tmp_path, "faster_rcnn_tiny", arrows, iterations=400, checkpoint_every=400)
    process = subprocess.Popen(command(job), stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (job.work / "history.csv").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "stopped by a signal" in errors
    assert list(job.work.glob("iter_*.pth"))
    subprocess.run(command(job), check=True)
    assert read_json(job.output / "run.json")["resumes"] == 1
    history = pd.read_csv(job.output / "history.csv")
    assert history["iteration"].is_monotonic_increasing
    assert np.isfinite(history["loss"]).all()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
@pytest.mark.parametrize("options", [{}, {"freeze_rpn": True}], ids=["whole", "frozen RPN"])
def test_all_gpus_share_a_batch(tmp_path, arrows, options):
    count = torch.cuda.device_count()
    job = job_of(tmp_path, "keypoint_rcnn_tiny", arrows, iterations=50, batch=2 * count, **options)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(command(job, *torchrun), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_json(job.output / "run.json")["processes"] == count
    last = pd.read_csv(job.output / "history.csv").iloc[-1]
    assert last["labelled"] == 50 * 2 * count


def test_a_batch_of_large_images_fits_into_a_common_gpu(tmp_path, tmp_path_factory):
    """The paper's largest view, in the batch that is the default on GPUs."""
    from distill.models.predictor import Predictor

    large = draw_dataset(tmp_path / "large", 16, seed=3)
    job = training_job(tmp_path, "faster_rcnn_r50_fpn", large, iterations=1, scales=[96])
    train(job, workers=0)
    torch.cuda.reset_peak_memory_stats()
    predictor = Predictor(job.output, DEVICE)
    images = read_json(large)["images"]
    found = list(predictor.boxes(large.parent / "images", images, View(1200, max_side=2000)))
    assert len(found) == 16
    assert torch.cuda.max_memory_allocated() < MEMORY


def test_a_cpu_that_is_asked_for_is_used(tmp_path, arrows):
    job = replace(job_of(tmp_path, "faster_rcnn_tiny", arrows, iterations=1), device="cpu")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    train(job, workers=0)
    assert torch.cuda.max_memory_allocated() == before
