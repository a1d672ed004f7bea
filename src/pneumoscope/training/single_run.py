"""Training of one network: everything that it starts from in one record, and what happens around the loop."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoscope import paths
from pneumoscope.config import RunConfig
from pneumoscope.data.dataset import Dataset, acquisition_clusters, load_dataset
from pneumoscope.data.labelled import labelled_images, repeated
from pneumoscope.data.locate import Location
from pneumoscope.errors import ConfigError
from pneumoscope.files import write_text
from pneumoscope.training import distributed
from pneumoscope.training.callbacks import Callbacks, EpochResult, Observer
from pneumoscope.training.checkpoint import TrainingState
from pneumoscope.training.loop import train
from pneumoscope.training.networks import InitialWeights, build_network, find_pretrained, origin_of
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.types import Split


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a training starts from.

    Attributes:
        config: Configuration.
        dataset: Data set, split as the configuration says.
        run: Run folder, new or to be resumed.
        initial_weights: Trained weights that the network starts from.
        features: Folder for the features of a frozen base.
    """

    config: RunConfig
    dataset: Dataset
    run: RunFolder
    initial_weights: InitialWeights
    features: Path

    @property
    def facts(self) -> dict[str, Any]:
        """Identity of the data and of the initial weights, as the run folder keeps it."""
        return {
            "split_hash": self.dataset.split.hash,
            "weights": origin_of(self.config, self.initial_weights),
        }

    def start(self, resume: bool) -> None:
        """Writes configuration, provenance and the hashes of the training images, before the first step.

        Raises:
            RunError: A run is here and is not to be resumed, or was started with other settings.
        """
        self.run.start(self.config, self.facts, resume)
        # No image that a run is trained or stopped by may evaluate it later.
        used = [*self.dataset.positions(Split.TRAIN), *self.dataset.positions(Split.VALIDATION)]
        lines = "\n".join(self.dataset.index.rows[i].sha256 for i in used)
        write_text(self.run.path / "training_films.txt", lines + "\n")


def train_network(setup: TrainingSetup, observer: Observer, resume: bool) -> TrainingState:
    """Builds the network of a configuration and trains it into a run folder, from the start or from its checkpoint.

    Raises:
        PneumoscopeError: Settings, data, weights or folder are not as expected.
    """
    config, dataset = setup.config, setup.dataset
    classes = config.model.classes
    training, validation = (labelled_images(dataset, split, classes) for split in (Split.TRAIN, Split.VALIDATION))
    if config.training.odd_repeats > 1:
        clusters = distributed.in_turn(lambda: acquisition_clusters(dataset, paths.images_directory()))
        odd = clusters.minority_normals(training.positions, training.labels)
        training = repeated(training, odd, config.training.odd_repeats)
    model = build_network(config, setup.initial_weights)
    distributed.first(lambda: setup.start(resume))
    return train(model, training, validation, config, setup.run, setup.features, observer)


@dataclass(frozen=True)
class SingleRun:
    """A training outside the study, as a user asks for it.

    Attributes:
        config: Configuration.
        location: Data set.
        folder: Run folder.
        base: For a stacked cnn: the finished run of a cnn.
        inception_weights: For Inception V3: its weight file; found or downloaded where None.
        skip_unreadable: Whether to go on without images that cannot be read.
    """

    config: RunConfig
    location: Location
    folder: Path
    base: Path | None = None
    inception_weights: Path | None = None
    skip_unreadable: bool = False

    def __post_init__(self) -> None:
        architecture = self.config.model.architecture
        if (architecture == "stacked_cnn") != (self.base is not None):
            expected = "a finished cnn run by --base" if architecture == "stacked_cnn" else "no --base"
            raise ConfigError(
                f"expected {expected} for {architecture}, found {self.base or 'none'}: change the command"
            )


def train_run(asked: SingleRun, callbacks: Callbacks, resume: bool = False) -> EpochResult:
    """Trains a network into a run folder.

    Args:
        asked: The training.
        callbacks: Progress of data stages and of the training.
        resume: Whether to resume the run in the folder.

    Returns:
        The last epoch.

    Raises:
        PneumoscopeError: Settings, data, weights or folder are not as expected.
    """
    config = asked.config
    weights = InitialWeights(
        RunFolder(asked.base) if asked.base else None,
        distributed.in_turn(
            lambda: find_pretrained(config.model.architecture, asked.inception_weights, callbacks.progress)
        ),
    )
    dataset = distributed.in_turn(
        lambda: load_dataset(
            asked.location.root,
            config.preprocessing,
            config.split,
            paths.images_directory(),
            callbacks.progress,
            asked.skip_unreadable,
        )
    )
    setup = TrainingSetup(config, dataset, RunFolder(asked.folder), weights, asked.folder / "features")
    state = train_network(setup, callbacks.training, resume)
    distributed.first(lambda: remove_features(setup.features))
    return state.history[-1]


def remove_features(folder: Path) -> None:
    """Frees the gigabyte of a frozen base's features once no training needs them."""
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
