"""Training of one network into a run folder: its inputs, and the steps before and after the loop."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope import paths
from pneumoscope.config import RunConfig
from pneumoscope.data.dataset import Dataset, acquisition_clusters, load_dataset
from pneumoscope.data.labelled import labelled_images, oversample, repeat
from pneumoscope.data.locate import Location
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION
from pneumoscope.errors import ConfigError
from pneumoscope.files import write_text
from pneumoscope.training import distributed
from pneumoscope.training.callbacks import Callbacks, EpochResult, Observer
from pneumoscope.training.checkpoint import TrainingState
from pneumoscope.training.loop import train
from pneumoscope.training.networks import InitialWeights, build_network, find_pretrained, weights_origin
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.types import Split


@dataclass(frozen=True)
class TrainingSetup:
    """Inputs of a training.

    Attributes:
        config: Configuration.
        dataset: Data set with the split of the configuration.
        run: Run folder, new or to be resumed.
        initial_weights: Trained weights that the network starts from.
        features: Folder for the features of a frozen base.
        repeats: (n,) int, number of times that an epoch contains each training image; once each where None.
    """

    config: RunConfig
    dataset: Dataset
    run: RunFolder
    initial_weights: InitialWeights
    features: Path
    repeats: NDArray[np.int64] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Identity of the images, as they are prepared, and of the initial weights, as the run folder records it."""
        return {
            "split_hash": self.dataset.split.hash,
            "preprocessing_version": PREPROCESSING_VERSION,
            "weights": weights_origin(self.config, self.initial_weights),
        }

    def start(self, resume: bool) -> None:
        """Write configuration, provenance and the hashes of the training images, before the first step.

        Args:
            resume: Whether to resume the run in the folder.

        Raises:
            RunError: The folder holds a run and `resume` is false, or the run has other settings, data or weights.
        """
        self.run.start(self.config, self.facts, resume)
        # Recorded so that no image used for training or early stopping is used for evaluation later.
        used = [*self.dataset.positions(Split.TRAIN), *self.dataset.positions(Split.VALIDATION)]
        lines = "\n".join(self.dataset.index.rows[i].sha256 for i in used)
        write_text(self.run.path / "training_films.txt", lines + "\n")


def train_network(setup: TrainingSetup, observer: Observer, resume: bool) -> TrainingState:
    """Build the network of a configuration and train it into its run folder, from the start or from its checkpoint.

    Args:
        setup: Inputs of the training.
        observer: Receiver of the progress.
        resume: Whether to resume the run in the folder.

    Returns:
        State at the end, with the result of each epoch.

    Raises:
        PneumoscopeError: Settings, data, weights or folder are not as expected.
    """
    config, dataset = setup.config, setup.dataset
    classes = config.model.classes
    training, validation = (labelled_images(dataset, split, classes) for split in (Split.TRAIN, Split.VALIDATION))
    if config.training.odd_repeats > 1:
        clusters = distributed.first_rank_then_others(lambda: acquisition_clusters(dataset, paths.images_directory()))
        minority = clusters.minority_normals(training.positions, training.labels)
        training = oversample(training, minority, config.training.odd_repeats)
    if setup.repeats is not None:
        training = repeat(training, setup.repeats)
    model = build_network(config, setup.initial_weights)
    distributed.on_first_rank(lambda: setup.start(resume))
    return train(model, training, validation, config, setup.run, setup.features, observer)


@dataclass(frozen=True)
class SingleRun:
    """Training of one network outside the study, as the command `train` specifies it.

    Attributes:
        config: Configuration.
        location: Data set.
        folder: Run folder.
        base: Folder of the finished run of a cnn, for a stacked cnn only.
        inception_weights: Weight file of Inception V3; found or downloaded where None.
        skip_unreadable: Whether to leave out images that cannot be read.
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


def train_run(request: SingleRun, callbacks: Callbacks, resume: bool = False) -> EpochResult:
    """Train a network into a run folder.

    Args:
        request: Training to run.
        callbacks: Progress of data stages and of the training.
        resume: Whether to resume the run in the folder.

    Returns:
        Result of the last epoch.

    Raises:
        PneumoscopeError: Settings, data, weights or folder are not as expected.
    """
    config = request.config
    weights = InitialWeights(
        RunFolder(request.base) if request.base else None,
        distributed.first_rank_then_others(
            lambda: find_pretrained(config.model.architecture, request.inception_weights, callbacks.progress)
        ),
    )
    dataset = distributed.first_rank_then_others(
        lambda: load_dataset(
            request.location,
            config.preprocessing,
            config.split,
            paths.images_directory(),
            callbacks.progress,
            request.skip_unreadable,
        )
    )
    setup = TrainingSetup(config, dataset, RunFolder(request.folder), weights, request.folder / "features")
    state = train_network(setup, callbacks.training, resume)
    distributed.on_first_rank(lambda: remove_features(setup.features))
    return state.history[-1]


def remove_features(folder: Path) -> None:
    """Delete the stored features of a frozen base, about a gigabyte, once no training needs them."""
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
