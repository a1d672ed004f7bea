"""Means of weights, which read better than the weights themselves: over the steps of a training, and over trainings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pneumoscope.models.classifier import ImageClassifier


class WeightAverage:
    """The exponential mean of a network's weights and moving statistics over the steps of its training.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 1992; the exponential form as in TensorFlow's MovingAverage.

    Attributes:
        values: Name to mean; as `own_state` of the network.
    """

    def __init__(self, model: ImageClassifier, decay: float, values: dict[str, Tensor]) -> None:
        """Follows a network.

        Args:
            model: Its tensors must stay the same objects while this lives.
            decay: Of the mean per step, in [0, 1).
            values: An earlier mean to go on from; empty to begin with the weights as they are.
        """
        self._decay = decay
        self._live = {name: tensor for name, tensor in model.own_state().items() if tensor.is_floating_point()}
        self.values = values or {name: tensor.clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def update(self, steps_done: int) -> None:
        """Takes in the weights after a step; the mean of the first steps forgets faster, or it would stay at the start.

        Args:
            steps_done: From 1 on.
        """
        decay = min(self._decay, (1 + steps_done) / (10 + steps_done))
        torch._foreach_lerp_(list(self.values.values()), list(self._live.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network holds the mean inside, its own weights again outside."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, live in self._live.items():
            mean = self.values[name]
            kept = live.clone()
            live.copy_(mean)
            mean.copy_(kept)


def mean_of_trainings(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of the weights of networks that started from the same pre-trained ones and were trained apart.

    It reads about as well as the networks asked one by one do together, and costs no more than one of them.

    Args:
        states: `own_state` of each, at least one.
    Source: Wortsman et al., Model soups, ICML 2022, arXiv 2203.05482.
    """
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(first.dtype)
        for name, first in states[0].items()
    }
