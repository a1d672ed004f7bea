"""Tasks of the worker pool: what a worker process does with some images and a detector."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pneumoscope.inference.prediction import Prediction
from pneumoscope.types import PredictionRequest, UnreadImage

if TYPE_CHECKING:  # the process that hands out tasks needs none of these
    from pneumoscope.decision import Floats
    from pneumoscope.inference.decide import ImageScore
    from pneumoscope.inference.detector import Detector

Each = Callable[[Iterable[Any]], Iterable[Any]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Task(ABC, Generic[Result]):
    """Work on a few images, with one result for each image in their order.

    Attributes:
        images: Paths; `NamedImage`s and `UnreadImage`s; or grey levels, (height, width) uint8 or uint16.
    """

    images: Sequence[Any]

    @abstractmethod
    def run(self, detector: "Detector", each: Each) -> list[Result]:
        """Computes the results of all images; images are drawn through `each`, which limits the time of each."""

    @abstractmethod
    def reject(self, detector: "Detector", cause: str) -> list[Result]:
        """Results where the images could not be decoded, for a cause in words."""

    def split(self) -> list["Task[Result]"]:
        """Splits the task into tasks of one image."""
        return [replace(self, images=[image]) for image in self.images]

    def without_content(self) -> "Task[Result]":
        """Copies the task with the names of its images alone, for `reject`."""
        return replace(self, images=[name_of(image) for image in self.images])


def name_of(image: Any) -> str:
    """Name of an image; empty for grey levels."""
    return image if isinstance(image, str) else getattr(image, "name", "")


@dataclass(frozen=True)
class PredictImages(Task[Prediction]):
    """Predictions, with overlays of the evidence where a folder is given.

    Attributes:
        request: Settings of the predictions.
        overlays: Folder for the overlays; none are drawn where None.
    """

    request: PredictionRequest = field(default_factory=PredictionRequest)
    overlays: Path | None = None

    def run(self, detector: "Detector", each: Each) -> list[Prediction]:
        """Predictions of all images."""
        request, evidence = self.request, self.request.evidence or self.overlays is not None
        predictions = detector.predict_many(
            each(self.images), request.operating_point, request.prevalence, evidence, request.accept
        )
        if self.overlays is None:
            return list(predictions)
        # A large overlay takes seconds: it has a time of its own, beside that of decoding.
        return [with_overlay(prediction, self.overlays) for prediction in each(list(predictions))]

    def reject(self, detector: "Detector", cause: str) -> list[Prediction]:
        """Rejections of all images as unreadable."""
        unread = [UnreadImage(name_of(image), cause) for image in self.images]
        return list(detector.predict_many(unread, self.request.operating_point, self.request.prevalence))


@dataclass(frozen=True)
class ScoreImages(Task["ImageScore"]):
    """Scores, those of rejected images included, for evaluation."""

    def run(self, detector: "Detector", each: Each) -> list["ImageScore"]:
        """Scores of all images."""
        return list(detector.score_many(each(self.images), rejected_too=True))

    def reject(self, detector: "Detector", cause: str) -> list["ImageScore"]:
        """Scores of unreadable images."""
        return list(detector.score_many([UnreadImage(name_of(image), cause) for image in self.images]))


@dataclass(frozen=True)
class ProbabilitiesOfImages(Task["Floats | str"]):
    """(classes,) float64 probabilities of images given as grey levels, without the input guard."""

    def run(self, detector: "Detector", each: Each) -> list["Floats | str"]:
        """Probabilities of all images."""
        import numpy as np

        from pneumoscope.data.preprocessing import prepare

        settings = detector.bundle.manifest.preprocessing
        return list(detector.class_probabilities(np.stack([prepare(image, settings) for image in each(self.images)])))

    def reject(self, detector: "Detector", cause: str) -> list["Floats | str"]:
        """Cause for each image."""
        return [cause] * len(self.images)


def with_overlay(prediction: Prediction, folder: Path) -> Prediction:
    """Writes the overlay of a prediction and replaces its evidence map by the path, which is all that processes exchange."""
    if prediction.evidence_map is None or prediction.frame is None:
        return prediction
    from pneumoscope.data.reading import read_grey
    from pneumoscope.errors import UnreadableImage
    from pneumoscope.files import atomic_write
    from pneumoscope.inference.overlay import overlay_png

    source = Path(prediction.file)
    try:
        drawn = overlay_png(read_grey(source), prediction.evidence_map, prediction.frame)
    except (UnreadableImage, MemoryError):  # changed meanwhile, or too large to be drawn: the prediction stays
        return replace(prediction, evidence_map=None)
    # Files of one name in several folders keep apart by their contents.
    path = folder / f"{source.stem}-{prediction.sha256[:12]}.png"
    with atomic_write(path) as temporary:
        temporary.write_bytes(drawn)
    return replace(prediction, evidence=str(path), evidence_map=None)
