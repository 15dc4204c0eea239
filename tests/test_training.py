"""Training: resumed runs are identical, processes agree, and what goes wrong is said in one line."""

import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from distill import __version__
from distill.models import training
from distill.models.model import read_weights
from distill.models.training import fingerprint, full_config, iterations_of, train
from distill.models.work_folder import checkpoints
from distill.program import UserError
from helpers import ROOT, warm
from helpers.arrows import draw_dataset
from helpers.networks import SPEC, training_job


def program(job, *before):
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


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("data") / "generated", 20, seed=1)


def test_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, arrows, generated):
    options = dict(labels=generated, ratio=[6, 4], iterations=16, checkpoint_every=4)
    whole = training_job(tmp_path / "a", "keypoint_rcnn_tiny", arrows, **options)
    train(whole)
    killed = training_job(tmp_path / "b", "keypoint_rcnn_tiny", arrows, **options)
    command = [*program(killed), "--workers", "2"]  # as on a GPU; processes that load images change nothing
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (killed.work / "iter_8.pth").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    newest = checkpoints(killed.work)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])  # killed while it wrote
    assert warm.run("train.py", *command[2:]).returncode == 0
    assert (killed.output / "model.pth").read_bytes() == (whole.output / "model.pth").read_bytes()
    assert (killed.output / "history.csv").read_text() == (whole.output / "history.csv").read_text()
    assert json.loads((killed.output / "run.json").read_text())["resumes"] == 1
    assert [path.name for path in killed.work.glob("iter_*.pth")] == ["iter_16.pth"]
    train(whole)  # it is complete: its time is still that of the training
    first, again = (json.loads((job.output / "run.json").read_text()) for job in (killed, whole))
    assert again["resumes"] == 1
    for run in (first, again):
        assert run["seconds_per_iteration"] * 16 == pytest.approx(run["seconds"], abs=0.1)
        assert run["seconds_per_iteration"] > 0.05


