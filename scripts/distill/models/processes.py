"""The processes of a training, one for each GPU, and mmengine's Runner in each of them."""

import os
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.runner import Runner

from distill.models import model as models


def start_processes(device: torch.device) -> None:
    """Joins the process group when torchrun started us: NCCL on GPUs, gloo on CPUs."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def runner_of(cfg: Config, device: torch.device, prepare: Callable[[Any], None]) -> Runner:
    """mmengine's Runner, with the network on `device` and ready before it is wrapped for several processes:
    the wrapper takes note of which parameters learn, and how they lie in memory."""

    class PreparedRunner(Runner):
        def build_model(self, model: dict) -> torch.nn.Module:
            network = models.build(self.cfg)
            prepare(network)
            return network.to(device)

        def wrap_model(self, wrapper: dict | None, network: torch.nn.Module) -> torch.nn.Module:
            if not self.distributed or device.type == "cpu":
                network = revert_sync_batchnorm(network)
            if not self.distributed:
                return network
            devices = [torch.cuda.current_device()] if device.type == "cuda" else None
            unused = self.cfg.get("find_unused_parameters", False)
            return MMDistributedDataParallel(network, device_ids=devices, find_unused_parameters=unused)

        def _init_model_weights(self) -> None:
            """They are, by `prepare`."""

    return PreparedRunner.from_cfg(cfg)
