"""Adam as Keras computes it, with Keras' `decay`."""

from collections.abc import Iterable

import torch
from torch import nn

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
