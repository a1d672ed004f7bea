"""Evaluation of runs and bundles: split, purpose, ledger, and the report that it writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.assessment.ledger import record_evaluation
from pneumoscope.assessment.report import ReportContext, measure, write_report
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.labelled import LabelledImages
from pneumoscope.evaluation.metrics import Floats
from pneumoscope.evaluation.predictions import PredictionTable
from pneumoscope.types import ClassScheme, Split


@dataclass(frozen=True)
class Evaluation:
    """An evaluation on one split of a data set.

    Attributes:
        split: Split to evaluate: validation or test; train to detect overfitting; None for all images of a site.
        why: Purpose, for the ledger.
        ledger: File of JSON lines that gets a line where `split` is test and the images are real; none is kept where None.
        synthetic: Whether the images are phantoms.
        required: Name of a measure of a bundle's decisions to its least value.
        accept: Reasons out of `types.OUTSIDE` for which a bundle does not refer images.
    """

    split: Split | None
    why: str
    ledger: Path | None = None
    synthetic: bool = False
    required: Mapping[str, float] = field(default_factory=dict)
    accept: tuple[str, ...] = ()

    @property
    def images(self) -> str:
        """Name of the images in reports."""
        return "all" if self.split is None else self.split.value

    def write(
        self,
        table: PredictionTable,
        images: NDArray[np.uint8],
        context: ReportContext,
        folder: Path,
        acceptance: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Measure, record the evaluation in the ledger, and write the report.

        Args:
            table: Probabilities and labels.
            images: (n, height, width) uint8, in the order of the table.
            context: Title and provenance.
            folder: Folder of the report.
            acceptance: Measures of a bundle's decisions; None for a network alone.

        Returns:
            The report, as in `report.json`.
        """
        record = measure(table, context) | ({"acceptance": acceptance} if acceptance else {})
        # The ledger comes first, so that an evaluation killed while it writes the report is counted.
        if self.ledger is not None and self.split is Split.TEST and not self.synthetic:
            record_evaluation(self.ledger, record, self.why)
        return write_report(record, table, images, context, folder)


def prediction_table(
    dataset: Dataset,
    data: LabelledImages,
    scheme: ClassScheme,
    probability: Floats,
    threshold: float | None = None,
) -> PredictionTable:
    """Table of probabilities, (n, classes), and labels of some images of a data set."""
    paths, patients = dataset.paths(data.positions), dataset.patients(data.positions)
    return PredictionTable(scheme.names, tuple(paths), tuple(patients), data.labels, probability, threshold)
