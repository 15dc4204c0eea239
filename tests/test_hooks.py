"""When a training notices that it was signalled; that it then ends well is in test_interruptions.py."""

import signal
from types import SimpleNamespace

import pytest

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
