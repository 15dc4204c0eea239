"""A running mean of the weights over the iterations of a training, which becomes the model."""

import torch
from mmengine.hooks import EMAHook
from mmengine.registry import HOOKS

GAMMA = 9  # with which the mean at iteration n is, at the start, mostly over the last tenth of n


@HOOKS.register_module()
class AverageWeights(EMAHook):
    """mmengine's EMAHook: mean ← ema · mean + (1 − ema) · weights after each iteration, of the statistics of
    batch normalisation too. At the end of the training, the network has the mean.

    At first `ema` is no higher than n / (n + GAMMA) at iteration n, about as in TensorFlow's
    ExponentialMovingAverage with `num_updates`, so that a short training is not for the most part its start.
    """

    def __init__(self, ema: float) -> None:
        super().__init__("MomentumAnnealingEMA", momentum=1 - ema, gamma=GAMMA, update_buffers=True)

    def mean(self) -> dict[str, torch.Tensor]:
        """The state dict of the network with the mean of the weights so far."""
        return self.ema_model.module.state_dict()

    def after_train(self, runner) -> None:
        self._swap_ema_parameters()
