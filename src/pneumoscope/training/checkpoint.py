"""Checkpoint: the state of a training after an epoch, with everything the next epoch depends on, written atomically."""

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pneumoscope.errors import RunError
from pneumoscope.files import atomic_write
from pneumoscope.training.callbacks import EpochResult


@dataclass
class TrainingState:
    """Progress of a training.

    Attributes:
        steps: Number of updates of the weights so far.
        history: Result of each epoch so far.
        best_loss: Lowest validation loss so far.
        waited: Number of epochs since the lowest validation loss.
        stopped: Whether early stopping or the last epoch ended the training.
        best_weights: Weights at the lowest validation loss; empty unless they are to be restored.
        average: Running mean of the weights; empty without weight averaging.
    """

    steps: int = 0
    history: list[EpochResult] = field(default_factory=list)
    best_loss: float = float("inf")
    waited: int = 0
    stopped: bool = False
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(path: Path, weights: dict[str, Tensor], optimiser: dict[str, Any], state: TrainingState) -> None:
    """Write a checkpoint, atomically."""
    record = {"weights": weights, "optimiser": optimiser, "state": asdict(state)}
    # Written through memory: a full disk raises OSError then, which torch's own writer hides.
    buffer = io.BytesIO()
    torch.save(record, buffer)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], TrainingState]:
    """Read weights, optimiser state and training state from a checkpoint.

    Raises:
        RunError: The file is damaged or not a checkpoint.
    """
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
        fields = dict(record["state"])
        history = [EpochResult(**result) for result in fields.pop("history")]
        return record["weights"], record["optimiser"], TrainingState(history=history, **fields)
    except Exception as error:  # torch raises many types, one for each sort of damage
        raise RunError(
            f"expected a whole checkpoint at {path}, found {error}: delete the run folder and train again"
        ) from error
