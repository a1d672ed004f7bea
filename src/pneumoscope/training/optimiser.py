"""Optimisers: Adam as Keras computes it, for the study; AdamW with a one-cycle learning rate, for the detector."""

from collections.abc import Iterable
from math import cos, pi

import torch
from torch import nn

from pneumoscope.config import TrainingConfig

BETAS = (0.9, 0.999)
EPSILON = 1e-7


class KerasAdam(torch.optim.Adam):
    """Adam with the learning rate lr / (1 + decay * t) at step t = 0, 1, ... and epsilon where Keras adds it.

    Keras subtracts lr_t * sqrt(1 - b2^n) / (1 - b1^n) * m / (sqrt(v) + epsilon) at its n-th update, the form of Kingma
    and Ba (arXiv 1412.6980) before section 2.1. PyTorch divides sqrt(v) by sqrt(1 - b2^n) before it adds epsilon, so its
    epsilon is divided by that here: the results are equal then, and PyTorch's fused kernel can be used.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, decay: float) -> None:
        self.initial_rate = learning_rate
        self.decay = decay
        super().__init__(parameters, lr=learning_rate, betas=BETAS, eps=EPSILON, fused=True)

    def before_step(self, steps_done: int) -> None:
        """Set learning rate and epsilon of the next update; call it before every `step`.

        Args:
            steps_done: Number of updates so far, 0 before the first.
        """
        for group in self.param_groups:
            group["lr"] = self.initial_rate / (1 + self.decay * steps_done)
            group["eps"] = EPSILON / (1 - BETAS[1] ** (steps_done + 1)) ** 0.5


class OneCycleAdamW(torch.optim.AdamW):
    """AdamW with a learning rate that rises linearly to its peak and falls to zero along a cosine.

    Source: Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101; one cycle as in Smith, arXiv 1803.09820.
    """

    # Fraction of the steps with a rising rate: new weights of the head settle before the pre-trained ones move far.
    _WARM_UP = 0.25

    def __init__(
        self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float, total_steps: int
    ) -> None:
        all_parameters = list(parameters)
        groups = [
            {"params": [p for p in all_parameters if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in all_parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.peak_rate = learning_rate
        self.total_steps = total_steps
        super().__init__([group for group in groups if group["params"]], lr=learning_rate, fused=True)

    def before_step(self, steps_done: int) -> None:
        """Set the learning rate of the next update; call it before every `step`.

        Args:
            steps_done: Number of updates so far, 0 before the first.
        """
        for group in self.param_groups:
            group["lr"] = self.peak_rate * self.rate_fraction((steps_done + 1) / self.total_steps)

    def rate_fraction(self, progress: float) -> float:
        """Learning rate as a fraction of its peak, in [0, 1].

        Args:
            progress: Fraction of the steps done, in [0, 1].
        """
        if progress < self._WARM_UP:
            return progress / self._WARM_UP
        return 0.5 * (1 + cos(pi * min(1.0, (progress - self._WARM_UP) / (1 - self._WARM_UP))))


ScheduledOptimiser = KerasAdam | OneCycleAdamW


def make_optimiser(
    parameters: Iterable[nn.Parameter], settings: TrainingConfig, steps_per_epoch: int
) -> ScheduledOptimiser:
    """Build the optimiser of a configuration for the parameters that require gradients."""
    trained = [p for p in parameters if p.requires_grad]
    if settings.optimiser == "adamw":
        return OneCycleAdamW(trained, settings.learning_rate, settings.weight_decay, settings.epochs * steps_per_epoch)
    return KerasAdam(trained, settings.learning_rate, settings.decay)
