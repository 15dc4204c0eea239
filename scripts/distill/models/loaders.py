"""Processes that load the images of a training, as on a GPU."""

import os
import signal
from threading import Thread

from mmengine.registry import FUNCTIONS


@FUNCTIONS.register_module()
def outlive_signals(worker: int) -> None:
    """Begins such a process: it ends when its trainer wants it to, not when Slurm signals all of a step, or
    Ctrl-C or its end all of a terminal.

    Where a loader dies, torch raises in the trainer, before that has written a checkpoint. But to ignore
    SIGTERM will not do: with it Python ends the loaders of a trainer that ends, and waits until they have.
    """
    for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    Thread(target=_obey, args=(os.getppid(),), daemon=True).start()


def _obey(trainer: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)
