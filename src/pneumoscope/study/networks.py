"""A configuration or a finished run becomes a network, with the weights that it builds on."""

from dataclasses import dataclass
from pathlib import Path

from pneumoscope.config import RunConfig
from pneumoscope.errors import RunError
from pneumoscope.models.classifier import FilmClassifier
from pneumoscope.models.registry import BuildRequest, build_model
from pneumoscope.models.weights import WeightFile, find_inception_weights, load_inception_weights
from pneumoscope.training.run import RunFolder

RANDOM_BASE = {
    "file": "none",
    "sha256": "none",
    "description": "random weights: Keras' file was not to be had",
}


@dataclass(frozen=True)
class Foundations:
    """Trained weights that a network may build on.

    Attributes:
        trained_cnn: A finished run of a cnn.
        inception: Inception V3's weight file; None for random weights.
    """

    trained_cnn: RunFolder | None = None
    inception: WeightFile | None = None


def build_network(config: RunConfig, foundations: Foundations) -> FilmClassifier:
    """The network of a configuration with the weights with which its training starts.

    Raises:
        ConfigError: The architecture is unknown or does not fit the films.
        RunError: The run that it builds on is not finished.
        WeightsError: The weight file does not fit.
    """
    is_inception = config.model.architecture == "inception_v3"
    file = foundations.inception if is_inception else None
    model = build_model(
        config.model.architecture,
        BuildRequest(
            classes=config.model.classes,
            seed=config.training.seed,
            height=config.preprocessing.height,
            width=config.preprocessing.width,
            freeze_base=config.model.freeze_base,
            trained_cnn=load_network(foundations.trained_cnn) if foundations.trained_cnn else None,
            inception=load_inception_weights(file.path) if file else None,
        ),
    )
    if is_inception and config.model.freeze_base:
        model.base_origin = file.origin if file else None
    return model


def origin_of(config: RunConfig, foundations: Foundations) -> dict[str, str]:
    """Which weights a network builds on, for the run folder; empty where it builds on none."""
    if config.model.architecture == "inception_v3":
        return foundations.inception.origin if foundations.inception else RANDOM_BASE
    if foundations.trained_cnn is not None:
        earlier = foundations.trained_cnn
        return {
            "run": f"{earlier.path.parent.name}/{earlier.path.name}",
            "config_hash": earlier.config().hash,
        }
    return {}


def load_network(run: RunFolder, inception_weights: Path | None = None) -> FilmClassifier:
    """The trained network of a finished run.

    Raises:
        RunError: The run is not finished, or its base's weight file is another one.
    """
    config = run.config()
    origin = run.provenance().get("facts", {}).get("weights", {})
    inception = None
    if config.model.architecture == "inception_v3" and origin.get("file") not in (None, "none"):
        inception = find_inception_weights(inception_weights)
        if inception.sha256 != origin["sha256"]:
            raise RunError(
                f"expected the weight file {origin['file']} with SHA-256 {origin['sha256']}, found {inception.path.name} "
                f"with {inception.sha256}: name the right one by --inception-weights"
            )
    model = build_network(config, Foundations(inception=inception))
    model.load_own_state(run.load_weights())
    return model
