"""Experiments of the study: configurations, prerequisites and the accuracies on the slides."""

from dataclasses import dataclass

from pneumoscope.config import RunConfig
from pneumoscope.configs import shipped_config
from pneumoscope.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Experiment:
    """One network of the study.

    Attributes:
        name: Name of its configuration in `configs/study/`.
        title: Title in tables and figures.
        slides_accuracy: Accuracy on the 624 test images as on the slides, in [0, 1]; None where they report none.
        builds_on: Name of the experiment whose trained convolutions it takes over; empty for none.
        needs_inception: Whether it starts from the weights of Inception V3.
    """

    name: str
    title: str
    slides_accuracy: float | None
    builds_on: str = ""
    needs_inception: bool = False

    @property
    def config(self) -> RunConfig:
        """Configuration for seed 0."""
        return shipped_config(self.name)


EXPERIMENTS = (
    Experiment("cnn_2_classes", "CNN, 2 classes", 0.81891),
    Experiment("cnn_3_classes", "CNN, 3 classes", 0.71154),
    Experiment("inception_v3", "Inception V3", 0.75321, needs_inception=True),
    Experiment("stacked_cnn", "CNN_1", 0.83654, builds_on="cnn_3_classes"),
    Experiment("stacked_cnn_thawed", "CNN_1, base thawed", None, builds_on="cnn_3_classes"),
)


def experiment(name: str) -> Experiment:
    """Experiment by its name.

    Raises:
        ConfigError: Unknown name.
    """
    for candidate in EXPERIMENTS:
        if candidate.name == name:
            return candidate
    names = [each.name for each in EXPERIMENTS]
    raise ConfigError(
        f"expected an experiment out of {', '.join(names)}, found {name!r}{did_you_mean(name, names)}: change it"
    )


def with_prerequisites(names: list[str]) -> list[Experiment]:
    """Experiments by their names, all for an empty list, and those that they build on, in the study's order."""
    wanted = {experiment(name).name for name in names} if names else {e.name for e in EXPERIMENTS}
    wanted |= {e.builds_on for e in EXPERIMENTS if e.name in wanted and e.builds_on}
    return [e for e in EXPERIMENTS if e.name in wanted]
