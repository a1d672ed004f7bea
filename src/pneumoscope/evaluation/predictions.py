"""Table of predicted probabilities and reference labels, in memory and as `predictions.csv`."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pneumoscope.decision import predicted_classes
from pneumoscope.errors import DataError
from pneumoscope.evaluation.metrics import Floats, Ints, check_probabilities
from pneumoscope.files import write_text


@dataclass(frozen=True)
class PredictionTable:
    """Predicted probabilities and reference labels.

    Attributes:
        class_names: (classes,) names; the first is normal.
        paths: (n,) path of each image.
        patients: (n,) patient identifier of each image.
        label: (n,) int, reference class.
        probability: (n, classes) float in [0, 1], rows summing to 1.
        threshold: Probability of pneumonia from which on the prediction is pneumonia, in [0, 1]; None for the most probable
            class, as in the study.
    """

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    patients: tuple[str, ...]
    label: Ints
    probability: Floats
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_probabilities(self.probability, self.label)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def predicted(self) -> Ints:
        """(n,) int, predicted class of each image."""
        return predicted_classes(self.probability, self.threshold)


def save_predictions(table: PredictionTable, path: Path) -> None:
    """Write `predictions.csv`: path, patient, label and a probability per class with 6 decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "patient", "label", *(f"probability_{name}" for name in table.class_names)])
    for i in range(len(table)):
        values = [f"{p:.6f}" for p in table.probability[i]]
        writer.writerow([table.paths[i], table.patients[i], table.class_names[table.label[i]], *values])
    write_text(path, text.getvalue())


def load_predictions(path: Path) -> PredictionTable:
    """Read a `predictions.csv`.

    Raises:
        DataError: File missing or not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            columns = [name for name in reader.fieldnames or () if name.startswith("probability_")]
            names = tuple(name.removeprefix("probability_") for name in columns)
            rows = list(reader)
        label = np.array([names.index(row["label"]) for row in rows], dtype=np.int64)
        probability = np.array([[float(row[name]) for name in columns] for row in rows], dtype=np.float64)
        return PredictionTable(
            names,
            tuple(row["path"] for row in rows),
            tuple(row["patient"] for row in rows),
            label,
            probability,
        )
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"expected a predictions.csv at {path}, found {error}: evaluate the run again") from error
