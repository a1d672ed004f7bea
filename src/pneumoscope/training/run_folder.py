"""Run folder: configuration, provenance, metrics, checkpoint and weights of one training run.

config.json        the resolved configuration          written before the first step
provenance.json    seed, split hash, versions, commit  written before the first step
metrics.csv        a line per epoch
tensorboard/       metrics of the epochs for TensorBoard
checkpoint.pt      the state after the last complete epoch
model.safetensors  the trained weights, written when training has ended
"""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor

from pneumoscope.config import RunConfig, config_from_table
from pneumoscope.errors import RunError
from pneumoscope.files import atomic_write, write_json, write_text
from pneumoscope.provenance import provenance
from pneumoscope.training.callbacks import EpochResult


class RunFolder:
    """Folder of a training run, new or existing.

    Attributes:
        path: Path of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint after the last complete epoch; need not exist."""
        return self.path / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        """Path of the trained weights; need not exist."""
        return self.path / "model.safetensors"

    @property
    def is_begun(self) -> bool:
        """Whether the folder holds a run."""
        return (self.path / "config.json").exists()

    @property
    def is_finished(self) -> bool:
        """Whether training has ended and the trained weights exist."""
        return self.weights.is_file()

    def check_finished(self) -> None:
        """Check that training has ended.

        Raises:
            RunError: There are no trained weights.
        """
        if not self.is_finished:
            raise RunError(
                f"expected a finished run in {self.path}, found one without weights: finish it with --resume"
            )

    def start(self, config: RunConfig, facts: dict[str, Any], resume: bool) -> None:
        """Write configuration and provenance before the first step, or check those of a run to resume.

        Args:
            config: Resolved configuration.
            facts: Identity of the data and weights (split hash, version of the preprocessing, weight files); a resumed run must have the same.
            resume: Whether to resume the run in this folder.

        Raises:
            RunError: The folder holds a run and `resume` is false, or the run has other settings, data or weights.
        """
        if self.is_begun:
            self._check_same(config, facts, resume)
            return
        if resume:
            raise RunError(f"expected a run to resume in {self.path}, found none: start it without --resume")
        if self.path.exists() and any(self.path.iterdir()):
            raise RunError(f"expected a new or empty folder for the run, found files in {self.path}: name another")
        record = {"config_hash": config.hash, "seed": config.training.seed, "facts": facts, **provenance()}
        write_json(self.path / "provenance.json", record)
        write_json(self.path / "config.json", config.to_dict())

    def _check_same(self, config: RunConfig, facts: dict[str, Any], resume: bool) -> None:
        if not resume:
            raise RunError(
                f"expected no run in {self.path}, found one: go on with it by --resume, or name another folder"
            )
        if (found := self.config()) != config:
            raise RunError(
                f"expected the settings of the run in {self.path}, found different ones ({_difference(found, config)}): "
                "use its own settings or name another folder"
            )
        if (earlier := self.provenance().get("facts")) != json.loads(json.dumps(facts)):
            changed = ", ".join(key for key in facts if not isinstance(earlier, dict) or earlier.get(key) != facts[key])
            raise RunError(
                f"expected the data and weights of the run in {self.path}, found different ones ({changed or 'facts'}): "
                "name another folder"
            )

    def config(self) -> RunConfig:
        """Read the configuration of the run.

        Raises:
            RunError: The folder holds no run.
        """
        return config_from_table(self._json("config.json"), str(self.path / "config.json"))

    def provenance(self) -> dict[str, Any]:
        """Read the provenance of the run: seed, hashes, versions, commit.

        Raises:
            RunError: The folder holds no run.
        """
        return self._json("provenance.json")

    def _json(self, name: str) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(
                f"expected a run folder with {name} at {self.path}, found {error}: name a run folder"
            ) from error
        return record

    def write_metrics(self, history: Sequence[EpochResult]) -> None:
        """Write `metrics.csv`, atomically."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [entry.name for entry in fields(EpochResult)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(result) for result in history)
        write_text(self.path / "metrics.csv", text.getvalue())

    def read_metrics(self) -> list[dict[str, float]]:
        """Read the rows of `metrics.csv`, each a dictionary of column name to number.

        Raises:
            RunError: The file is missing or damaged.
        """
        try:
            with (self.path / "metrics.csv").open(encoding="utf-8", newline="") as stream:
                return [{key: float(value) for key, value in record.items()} for record in csv.DictReader(stream)]
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"expected metrics.csv in {self.path}, found {error}: train the run again") from error

    def summary(self) -> str:
        """Summary of the run in one line: number of epochs, validation loss and accuracy after the last.

        Raises:
            RunError: `metrics.csv` is missing or damaged.
        """
        last = self.read_metrics()[-1]
        return (
            f"{last['epoch']:.0f} epochs, validation loss {last['val_loss']:.4f}, accuracy {last['val_accuracy']:.3f}"
        )

    def write_tensorboard(self, history: Sequence[EpochResult]) -> None:
        """Write the curves of all epochs for TensorBoard; earlier files are removed, so that a resumed run has each epoch once."""
        from torch.utils.tensorboard import SummaryWriter

        folder = self.path / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        with SummaryWriter(str(folder)) as writer:
            for result in history:
                for name, value in asdict(result).items():
                    if name != "epoch":
                        writer.add_scalar(name, value, result.epoch)

    def save_weights(self, state: dict[str, Tensor]) -> None:
        """Write the trained weights, atomically, which marks the run as finished."""
        with atomic_write(self.weights) as temporary:
            temporary.write_bytes(serialise({name: tensor.contiguous() for name, tensor in state.items()}))

    def load_weights(self) -> dict[str, Tensor]:
        """Read the trained weights.

        Raises:
            RunError: Training has not ended, or the file is damaged.
        """
        try:
            return load_file(self.weights)
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"expected trained weights at {self.weights}, found {error}: finish the training with --resume"
            ) from error


def _difference(one: RunConfig, other: RunConfig) -> str:
    """Settings in which two configurations differ, as `key new instead of old`."""

    def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in table.items():
            result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return result

    first, second = flat(one.to_dict()), flat(other.to_dict())
    return ", ".join(f"{key} {second[key]!r} instead of {first[key]!r}" for key in first if first[key] != second[key])
