"""Networks of configurations and of finished runs, and the weights they start from."""

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
    """Trained weights that a network may start from.

    Attributes:
        trained_cnn: Finished run of a cnn, for a stacked cnn.
        pretrained: Weight file that the architecture starts from; None for random weights.
    """

    trained_cnn: RunFolder | None = None
    pretrained: WeightFile | None = None


def find_pretrained(name: str, inception_weights: Path | None, report: Report = silent) -> WeightFile | None:
    """Find the published weights that an architecture starts from.

    Args:
        name: Name of the architecture.
        inception_weights: Weight file of Inception V3; found or downloaded where None.
        report: Progress of a download.

    Returns:
        Weight file; None where the architecture starts from none.

    Raises:
        ConfigError: The architecture is unknown.
        WeightsError: The named file does not exist, or a package is not installed.
        DownloadError: The file is not cached and cannot be downloaded.
    """
    pretrained = architecture(name).pretrained
    if pretrained == "inception_v3":
        return find_inception_weights(inception_weights, report)
    return find_lite_weights() if pretrained == "lite0" else None


def build_network(config: RunConfig, initial_weights: InitialWeights) -> ImageClassifier:
    """Build the network of a configuration with its initial weights.

    Raises:
        ConfigError: The architecture is unknown or does not fit the images.
        RunError: The run that it starts from is not finished.
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
    # A frozen base is not saved with the run where the run can name its file instead.
    if file and config.model.freeze_base:
        model.base_origin = file.origin
    return model


def weights_origin(config: RunConfig, initial_weights: InitialWeights) -> dict[str, str]:
    """Origin of the initial weights, as the run folder records it; empty where no trained weights are used."""
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
    """Load the trained network of a finished run.

    Raises:
        RunError: The run is not finished, or the weight file of its base is a different one.
    """
    config = run.config()
    origin = run.provenance().get("facts", {}).get("weights", {})
    file = None
    # Fine-tuned weights are saved with the run in full.
    if config.model.freeze_base and origin.get("file") not in (None, "none"):
        file = find_pretrained(config.model.architecture, inception_weights)
        if file and file.sha256 != origin["sha256"]:
            raise RunError(
                f"expected the weight file {origin['file']} with SHA-256 {origin['sha256']}, found {file.path.name} "
                f"with {file.sha256}: name the right one with --inception-weights"
            )
    model = build_network(config, InitialWeights(pretrained=file))
    model.load_own_state(run.load_weights())
    return model
