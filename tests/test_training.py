"""Training: what it learns from, starts from and records, and what goes wrong is said in one line."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from distill import __version__
from distill.models import amp
from distill.models.hooks import Finite
from distill.models.model import load_config
from distill.models.training import train
from distill.models.training_job import iterations_of
from distill.models.weights import read_weights
from distill.models.work_folder import checkpoints
from distill.program import UserError
from helpers import ROOT, warm
from helpers.arrows import draw_dataset
from helpers.networks import loader_config, program, training_job


class Watched(torch.Tensor):
    """Notes that its value is read, which on a GPU waits for all that it has to do."""

    reads = 0

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        Watched.reads += function.__name__ in ("item", "tolist", "__float__", "__bool__", "cpu", "numpy")
        return super().__torch_function__(function, types, args, kwargs)


def test_losses_are_read_at_intervals_and_their_means_are_the_history(tmp_path, arrows, monkeypatch):
    losses, read, call_hook = [], [], Runner.call_hook

    def watching(runner, name, outputs=None, **kwargs):
        if name != "after_train_iter":
            return call_hook(runner, name, **kwargs)
        losses.append({key: float(value.detach()) for key, value in outputs.items()})
        outputs = {key: value.as_subclass(Watched) for key, value in outputs.items()}
        before = Watched.reads
        call_hook(runner, name, outputs=outputs, **kwargs)
        if Watched.reads > before:
            read.append(len(losses))

    monkeypatch.setattr(Runner, "call_hook", watching)
    monkeypatch.setattr(OptimWrapper, "_clip_grad", lambda wrapper: pytest.fail("it reads the norm"))
    job = training_job(tmp_path, "faster_rcnn_tiny", arrows, iterations=40, checkpoint_every=15, scales=[64])
    train(job)
    assert read == sorted([*range(2, 41, 2), 15])  # at intervals, and before a checkpoint
    history = pd.read_csv(job.output / "history.csv")
    assert history["iteration"].tolist() == list(range(2, 41, 2))
    for key in losses[0]:
        means = np.array([iteration[key] for iteration in losses]).reshape(-1, 2).mean(1)
        assert history[key].tolist() == [float(f"{mean:.5g}") for mean in means]


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


def test_loss_that_is_not_finite_stops_the_run_before_a_checkpoint(tmp_path, arrows):
    """It is looked at every tenth iteration, and before every checkpoint."""
    job = training_job(
        tmp_path, "faster_rcnn_tiny", arrows, lr=1e12, warmup=1, iterations=200, checkpoint_every=1
    )
    with pytest.raises(UserError, match=r"(finite after|loss is (nan|inf) at) iteration \d+; lower `lr`"):
        train(job)
    assert not job.output.exists()
    for path in checkpoints(job.work):
        assert all(weight.isfinite().all() for weight in read_weights(path)["state_dict"].values())


def test_the_iteration_whose_loss_is_not_finite_is_said(tmp_path):
    hook, runner = Finite(interval=5), SimpleNamespace(work_dir=tmp_path)
    for index, loss in enumerate([1.0, 2.0, math.nan, math.inf]):
        runner.iter = index
        hook.after_train_iter(runner, index, outputs={"loss": torch.tensor(loss)})
    with pytest.raises(UserError, match="the loss is nan at iteration 3"):
        hook.before_save_checkpoint(runner, {"state_dict": {}})
    weights = {"fc.weight": torch.tensor([1.0, math.nan])}
    with pytest.raises(UserError, match=r"fc\.weight is not finite after iteration 4"):
        hook.before_save_checkpoint(runner, {"state_dict": weights})


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


def test_an_rpn_that_nobody_trained_is_not_frozen(tmp_path, arrows, keypoint_model):
    state = read_weights(keypoint_model / "model.pth")["state_dict"]
    backbone = {key: value for key, value in state.items() if key.startswith("backbone.")}
    torch.save({"state_dict": backbone}, tmp_path / "backbone.pth")
    job = training_job(tmp_path, "keypoint_rcnn_tiny", arrows, iterations=2, freeze_rpn=True)
    object.__setattr__(job, "init", tmp_path / "backbone.pth")
    with pytest.raises(UserError, match=r"backbone\.pth: has no region proposals for `freeze_rpn` to keep"):
        train(job)


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
    monkeypatch.setattr("distill.study.lengths.LEAST", 2)
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


def test_the_device_of_the_study_is_obeyed_where_there_is_a_gpu(tmp_path, arrows, monkeypatch):
    """mmengine takes a GPU wherever it sees one."""
    monkeypatch.setattr("mmengine.runner.runner.get_device", lambda: "cuda")
    train(training_job(tmp_path, "faster_rcnn_tiny", arrows, iterations=1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("distill.models.devices._too_old", lambda: "")
    for device, pinned in (("cpu", False), ("cuda", True)):
        job = replace(training_job(tmp_path, "faster_rcnn_tiny", arrows, amp=True), device=device)
        assert loader_config(job)["pin_memory"] == pinned


@pytest.mark.parametrize(("major", "fast"), [(7, False), (8, True), (9, True)])
def test_bfloat16_is_fast_on_gpus_from_ampere_on(monkeypatch, major, fast):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=major))
    assert amp.supported(torch.device("cuda")) == fast


def test_bfloat16_is_not_fast_on_a_cpu_that_torch_knows_nothing_of(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert amp.supported(torch.device("cpu"))
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert not amp.supported(torch.device("cpu"))


def test_weights_of_imagenet_are_read_from_a_file_that_is_there(tmp_path, arrows, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pretrained = {"type": "Pretrained", "checkpoint": "torchvision://resnet18", "_delete_": True}
    config = tmp_path / "config.py"
    base = f'_base_ = "{ROOT}/config/models/faster_rcnn_tiny.py"'
    config.write_text(f"{base}\nmodel = dict(backbone=dict(init_cfg={pretrained}))\n")
    job = training_job(tmp_path, "faster_rcnn_tiny", arrows, init="pretrained", iterations=1, lr=0.0)
    job = replace(job, config=config)
    with pytest.raises(UserError, match=r"weights/resnet18-f37072fd\.pth: no such file") as error:
        train(job)
    assert "\n" not in str(error.value)
    stem = torch.randn(32, 3, 7, 7)
    published = MODELS.build(load_config(config).model.backbone).state_dict()
    Path("weights").mkdir()
    torch.save(
        published | {"conv1.weight": stem, "fc.weight": torch.zeros(9, 9)}, "weights/resnet18-f37072fd.pth"
    )
    train(job)
    first = "backbone.conv1.weight"
    assert torch.equal(read_weights(job.output / "model.pth")["state_dict"][first], stem)
    train(replace(job, spec={**job.spec, "init": "none"}))  # as mmdet begins: normal, of 2 / (32 · 7 · 7)
    assert read_weights(job.output / "model.pth")["state_dict"][first].std() == pytest.approx(
        0.0357, rel=0.05
    )
