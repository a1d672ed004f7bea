"""The study's experiments: their settings, what they build on, and what the slides report of them."""

from dataclasses import dataclass

from pneumoscope.config import RunConfig
from pneumoscope.configs import shipped_config
from pneumoscope.errors import ConfigError


@dataclass(frozen=True)
class Experiment:
    """One network of the study.

    Attributes:
        name: Name of its configuration in `configs/study/`.
        title: For people.
        slides_accuracy: On the 624 test images, in [0, 1], from the slides; None for what they do not report.
        builds_on: The experiment whose trained convolutions it takes over, or empty.
        needs_inception: Whether it needs Inception V3's weights.
    """

    name: str
    title: str
    slides_accuracy: float | None
    builds_on: str = ""
    needs_inception: bool = False

    @property
    def config(self) -> RunConfig:
        """Its settings, for seed 0."""
        return shipped_config(self.name)


EXPERIMENTS = (
    Experiment("cnn_2_classes", "CNN, 2 classes", 0.81891),
    Experiment("cnn_3_classes", "CNN, 3 classes", 0.71154),
    Experiment("inception_v3", "Inception V3", 0.75321, needs_inception=True),
    Experiment("stacked_cnn", "CNN_1", 0.83654, builds_on="cnn_3_classes"),
    Experiment("stacked_cnn_thawed", "CNN_1, base thawed", None, builds_on="cnn_3_classes"),
)


def experiment(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        ConfigError: There is none.
    """
    for candidate in EXPERIMENTS:
        if candidate.name == name:
            return candidate
    raise ConfigError(
        f"expected an experiment out of {', '.join(e.name for e in EXPERIMENTS)}, found {name!r}: change it"
    )


def with_prerequisites(names: list[str]) -> list[Experiment]:
    """The named experiments (all where none is named) and what they build on, in the study's order."""
    wanted = {experiment(name).name for name in names} if names else {e.name for e in EXPERIMENTS}
    wanted |= {e.builds_on for e in EXPERIMENTS if e.name in wanted and e.builds_on}
    return [e for e in EXPERIMENTS if e.name in wanted]
