"""Callbacks of data stages and trainings; the command line draws them, a notebook may plot them, the default is silent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pneumoscope.progress import Report, silent


@dataclass(frozen=True)
class EpochResult:
    """One line of `metrics.csv`.

    Attributes:
        epoch: From 1 on.
        loss: Mean training cross-entropy of the epoch, while the weights moved, natural logarithm.
        accuracy: Share of training images answered right, in [0, 1], likewise.
        val_loss: Mean cross-entropy of the validation images after the epoch.
        val_accuracy: Share of validation images answered right, in [0, 1].
        learning_rate: Of the epoch's last step.
        seconds: For training and validation.
        films_per_second: Training images over the time of their steps.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    films_per_second: float


class Observer(Protocol):
    """Told of every step of a training."""

    def stage(self, name: str, total: int) -> None:
        """Something of `total` parts begins: an epoch, or the features of a frozen base."""
        ...

    def advance(self, parts: int, loss: float | None = None) -> None:
        """So many more parts are done."""
        ...

    def epoch_done(self, result: EpochResult, epochs: int, waited: int) -> None:
        """An epoch ended; `waited` epochs have passed since the best validation loss."""
        ...


class SilentObserver:
    """Says nothing."""

    def stage(self, name: str, total: int) -> None:
        """Says nothing."""

    def advance(self, parts: int, loss: float | None = None) -> None:
        """Says nothing."""

    def epoch_done(self, result: EpochResult, epochs: int, waited: int) -> None:
        """Says nothing."""


@dataclass(frozen=True)
class Callbacks:
    """Callbacks of everything that takes time.

    Attributes:
        progress: Progress of data stages.
        training: Progress of trainings.
        message: Called with a line of text for everything else.
    """

    progress: Report = silent
    training: Observer = field(default_factory=SilentObserver)
    message: Callable[[str], None] = lambda line: None
