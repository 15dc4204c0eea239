"""The hooks of a config from outside: what shapes the network is told in iterations, or refused.

A training here has iterations. Where a hook counts epochs, they are taken as the share that they are of the
config's own training: whoever trains YOLOX for 300 epochs means the last twentieth by the last 15.
"""

from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from distill.program import UserError, log

# They check, log and draw, change the samples, or average batch statistics before an evaluation.
NEEDLESS = (
    "NumClassCheckHook", "CheckInvalidLossHook", "DetVisualizationHook", "MemoryProfilerHook", "SyncNormHook",
    "PipelineSwitchHook", "EmptyCacheHook", "ProfilerHook", "SyncBuffersHook",
)  # fmt: skip


def shaping(cfg: Config) -> list[dict[str, Any]]:
    """Those of a training's hooks that `translated` gave."""
    kinds = ("UseL1", "TellEpoch", "CountEpochs")
    return [dict(hook) for hook in cfg.custom_hooks if hook["type"] in kinds]


def translated(cfg: Config, iterations: int, source: str) -> list[dict[str, Any]]:
    """The config's `custom_hooks` for a training of so many iterations.

    source: names the config in errors. Raises UserError for a hook that this project does not know.
    """
    epochs = (cfg.get("train_cfg") or {}).get("max_epochs")
    hooks = []
    for hook in cfg.get("custom_hooks") or []:
        match hook["type"].rpartition(".")[2]:
            case "EMAHook":
                log.info("%s: its EMAHook is left out; the weights are not averaged", source)
            case "YOLOXModeSwitchHook" if epochs:
                share = 1 - hook.get("num_last_epochs", 15) / epochs
                hooks.append(dict(type="UseL1", begin=round(share * iterations)))
            case "SetEpochInfoHook" if epochs:
                hooks.append(dict(type="TellEpoch", iterations=iterations / epochs))
            case kind if kind not in NEEDLESS:
                raise UserError(f"{source}: its hook {kind} is not known here; remove it from `custom_hooks`")
    if epochs and (cfg.get("model", {}).get("train_cfg") or {}).get("initial_epoch"):
        hooks.append(dict(type="CountEpochs", iterations=iterations / epochs))
    return hooks


@HOOKS.register_module()
class UseL1(Hook):
    """Adds the L1 loss of YOLOX from an iteration on (mmdet's YOLOXModeSwitchHook)."""

    def __init__(self, begin: int) -> None:
        self.begin = begin

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        network = getattr(runner.model, "module", runner.model)
        network.bbox_head.use_l1 = batch_idx >= self.begin


@HOOKS.register_module()
class TellEpoch(Hook):
    """Tells the network which epoch it is, of so many iterations (mmdet's SetEpochInfoHook)."""

    def __init__(self, iterations: float) -> None:
        self.iterations = iterations

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        network = getattr(runner.model, "module", runner.model)
        network.set_epoch(int(batch_idx / self.iterations))


@HOOKS.register_module()
class CountEpochs(Hook):
    """Counts epochs, of so many iterations, where mmengine does: TOOD's head looks there for the end of its
    `initial_epoch`, and a loop over iterations leaves it at 0."""

    def __init__(self, iterations: float) -> None:
        self.iterations = iterations

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        runner.message_hub.update_info("epoch", int(batch_idx / self.iterations))
