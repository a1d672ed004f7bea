"""Stress test of any model: does it read the lung or the file?

from pneumoscope.stress import Radiographs, stress_test
test = stress_test(predict, Radiographs(images, positive, patients, names))
print(*test.verdict.sentences)
"""

from pathlib import Path

from pneumoscope.progress import Progress, ignored
from pneumoscope.stress.battery import CORRUPTED, battery
from pneumoscope.stress.comparison import compare, write_comparison
from pneumoscope.stress.measuring import measure
from pneumoscope.stress.radiographs import Radiographs, read_radiographs
from pneumoscope.stress.report import StressTest, write_report
from pneumoscope.stress.running import HOURS, Predict, run_battery
from pneumoscope.stress.stressed_model import USUAL_THRESHOLD
from pneumoscope.stress.verdict import verdict_on

__all__ = [
    "Radiographs",
    "StressTest",
    "compare",
    "read_radiographs",
    "stress_test",
    "write_comparison",
    "write_report",
]


def stress_test(
    predict: Predict,
    radiographs: Radiographs,
    *,
    model: str = "model",
    identity: str = "",
    threshold: float = USUAL_THRESHOLD,
    threshold_from: str = "",
    corrupted: int = CORRUPTED,
    folder: Path | None = None,
    hours: float = HOURS,
    progress: Progress = ignored,
) -> StressTest:
    """Stress test of a model.

    Args:
        predict: Function of (n, side, side) uint8 images to (n,) probabilities of the positive class, in [0, 1].
        radiographs: Labelled radiographs.
        model: Name of the model for the report.
        identity: Hash or name that tells this model from others, for what is stored in `folder`; `model` where empty.
        threshold: Probability from which on the model calls a radiograph positive.
        threshold_from: Radiographs on which it was chosen, in words; empty where it was not chosen on any.
        corrupted: Number of radiographs for each corruption and strength; 0 for none.
        folder: Folder below which predictions are stored, from which an interrupted test goes on; None for none.
        hours: Time that the model may take for all images that are still to be shown.
        progress: Callback with the number of images done and their total.

    Raises:
        InputError: The model gives no probabilities, or has the classes exchanged.
        RunError: The model raises an error, or is too slow.
    """
    trials = battery(corrupted)
    predictions = run_battery(predict, radiographs, trials, folder, identity or model, hours, progress)
    measures = measure(radiographs, trials, predictions, threshold)
    return StressTest(
        model, radiographs, trials, predictions, threshold, measures, verdict_on(measures), threshold_from
    )
