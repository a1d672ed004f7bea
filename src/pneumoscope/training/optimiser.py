"""The optimisers: Adam as Keras computes it, for the study; AdamW with one cycle of its rate, for the detector."""

from collections.abc import Iterable
from math import cos, pi

import torch
from torch import nn

from pneumoscope.config import TrainingConfig

BETAS = (0.9, 0.999)
EPSILON = 1e-7


class KerasAdam(torch.optim.Adam):
    """Adam with the learning rate lr / (1 + decay * t) at step t = 0, 1, ... and Keras' place for epsilon.

    Keras subtracts lr_t * sqrt(1 - b2^n) / (1 - b1^n) * m / (sqrt(v) + epsilon) at its n-th update, the form of Kingma
    and Ba (arXiv 1412.6980) before section 2.1. PyTorch divides sqrt(v) by sqrt(1 - b2^n) before it adds epsilon, so its
    epsilon is divided by that here: then both are the same, and PyTorch's fused kernel can do the work.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, decay: float) -> None:
        self.initial_rate = learning_rate
        self.decay = decay
        super().__init__(parameters, lr=learning_rate, betas=BETAS, eps=EPSILON, fused=True)

    def before_step(self, steps_done: int) -> None:
        """Sets rate and epsilon for the next update; call it before every `step`.

        Args:
            steps_done: Updates so far, 0 before the first.
        """
        for group in self.param_groups:
            group["lr"] = self.initial_rate / (1 + self.decay * steps_done)
            group["eps"] = EPSILON / (1 - BETAS[1] ** (steps_done + 1)) ** 0.5


class OneCycleAdamW(torch.optim.AdamW):
    """AdamW whose rate rises from almost nothing to its height and falls back to nothing along a cosine.

    Source: Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101; one cycle as in Smith, arXiv 1803.09820.
    """

    # A quarter of the steps: new weights of the head settle before the pre-trained ones move far.
    _RISE = 0.25

    def __init__(
        self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float, total_steps: int
    ) -> None:
        every = list(parameters)
        groups = [
            {"params": [p for p in every if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.height = learning_rate
        self.total_steps = total_steps
        super().__init__([group for group in groups if group["params"]], lr=learning_rate, fused=True)

    def before_step(self, steps_done: int) -> None:
        """Sets the rate for the next update; call it before every `step`.

        Args:
            steps_done: Updates so far, 0 before the first.
        """
        for group in self.param_groups:
            group["lr"] = self.height * self.share_at((steps_done + 1) / self.total_steps)

    def share_at(self, progress: float) -> float:
        """The rate as a share of its height, in [0, 1], when this share of the steps is done."""
        if progress < self._RISE:
            return progress / self._RISE
        return 0.5 * (1 + cos(pi * min(1.0, (progress - self._RISE) / (1 - self._RISE))))


ScheduledOptimiser = KerasAdam | OneCycleAdamW


def make_optimiser(
    parameters: Iterable[nn.Parameter], settings: TrainingConfig, steps_per_epoch: int
) -> ScheduledOptimiser:
    """The optimiser that the settings ask for, over the parameters that are to be trained."""
    trained = [p for p in parameters if p.requires_grad]
    if settings.optimiser == "adamw":
        return OneCycleAdamW(trained, settings.learning_rate, settings.weight_decay, settings.epochs * steps_per_epoch)
    return KerasAdam(trained, settings.learning_rate, settings.decay)
