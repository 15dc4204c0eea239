"""When a training notices that it was signalled; that it then ends well is in test_interruptions.py."""

import signal
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from mmengine.logging import MessageHub

from distill.models import hooks
from distill.program import UserError


@pytest.fixture
def handlers():
    """Those of before are there again afterwards."""
    numbers = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(("backend", "iteration"), [("nccl", 10), ("gloo", 5), (None, 5)])
def test_processes_on_gpus_agree_on_a_signal_every_ten_iterations(
    tmp_path, monkeypatch, handlers, backend, iteration
):
    monkeypatch.setattr(hooks, "get_backend", lambda: backend)
    saved = []
    save = lambda folder, name, by_epoch: saved.append(name)  # noqa: E731
    runner = SimpleNamespace(max_iters=100, work_dir=tmp_path, save_checkpoint=save)
    hook = hooks.StopOnSignal()
    hook.before_train(runner)

    def train(*iterations: int) -> None:
        for index in iterations:
            hook.after_train_iter(runner, index)

    train(0, 1, 2, 3)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(UserError, match=f"stopped by a signal at iteration {iteration};"):
        train(*range(4, 100))
    assert saved == [f"iter_{iteration}.pth"]


def test_of_ignored_signals_only_the_one_that_nohup_ignores_stays_so(handlers):
    for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    hook = hooks.StopOnSignal()
    hook.before_train(SimpleNamespace())
    assert signal.getsignal(signal.SIGUSR1) == signal.getsignal(signal.SIGINT) == hook._note
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("first", [0, 1])
def test_losses_that_come_in_another_order_stay_in_their_columns(tmp_path, first):
    """A minibatch without a region of interest has no accuracy, and its losses another order."""
    history = hooks.History(str(tmp_path / "history.csv"), interval=1)
    hub = MessageHub("order")
    hub.update_scalar("train/lr", 0.1)
    runner = SimpleNamespace(
        max_iters=9,
        message_hub=hub,
        optim_wrapper=SimpleNamespace(clip_grad_kwargs=None),
        train_dataloader=SimpleNamespace(sampler=SimpleNamespace(drawn=lambda done: (done, done))),
    )
    losses = [{"loss_cls": 1.0, "acc": 2.0, "loss_bbox": 3.0}, {"loss_bbox": 4.0, "loss_cls": 5.0}]
    losses.append({"loss_bbox": 6.0, "loss_cls": 7.0, "acc": 8.0})
    for index, found in enumerate(losses[first:]):
        outputs = {key: torch.tensor(value) for key, value in found.items()}
        history.after_train_iter(runner, index, outputs=outputs)
    rows = pd.read_csv(tmp_path / "history.csv")
    expected = [[1, 3, 1], [5, 4, 1], [7, 6, 1]][first:]
    assert rows[["loss_cls", "loss_bbox", "ratio"]].to_numpy().tolist() == expected
    assert rows["acc"].fillna(0).tolist() == [2, 0, 8][first:]


def test_what_was_logged_long_ago_is_forgotten():
    hub, hook = MessageHub("long"), hooks.RuntimeInfo()
    runner = SimpleNamespace(message_hub=hub)
    for index in range(1000):
        hub.update_scalar("train/time", index)
        hook.after_train_iter(runner, index)
    values, counts = hub.get_scalar("train/time").data
    assert values.tolist() == list(range(1000 - hooks.KEPT, 1000))
    assert counts.tolist() == [1] * hooks.KEPT
    assert hub.get_scalar("train/time").mean(50) == 974.5


def test_a_clock_goes_on_after_an_interruption():
    clock = hooks.Clock()
    clock.after_load_checkpoint(None, {"seconds": 100})
    assert 100 <= clock.seconds < 200
