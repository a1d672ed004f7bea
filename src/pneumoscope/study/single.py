"""One network outside the study: trained from a configuration, or evaluated on a data set."""

from pathlib import Path
from typing import Any

from pneumoscope import places
from pneumoscope.config import RunConfig, SplitConfig
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import Location
from pneumoscope.errors import ConfigError
from pneumoscope.inference.detector import load_detector
from pneumoscope.presentation.progress import Report
from pneumoscope.study.assessment import assess, assess_bundle
from pneumoscope.study.networks import Foundations, find_pretrained
from pneumoscope.study.study import Listeners, remove_features, train_network
from pneumoscope.training import team
from pneumoscope.training.run import RunFolder
from pneumoscope.types import Split


def train_run(
    config: RunConfig,
    location: Location,
    folder: Path,
    listeners: Listeners,
    resume: bool = False,
    base: Path | None = None,
    inception_weights: Path | None = None,
    skip_unreadable: bool = False,
) -> dict[str, Any]:
    """Trains a network into a run folder.

    Args:
        config: All settings.
        location: The data set.
        folder: Of the run.
        listeners: Told of progress.
        resume: Go on with the run in `folder`.
        base: For a stacked cnn: the finished run of a cnn.
        inception_weights: For Inception V3: its weight file; found or downloaded where None.
        skip_unreadable: Go on without films that cannot be read.

    Returns:
        Run folder, epochs, and validation loss and accuracy after the last of them.

    Raises:
        PneumoscopeError: Settings, data, weights or folder are not as expected.
    """
    architecture = config.model.architecture
    if (architecture == "stacked_cnn") != (base is not None):
        expected = "a finished cnn run by --base" if architecture == "stacked_cnn" else "no --base"
        raise ConfigError(f"expected {expected} for {architecture}, found {base or 'none'}: change the command")
    foundations = Foundations(
        RunFolder(base) if base else None,
        team.in_turn(lambda: find_pretrained(architecture, inception_weights, listeners.report)),
    )
    dataset = team.in_turn(
        lambda: load_dataset(
            location.root,
            config.preprocessing,
            config.split,
            places.films_directory(),
            listeners.report,
            skip_unreadable,
        )
    )
    run = RunFolder(folder)
    state = train_network(config, dataset, run, foundations, folder / "features", listeners.observer, resume)
    team.first(lambda: remove_features(folder / "features"))
    last = state.history[-1]
    return {
        "run": str(folder),
        "epochs": last.epoch,
        "val_loss": last.val_loss,
        "val_accuracy": last.val_accuracy,
    }


def evaluate_run(
    folder: Path,
    location: Location,
    side: Split,
    why: str,
    ledger: Path,
    report: Report,
    inception_weights: Path | None = None,
    skip_unreadable: bool = False,
) -> dict[str, Any]:
    """Evaluates a finished run on one side of a data set; see `assess`."""
    run = RunFolder(folder)
    config = run.config()
    dataset = load_dataset(
        location.root,
        config.preprocessing,
        config.split,
        places.films_directory(),
        report,
        skip_unreadable,
    )
    return assess(run, dataset, side, why, ledger, location.synthetic, inception_weights)


def evaluate_bundle(
    bundle: Path | str,
    location: Location,
    side: Split,
    why: str,
    ledger: Path,
    report: Report,
    folder: Path,
    skip_unreadable: bool = False,
) -> dict[str, Any]:
    """Evaluates a bundle on one side of a data set; see `assess_bundle`."""
    detector = load_detector(bundle)
    dataset = load_dataset(
        location.root,
        detector.bundle.manifest.preprocessing,
        SplitConfig(),
        places.films_directory(),
        report,
        skip_unreadable,
    )
    return assess_bundle(detector, dataset, side, why, ledger, location.synthetic, folder)
