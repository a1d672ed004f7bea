"""The one detector behind every way of asking: films in, calibrated probabilities and evidence out."""

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pneumoscope.bundle import EVIDENCE, INPUT, LOGITS, Bundle, load_bundle
from pneumoscope.data.alignment import load_atlas
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION
from pneumoscope.errors import BundleError, InputError

SHIPPED = ("default", "nano")
_BATCH = 32
# Of logits between one processor or version of the runtime and another.
_GOLDEN_TOLERANCE = 1e-3


class Detector:
    """Runs a bundle.

    Attributes:
        bundle: What it runs.
    """

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        """Prepares a bundle's network.

        Args:
            bundle: Loaded and so checked.
            threads: For one film or batch; 0 for as many as there are cores.

        Raises:
            BundleError: The runtime cannot read the network, or this version prepares films otherwise.
        """
        if (made_for := bundle.manifest.preprocessing_version) != PREPROCESSING_VERSION:
            raise BundleError(
                f"expected a bundle made for version {PREPROCESSING_VERSION} of the preprocessing, found {made_for}: take the "
                "version of pneumoscope that made it, or make it anew"
            )
        self.bundle = bundle
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has an exception class of its own for every sort of damage
            raise BundleError(
                f"expected an ONNX network that this runtime reads, found {str(error).splitlines()[0]}: "
                "update onnxruntime or get the bundle anew"
            ) from error

    def logits(self, films: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes) float32 of prepared films (n, height, width) uint8.

        Raises:
            InputError: Films of another size or type than the manifest's preprocessing gives.
        """
        return self._run(films, [LOGITS])[0]

    def evidence(self, films: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes, rows, columns) float32: what each place of each film adds to the logits.

        Raises:
            InputError: Films of another size or type, or a network that gives no evidence map.
        """
        if EVIDENCE not in {output.name for output in self._session.get_outputs()}:
            raise InputError(
                f"expected a network with an evidence map, found {self.bundle.manifest.architecture}: use another bundle"
            )
        return self._run(films, [EVIDENCE])[0]

    def class_probabilities(self, films: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(n, classes) float64 in [0, 1], calibrated, rows summing to 1, of prepared films (n, height, width) uint8."""
        return self.bundle.manifest.calibration.probabilities(self.logits(films))

    def unlike(self, films: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(n,) bool, which prepared films (n, height, width) uint8 are too unlike those that the network learnt from.

        Only a film's outlines count here, so a film that passes may still be of another age or country.
        """
        least = self.bundle.manifest.least_similarity
        if least <= -1:
            return np.zeros(len(films), dtype=np.bool_)
        return np.array([load_atlas().similarity(film) < least for film in films], dtype=np.bool_)

    def verify(self) -> float:
        """Runs the golden films; gives the largest difference of their logits from what they must be.

        Raises:
            BundleError: It is more than rounding.
        """
        golden = self.bundle.golden
        difference = float(np.abs(self.logits(golden[INPUT]) - golden[LOGITS]).max())
        if not difference <= _GOLDEN_TOLERANCE:
            raise BundleError(
                f"expected the golden logits within {_GOLDEN_TOLERANCE:g}, found a difference of {difference:g}: "
                "get the bundle anew, or report processor and onnxruntime version"
            )
        return difference

    def _run(self, films: NDArray[np.uint8], outputs: list[str]) -> list[NDArray[np.float32]]:
        settings = self.bundle.manifest.preprocessing
        if films.ndim != 3 or films.shape[1:] != (settings.height, settings.width) or films.dtype != np.uint8:
            raise InputError(
                f"expected films of (n, {settings.height}, {settings.width}) uint8, found {films.shape} {films.dtype}: "
                "prepare them with the manifest's preprocessing"
            )
        parts = [
            self._session.run(outputs, {INPUT: np.ascontiguousarray(films[start : start + _BATCH])})
            for start in range(0, max(len(films), 1), _BATCH)
        ]
        return [np.concatenate(values) for values in zip(*parts, strict=True)]


def load_detector(bundle: Path | str = "default", threads: int = 0) -> Detector:
    """A detector that ships with the package, by name, or one of your own, by path.

    Args:
        bundle: `default`, `nano`, or the path of a bundle.
        threads: For one film or batch; 0 for as many as there are cores.

    Raises:
        BundleError: Missing, damaged, altered, or of a newer format.
    """
    if isinstance(bundle, str) and bundle in SHIPPED:
        with as_file(files("pneumoscope").joinpath("bundles", f"{bundle}.zip")) as path:
            if not path.is_file():
                raise BundleError(
                    f"expected the detector {bundle} in this version of pneumoscope, found none: name a bundle of your own"
                )
            return Detector(load_bundle(path), threads)
    return Detector(load_bundle(Path(bundle)), threads)
