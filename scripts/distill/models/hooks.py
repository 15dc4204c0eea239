"""mmengine hooks: reproducible steps, the history and the time of a training, a stop at a loss that is not
finite or at a signal.

To read a number from a GPU is to wait for all that it has to do. So losses stay on it and are read together,
at intervals and before a checkpoint is written.
"""

import csv
import math
import os
import signal
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mmengine.dist import all_reduce, barrier, get_backend, get_rank, is_main_process
from mmengine.hooks import Hook, RuntimeInfoHook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS
from numpy.random import SeedSequence

from distill.files import write_text
from distill.models import work_folder
from distill.program import UserError
from distill.requeue import preempted, requeue

KEPT = 200  # iterations; more than any interval


@HOOKS.register_module()
class SeedEachStep(Hook):
    """Seeds torch before every iteration from (seed, iteration, rank), so that a resumed run is identical."""

    priority = "VERY_HIGH"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        key = SeedSequence((self.seed, 7, batch_idx, get_rank()))
        torch.manual_seed(int(key.generate_state(1)[0]))


@HOOKS.register_module()
class Finite(Hook):
    """Stops with one clear line where the loss, or a weight, is NaN or infinite: at the next interval, and
    always before it reaches a checkpoint."""

    priority = "HIGH"

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.losses: list[torch.Tensor] = []  # of the iterations since the last look

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs["loss"].detach())
        if (batch_idx + 1) % self.interval == 0:
            self._look(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        self._look(runner)
        for name, value in checkpoint["state_dict"].items():
            if not value.isfinite().all():
                self._stop(runner, f"{name} is not finite after", runner.iter + 1)

    def _look(self, runner) -> None:
        losses = torch.stack(self.losses).tolist() if self.losses else []
        self.losses = []
        for iteration, loss in enumerate(losses, runner.iter + 2 - len(losses)):
            if not math.isfinite(loss):
                self._stop(runner, f"the loss is {loss} at", iteration)

    def _stop(self, runner, what: str, iteration: int) -> None:
        checkpoints = work_folder.checkpoints(Path(runner.work_dir))
        kept = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "no checkpoint before it"
        raise UserError(f"{what} iteration {iteration}; lower `lr` ({kept})")


@HOOKS.register_module()
class PlainCheckpoint(Hook):
    """Keeps logs out of the checkpoints, so that these hold tensors and numbers only: weights_only loads
    them. Of a checkpoint that is resumed from, mmengine would run the text `config`."""

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint["message_hub"] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint["meta"].pop("config", None)


@HOOKS.register_module()
class Clock(Hook):
    """`seconds`: how long the training has taken so far, including the time before it was resumed."""

    def __init__(self) -> None:
        self.start = time.time()

    @property
    def seconds(self) -> float:
        return time.time() - self.start

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint["seconds"] = self.seconds

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        self.start -= checkpoint.get("seconds", 0)


@HOOKS.register_module()
class RuntimeInfo(RuntimeInfoHook):
    """mmengine's, but for the losses: History hands on their means. What it logs of old iterations is
    forgotten: mmengine copies all of it in each new one."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if (batch_idx + 1) % KEPT:
            return
        scalars = runner.message_hub.log_scalars
        for key, buffer in list(scalars.items()):
            scalars[key] = HistoryBuffer(*(values[-KEPT:] for values in buffer.data))


@HOOKS.register_module()
class StopOnSignal(Hook):
    """SIGUSR1 (sent by Slurm before the time limit), SIGTERM (before a preemption), SIGINT (Ctrl-C) and
    SIGHUP (a closed terminal; not under nohup) write a checkpoint and end the job, which is put back into the
    queue where it is still wanted. A second Ctrl-C does not wait for the checkpoint."""

    priority = "LOWEST"

    def before_train(self, runner) -> None:
        self.received = 0
        numbers = [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else nohup has begun it
            numbers.append(signal.SIGHUP)
        for number in numbers:  # also those that Snakemake ignores itself, and hands down so
            signal.signal(number, self._note)
        # Processes on GPUs agree by a message that waits for the GPU.
        self.interval = 10 if get_backend() == "nccl" else 1

    def _note(self, number: int, frame) -> None:
        self.received = max(self.received, number)  # SIGTERM, the highest: the job may not be wanted
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if (batch_idx + 1) % self.interval:
            return
        # Whichever process got the signal, all must stop at the same iteration.
        received = torch.tensor(float(self.received))
        all_reduce(received, op="max")
        if not received or batch_idx + 1 >= runner.max_iters:
            return
        runner.save_checkpoint(runner.work_dir, f"iter_{batch_idx + 1}.pth", by_epoch=False)
        message = f"stopped by a signal at iteration {batch_idx + 1}; a checkpoint was written, "
        wanted = received == signal.SIGUSR1 or preempted(os.environ)
        again = is_main_process() and wanted and requeue(os.environ)
        barrier()  # the first process that ends takes the others with it
        raise UserError(message + ("the job is in the queue again" if again else "run again to go on"))


@HOOKS.register_module()
class History(Hook):
    """Writes history.csv: every `interval` iterations mean losses, LR, and images of each kind drawn so far.

    Columns: iteration, lr, loss and its parts, labelled and generated (images drawn since the start, over all
    processes) and their ratio labelled / generated. The losses are those of the first process.
    """

    priority = "LOW"

    def __init__(self, path: str, interval: int) -> None:
        self.path, self.interval = Path(path), interval
        self.waiting: list[dict[str, torch.Tensor]] = []  # losses of iterations that are not in the sums yet
        self.sums: dict[str, float] = {}
        self.steps = 0

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        self._add_up()
        checkpoint["history"] = {"sums": self.sums, "steps": self.steps}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if "history" in checkpoint:
            state = checkpoint["history"]
            self.sums, self.steps = dict(state["sums"]), state["steps"]

    def before_train(self, runner) -> None:
        if not is_main_process() or not self.path.exists():
            return
        lines = self.path.read_text(errors="replace").rpartition("\n")[0]  # a kill may have cut off the last
        kept = _rows_until(runner.iter, lines, self.path) if lines else None
        if kept is not None and len(kept):  # a resumed run goes on after its checkpoint
            write_text(self.path, kept.to_csv(index=False))
        else:
            self.path.unlink()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if not is_main_process():
            return
        self.waiting.append({key: value.detach() for key, value in outputs.items()})
        done = batch_idx + 1
        if done % self.interval and done != runner.max_iters:
            return
        self._add_up()
        means = {key: value / self.steps for key, value in self.sums.items()}
        self.sums, self.steps = {}, 0
        labelled, generated = runner.train_dataloader.sampler.drawn(done)
        rate = runner.message_hub.get_scalar("train/lr").current()  # that of the optimizer is the next one's
        row = {"iteration": done, "lr": f"{rate:.6g}"}
        row |= {key: f"{value:.5g}" for key, value in means.items()}
        row |= {"labelled": labelled, "generated": generated}
        row["ratio"] = f"{labelled / generated:.4f}" if generated else ""
        self._append(row)
        if getattr(runner.optim_wrapper, "grad_norm", None) is not None:  # as where values are clipped
            means["grad_norm"] = runner.optim_wrapper.grad_norm
        for key, value in means.items():  # for mmengine's log
            runner.message_hub.update_scalar(f"train/{key}", value)

    def _append(self, row: dict[str, Any]) -> None:
        """Losses come in another order, and some not at all, where minibatches have nothing to learn from."""
        if not self.path.exists():
            write_text(self.path, ",".join(row) + "\n")
        with open(self.path) as file:
            known = file.readline().strip().split(",")
        if new := [key for key in row if key not in known]:
            rows = pd.read_csv(self.path, dtype=str).reindex(columns=[*known, *new])
            write_text(self.path, rows.to_csv(index=False))
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, [*known, *new], restval="", lineterminator="\n").writerow(row)

    def _add_up(self) -> None:
        """Reads the losses that wait, all at once."""
        waiting = [item for losses in self.waiting for item in losses.items()]
        values = torch.stack([value for _, value in waiting]).tolist() if waiting else []
        for (key, _), value in zip(waiting, values, strict=True):
            self.sums[key] = self.sums.get(key, 0.0) + value
        self.steps += len(self.waiting)
        self.waiting = []


def _rows_until(iteration: int, lines: str, path: Path) -> pd.DataFrame:
    """The rows of a history as text, up to an iteration."""
    try:
        rows = pd.read_csv(StringIO(lines), dtype=str)
        return rows[rows["iteration"].astype(int) <= iteration]
    except (ValueError, KeyError):  # what pandas says of a table that is none
        raise UserError(f"{path}: is damaged; remove it to go on without the losses so far") from None