def test_signal_before_a_time_limit_writes_a_checkpoint(tmp_path, arrows):
    job = training_job(tmp_path, "faster_rcnn_tiny", arrows, iterations=500)
    process = subprocess.Popen(program(job), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (job.work / "history.csv").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopped by a signal" in errors
    assert "Traceback" not in errors
    assert list(job.work.glob("iter_*.pth"))


def test_two_processes_share_the_batch_and_both_kinds_come_in_the_ratio(tmp_path, arrows, generated):
    job = training_job(
        tmp_path, "keypoint_rcnn_tiny", arrows, labels=generated, ratio=[6, 4], iterations=25, scales=[64]
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(program(job, *torchrun), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    history = pd.read_csv(job.output / "history.csv")
    last = history.iloc[-1]
    assert last["labelled"] + last["generated"] == 25 * SPEC["batch"]
    assert last["labelled"] == pytest.approx(30, abs=8)
    assert last["ratio"] == pytest.approx(last["labelled"] / last["generated"], rel=1e-3)
    assert json.loads((job.output / "run.json").read_text())["processes"] == 2


def test_model_file_is_safe_and_complete(keypoint_model):
    checkpoint = torch.load(keypoint_model / "model.pth", weights_only=True)
    assert [category["id"] for category in checkpoint["meta"]["categories"]] == [3, 7]
    assert checkpoint["meta"]["task"] == "keypoints"
    assert set(pd.read_csv(keypoint_model / "history.csv")) > {"iteration", "lr", "loss", "loss_keypoint"}
    run = json.loads((keypoint_model / "run.json").read_text())
    assert {"seed", "inputs", "commit", "versions", "seconds", "resumes"} <= set(run)
    assert run["versions"]["distill"] == __version__
    assert (keypoint_model / "config.py").exists()


def test_loss_goes_down(keypoint_model):
    loss = pd.read_csv(keypoint_model / "history.csv")["loss"]
    assert loss.iloc[-5:].mean() < 0.8 * loss.iloc[:3].mean()


def test_loss_that_is_not_finite_stops_the_run(tmp_path, arrows):
    job = training_job(tmp_path, "faster_rcnn_tiny", arrows, lr=1e12, warmup=1)
    with pytest.raises(UserError, match=r"loss is (nan|inf) at iteration \d+; lower `lr`"):
        train(job)
    assert not job.output.exists()


def test_work_of_another_training_is_discarded(tmp_path, arrows):
    job = training_job(tmp_path, "faster_rcnn_tiny", arrows, iterations=4)
    train(job)
    other = training_job(tmp_path, "faster_rcnn_tiny", arrows, iterations=4, seed=1)
    assert fingerprint(job, full_config(job, 0)[0]) != fingerprint(other, full_config(other, 0)[0])
    train(other)
    assert json.loads((job.output / "run.json").read_text())["resumes"] == 0


def test_finetuning_takes_the_weights_that_fit(tmp_path, arrows, keypoint_model):
    job = training_job(tmp_path, "keypoint_rcnn_tiny", arrows, iterations=1, lr=0.0, freeze_rpn=True)
    object.__setattr__(job, "init", keypoint_model / "model.pth")
    train(job)
    before = read_weights(keypoint_model / "model.pth")["state_dict"]
    after = read_weights(job.output / "model.pth")["state_dict"]
    assert all(torch.equal(before[key], after[key]) for key in before if key.endswith("weight"))


def test_a_frozen_rpn_stays_as_it_was(tmp_path, arrows, keypoint_model):
    job = training_job(tmp_path, "keypoint_rcnn_tiny", arrows, iterations=2, freeze_rpn=True)
    object.__setattr__(job, "init", keypoint_model / "model.pth")
    train(job)
    before = read_weights(keypoint_model / "model.pth")["state_dict"]
    after = read_weights(job.output / "model.pth")["state_dict"]
    kept = {key for key in before if torch.equal(before[key], after[key])}
    assert {key for key in before if key.startswith("rpn_head.")} <= kept
    assert not any(key.startswith("roi_head.bbox_head.fc_") for key in kept)


def test_background_of_generated_images_can_be_left_out(tmp_path, arrows, generated):
    losses = {}
    for background in ("sample", "ignore"):
        job = training_job(
            tmp_path,
            "faster_rcnn_tiny",
            arrows,
            background,
            generated,
            ratio=[1, 99],
            background=background,
            iterations=8,
        )
        train(job)
        losses[background] = pd.read_csv(job.output / "history.csv")["loss_cls"].iloc[-1]
    assert losses["sample"] != losses["ignore"]


@pytest.mark.parametrize(
    ("spec", "images", "expected"),
    [
        ({"iterations": 90, "batch": 2}, 10, 90),
        ({"iterations": "auto", "batch": 16}, 115_000, 129_375),
        ({"iterations": "auto", "batch": 16, "ratio": [6, 4]}, 115_000, 358_269),
        ({"iterations": "auto", "batch": 16}, 500, 5000),
    ],
)
def test_automatic_length(spec, images, expected):
    assert iterations_of(spec, images) == expected


def test_a_training_of_automatic_length_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "LEAST", 2)
    two = draw_dataset(tmp_path / "two", 2, seed=0)
    job = training_job(tmp_path, "faster_rcnn_tiny", two, iterations="auto")
    train(job)
    record = json.loads((job.output / "run.json").read_text())
    assert record["spec"]["iterations"] == "auto"
    assert record["seconds_per_iteration"] == pytest.approx(record["seconds"] / 18, rel=0.05)


def test_dataset_without_instances_is_refused(tmp_path):
    empty = draw_dataset(tmp_path / "empty", 2, seed=0)
    coco = json.loads(empty.read_text())
    empty.write_text(json.dumps({**coco, "annotations": []}))
    with pytest.raises(UserError, match="no image with an instance"):
        train(training_job(tmp_path, "faster_rcnn_tiny", empty))


def test_boxes_only_data_is_refused_by_a_keypoint_model(tmp_path, arrows):
    coco = json.loads(arrows.read_text())
    coco["categories"] = [{"id": 3, "name": "arrow"}, {"id": 7, "name": "disc"}]
    for annotation in coco["annotations"]:
        annotation.pop("keypoints", None)
        annotation.pop("num_keypoints", None)
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(coco))
    with pytest.raises(UserError, match="needs categories with one set of keypoints"):
        train(training_job(tmp_path, "keypoint_rcnn_tiny", path))


def test_error_of_the_program_is_one_line(tmp_path, arrows):
    job = training_job(tmp_path, "faster_rcnn_tiny", tmp_path / "missing.json")
    done = warm.run("train.py", *program(job)[2:])
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {tmp_path / 'missing.json'}: no such file"
    assert "Traceback" not in done.stderr
