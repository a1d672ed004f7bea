"""Records of `results/`, and the line that says where one comes from."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quoting.package import SHIPPED, load_predictions, pneumonia_probability

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"

Record = dict[str, Any]
Blocks = dict[str, Callable[[], str]]


@dataclass(frozen=True)
class Predictions:
    """Predictions on the test images.

    Attributes:
        probability: (n,) float in [0, 1], probability of pneumonia.
        positive: (n,) bool, pneumonia by the reference label.
    """

    probability: NDArray[np.float64]
    positive: NDArray[np.bool_]

    def accuracy(self, threshold: float) -> float:
        """Two-class accuracy at a threshold, in [0, 1]."""
        return float(((self.probability >= threshold) == self.positive).mean())


def read(name: str) -> Record:
    """Read a JSON record by its path below `results/`."""
    record: Record = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return record


def read_predictions(folder: str) -> Predictions:
    """Read the `predictions.csv` of a folder below `results/`."""
    table = load_predictions(RESULTS / folder / "predictions.csv")
    return Predictions(pneumonia_probability(table.probability), table.label > 0)


def study_models() -> list[Record]:
    """Models of the study's comparison, in its order."""
    models: list[Record] = read("study/comparison.json")["models"]
    return models


def detector_reports() -> dict[str, Record]:
    """Test report of each shipped detector, by name."""
    return {name: read(f"detector/{name}/report.json") for name in SHIPPED}


def provenance(record: Record) -> str:
    """Commit, day and machine of a measurement, one sentence."""
    return f"Commit {record['commit']}, {record['date'][:10]}, {record['machine']}."


def source(record: Record) -> str:
    """Command and provenance of a measurement."""
    return f"`{record['command']}`. {provenance(record)}"
