"""A training can be watched, and is the same training."""

import json

import pytest
from mmengine.logging import HistoryBuffer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distill.models.tracking import Tracking
from distill.models.training import train
from distill.program import UserError
from helpers.networks import training_job


def test_tensorboard_shows_a_training_and_changes_nothing(tmp_path, arrows):
    options = dict(labels=arrows, iterations=4, ratio=[6, 4])
    for folder, tracking in {"a": ["tensorboard"], "b": []}.items():
        train(training_job(tmp_path / folder, "keypoint_rcnn_tiny", arrows, tracking=tracking, **options))
    folders = [tmp_path / folder / "model" for folder in ("a", "b")]
    for name in ("model.pth", "history.csv"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    texts = [(folder / "config.py").read_text().replace(str(folder.parent), "") for folder in folders]
    assert texts[0] == texts[1]
    runs = [json.loads((folder / "run.json").read_text()) for folder in folders]
    assert [run["fingerprint"] for run in runs] == [runs[0]["fingerprint"]] * 2
    assert runs[0]["spec"] == runs[1]["spec"]

    events = EventAccumulator(str(folders[0].with_suffix(".work") / "tracking")).Reload()
    rows = (folders[0] / "history.csv").read_text().splitlines()
    losses = [row.split(",")[rows[0].split(",").index("loss")] for row in rows[1:]]
    shown = events.Scalars("train/loss")
    assert [event.step for event in shown] == [1, 2, 3, 4]
    assert [f"{event.value:.5g}" for event in shown] == losses
    assert {"train/lr", "train/loss_keypoint", "train/loss_bbox"} <= set(events.Tags()["scalars"])
    pictures = set(events.Tags()["images"])
    assert {name.partition("/")[0] for name in pictures} == {"labelled", "generated"}
    assert len(pictures) == 8


def test_validation_is_shown_where_there_is_one():
    class Shown:
        def add_scalars(self, values, step):
            seen.append((step, values))

    class Nothing:
        aps, max_iters, log_scalars = {2: 0.25}, 9, {"train/lr": HistoryBuffer([0.1], [1])}

    seen = []
    runner = Nothing()
    runner.message_hub = runner
    runner.hooks = [runner]
    hook = Tracking([Shown()], 2, [])
    for batch in range(4):
        hook.after_train_iter(runner, batch)
    assert seen == [(2, {"train/lr": 0.1, "validation/AP": 25.0}), (4, {"train/lr": 0.1})]


def test_a_missing_package_is_one_line_before_the_training(tmp_path, arrows):
    job = training_job(tmp_path, "keypoint_rcnn_tiny", arrows, tracking=["wandb"])
    with pytest.raises(UserError, match="tracking: there is no wandb here; pip install wandb"):
        train(job)
    assert not job.work.exists()
