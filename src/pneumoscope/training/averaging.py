"""Weight averaging: running mean of a network's weights within a run.

Exponential moving average, mean += (1 - decay) * (weights - mean) after each step, where the decay rises from 2 / 11 to its
final value.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pneumoscope.models.classifier import ImageClassifier


class WeightAverage:
    """Exponential moving average of a network's weights and moving statistics over the steps of its training.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 1992; the exponential form as in TensorFlow's MovingAverage.

    Attributes:
        values: Tensor name to mean; names as in `own_state` of the network.
    """

    def __init__(self, model: ImageClassifier, decay: float, values: dict[str, Tensor]) -> None:
        """Start to average the weights of a network.

        Args:
            model: Network; its tensors must stay the same objects as long as this object is used.
            decay: Decay of the mean per step, in [0, 1).
            values: Earlier mean to continue from; empty to start from the current weights.
        """
        self._decay = decay
        self._live = {name: tensor for name, tensor in model.own_state().items() if tensor.is_floating_point()}
        self.values = values or {name: tensor.clone() for name, tensor in self._live.items()}

    def update(self, steps_done: int) -> None:
        """Add the weights after a step to the mean.

        The decay is smaller in the first steps, or the mean would stay close to the initial weights.

        Args:
            steps_done: Number of steps so far, this one included; 1 or more.
        """
        decay = min(self._decay, (1 + steps_done) / (10 + steps_done))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(list(self.values.values()), list(self._live.values()), steps_done)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the network the mean of its weights inside the context, and its own weights again outside."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, live in self._live.items():
            mean = self.values[name]
            own = live.clone()
            live.copy_(mean)
            mean.copy_(own)
