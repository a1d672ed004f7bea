"""The state of a training after an epoch: everything that the next epoch depends on, in one file, whole or absent."""

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pneumoscope.errors import RunError
from pneumoscope.files import whole_or_nothing
from pneumoscope.training.callbacks import EpochResult


@dataclass
class TrainingState:
    """What training has come to.

    Attributes:
        steps: Updates of the weights so far.
        history: One result per epoch done.
        best_loss: Lowest validation loss so far.
        waited: Epochs since then.
        stopped: Whether early stopping or the last epoch ended the training.
        best_weights: The weights of the lowest validation loss, kept only where they are to be restored.
        average: The running mean of the weights, where one is kept.
    """

    steps: int = 0
    history: list[EpochResult] = field(default_factory=list)
    best_loss: float = float("inf")
    waited: int = 0
    stopped: bool = False
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(path: Path, weights: dict[str, Tensor], optimiser: dict[str, Any], state: TrainingState) -> None:
    """Writes the checkpoint, atomically."""
    record = {"weights": weights, "optimiser": optimiser, "state": asdict(state)}
    # By way of memory: a full disk is then an OSError, which torch's own writer hides.
    buffer = io.BytesIO()
    torch.save(record, buffer)
    with whole_or_nothing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], TrainingState]:
    """Weights, optimiser state and training state.

    Raises:
        RunError: The file is not a whole checkpoint.
    """
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
        told = dict(record["state"])
        history = [EpochResult(**result) for result in told.pop("history")]
        return record["weights"], record["optimiser"], TrainingState(history=history, **told)
    except Exception as error:  # torch raises a different kind for every sort of damage
        raise RunError(
            f"expected a whole checkpoint at {path}, found {error}: delete the run folder and train anew"
        ) from error
