"""mmengine hooks: reproducible steps, the history and the time of a training, a stop at a loss that is not
finite or at a signal."""

import csv
import math
import os
import signal
import time
from io import StringIO
from pathlib import Path

import pandas as pd
import torch
from mmengine.dist import all_reduce, barrier, get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from numpy.random import SeedSequence

from distill.cluster.slurm import requeue
from distill.files import replacing
from distill.models import work_folder
from distill.program import UserError


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
class FiniteLoss(Hook):
    """Stops with one clear line where the loss is NaN or infinite, before it reaches a checkpoint."""

    priority = "HIGH"

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        loss = float(outputs["loss"].detach())
        if math.isfinite(loss):
            return
        checkpoints = work_folder.checkpoints(Path(runner.work_dir))
        kept = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "no checkpoint before it"
        raise UserError(f"the loss is {loss} at iteration {batch_idx + 1}; lower `lr` ({kept})")


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
class StopOnSignal(Hook):
    """SIGUSR1 (sent by Slurm before the time limit) and SIGTERM (before a preemption) write a checkpoint and
    end the job; after SIGUSR1 it is put back into the queue."""

    priority = "LOWEST"

    def before_train(self, runner) -> None:
        self.received = 0
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame) -> None:
        self.received = max(self.received, number)  # SIGTERM, the higher, means that the job is not wanted

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        # Whichever process got the signal, all must stop at the same iteration.
        received = torch.tensor(float(self.received))
        all_reduce(received, op="max")
        if not received or batch_idx + 1 >= runner.max_iters:
            return
        runner.save_checkpoint(runner.work_dir, f"iter_{batch_idx + 1}.pth", by_epoch=False)
        message = f"stopped by a signal at iteration {batch_idx + 1}; a checkpoint was written, "
        again = received == signal.SIGUSR1 and is_main_process() and requeue(os.environ)
        barrier()  # the first process that ends takes the others with it
        raise UserError(message + ("the job is in the queue again" if again else "run again to go on"))


@HOOKS.register_module()
class History(Hook):
    """Writes history.csv: every `interval` iterations mean losses, LR, and images of each kind drawn so far.

    Columns: iteration, lr, loss and its parts, grad_norm, labelled and generated (images drawn since the
    start, over all processes) and their realised ratio labelled / generated.
    """

    priority = "LOW"

    def __init__(self, path: str, interval: int) -> None:
        self.path, self.interval = Path(path), interval

        self.drawn = torch.zeros(2)
        self.sums: dict[str, float] = {}
        self.steps = 0

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint["history"] = {"drawn": self.drawn, "sums": self.sums, "steps": self.steps}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if "history" in checkpoint:
            state = checkpoint["history"]
            self.drawn, self.sums, self.steps = state["drawn"].cpu(), dict(state["sums"]), state["steps"]

    def before_train(self, runner) -> None:
        if not is_main_process() or not self.path.exists():
            return
        lines = self.path.read_text(errors="replace").rpartition("\n")[0]  # a kill may have cut off the last
        kept = _rows_until(runner.iter, lines, self.path) if lines else None
        if kept is not None and len(kept):  # a resumed run goes on after its checkpoint
            with replacing(self.path) as temporary:
                kept.to_csv(temporary, index=False)
        else:
            self.path.unlink()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        kinds = [bool(sample.metainfo["generated"]) for sample in data_batch["data_samples"]]
        drawn = torch.tensor([len(kinds) - sum(kinds), sum(kinds)], dtype=torch.float32)
        all_reduce(drawn)
        self.drawn += drawn
        for key, value in outputs.items():
            self.sums[key] = self.sums.get(key, 0.0) + float(torch.as_tensor(value).detach())
        self.steps += 1
        done = batch_idx + 1
        if done % self.interval and done != runner.max_iters:
            return
        labelled, generated = self.drawn.long().tolist()
        row = {"iteration": done, "lr": f"{runner.optim_wrapper.get_lr()['lr'][0]:.6g}"}
        row |= {key: f"{value / self.steps:.5g}" for key, value in self.sums.items()}
        row |= {"labelled": labelled, "generated": generated}
        row["ratio"] = f"{labelled / generated:.4f}" if generated else ""
        self.sums, self.steps = {}, 0
        if is_main_process():
            new = not self.path.exists()
            with open(self.path, "a", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=row, lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerow(row)


def _rows_until(iteration: int, lines: str, path: Path) -> pd.DataFrame:
    """The rows of a history as text, up to an iteration."""
    try:
        rows = pd.read_csv(StringIO(lines), dtype=str)
        return rows[rows["iteration"].astype(int) <= iteration]
    except (ValueError, KeyError):  # what pandas says of a table that is none
        raise UserError(f"{path}: is damaged; remove it to go on without the losses so far") from None
