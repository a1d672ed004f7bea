"""A configuration or a finished run becomes a network, with the weights that it builds on."""

from dataclasses import dataclass
from pathlib import Path

from pneumoscope.config import RunConfig
from pneumoscope.errors import RunError
from pneumoscope.models.catalogue import architecture
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.models.lite_weights import find_lite_weights
from pneumoscope.models.registry import build_model
from pneumoscope.models.weights import WeightFile, find_inception_weights
from pneumoscope.progress import Report, silent
from pneumoscope.training.run_folder import RunFolder

RANDOM_BASE = {
    "file": "none",
    "sha256": "none",
    "description": "random weights: the published ones were not to be had",
}


@dataclass(frozen=True)
class InitialWeights:
    """Trained weights that a network may build on.

    Attributes:
        trained_cnn: A finished run of a cnn.
        pretrained: The weight file that the architecture starts from; None for random weights.
    """

    trained_cnn: RunFolder | None = None
    pretrained: WeightFile | None = None


def find_pretrained(name: str, inception_weights: Path | None, report: Report = silent) -> WeightFile | None:
    """The published weights that an architecture starts from; None where it starts from none.

    Args:
        name: Of the architecture.
        inception_weights: Inception V3's weight file; found or downloaded where None.
        report: Told of a download.

    Raises:
        ConfigError: No such architecture.
        WeightsError: A file was named and is not there, or a package is not installed.
        DownloadError: A file is not at hand and cannot be had.
    """
    kind = architecture(name).pretrained
    if kind == "inception_v3":
        return find_inception_weights(inception_weights, report)
    return find_lite_weights() if kind == "lite0" else None


def build_network(config: RunConfig, initial_weights: InitialWeights) -> ImageClassifier:
    """The network of a configuration with the weights with which its training starts.

    Raises:
        ConfigError: The architecture is unknown or does not fit the images.
        RunError: The run that it builds on is not finished.
        WeightsError: The weight file does not fit.
    """
    file = initial_weights.pretrained
    model = build_model(
        config.model,
        config.training.seed,
        config.preprocessing.height,
        config.preprocessing.width,
        file.path if file else None,
        load_network(initial_weights.trained_cnn) if initial_weights.trained_cnn else None,
    )
    # A frozen base is not saved with the run where its file can be named instead.
    if file and config.model.freeze_base:
        model.base_origin = file.origin
    return model


def origin_of(config: RunConfig, initial_weights: InitialWeights) -> dict[str, str]:
    """Which weights a network builds on, for the run folder; empty where it builds on none."""
    if architecture(config.model.architecture).pretrained:
        return initial_weights.pretrained.origin if initial_weights.pretrained else RANDOM_BASE
    if initial_weights.trained_cnn is not None:
        earlier = initial_weights.trained_cnn
        return {
            "run": f"{earlier.path.parent.name}/{earlier.path.name}",
            "config_hash": earlier.config().hash,
        }
    return {}


def load_network(run: RunFolder, inception_weights: Path | None = None) -> ImageClassifier:
    """The trained network of a finished run.

    Raises:
        RunError: The run is not finished, or its base's weight file is another one.
    """
    config = run.config()
    origin = run.provenance().get("facts", {}).get("weights", {})
    file = None
    # Weights that were trained further lie in the run whole.
    if config.model.freeze_base and origin.get("file") not in (None, "none"):
        file = find_pretrained(config.model.architecture, inception_weights)
        if file and file.sha256 != origin["sha256"]:
            raise RunError(
                f"expected the weight file {origin['file']} with SHA-256 {origin['sha256']}, found {file.path.name} "
                f"with {file.sha256}: name the right one by --inception-weights"
            )
    model = build_network(config, InitialWeights(pretrained=file))
    model.load_own_state(run.load_weights())
    return model
