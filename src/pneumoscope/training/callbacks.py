"""Callbacks of data stages and trainings; the command line draws them, a notebook may plot them, the default is silent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pneumoscope.progress import Report, silent


@dataclass(frozen=True)
class EpochResult:
    """Metrics of one epoch: a row of `metrics.csv`.

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: Mean training cross-entropy during the epoch, while the weights change, natural logarithm.
        accuracy: Fraction of training images classified correctly during the epoch, in [0, 1].
        val_loss: Mean cross-entropy of the validation images after the epoch.
        val_accuracy: Fraction of validation images classified correctly, in [0, 1].
        learning_rate: Learning rate of the epoch's last step.
        seconds: Duration of training and validation.
        films_per_second: Number of training images over the duration of their steps.
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
    """Receiver of the progress of a training."""

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of `total` images: an epoch, or the features of a frozen base."""
        ...

    def advance(self, parts: int, loss: float | None = None) -> None:
        """Add `parts` images to those done; `loss` is that of the step."""
        ...

    def epoch_done(self, result: EpochResult, epochs: int, waited: int) -> None:
        """End an epoch out of `epochs`; `waited` epochs have passed since the lowest validation loss."""
        ...


class SilentObserver:
    """Observer that does nothing."""

    def stage(self, name: str, total: int) -> None:
        """Do nothing."""

    def advance(self, parts: int, loss: float | None = None) -> None:
        """Do nothing."""

    def epoch_done(self, result: EpochResult, epochs: int, waited: int) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Callbacks:
    """Callbacks of long operations.

    Attributes:
        progress: Progress of data stages.
        training: Progress of trainings.
        message: Function called with a line of text for everything else.
    """

    progress: Report = silent
    training: Observer = field(default_factory=SilentObserver)
    message: Callable[[str], None] = lambda line: None
