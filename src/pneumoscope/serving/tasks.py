"""Tasks of the service beside predictions: evidence as a picture, the grey levels of an image, and answers for a PACS."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from pneumoscope.data.reading import read_grey, read_image
from pneumoscope.errors import PneumoscopeError, UnreadableImage
from pneumoscope.inference.detector import Detector
from pneumoscope.inference.overlay import as_png, evidence_layer, overlay
from pneumoscope.inference.prediction import Prediction
from pneumoscope.inference.tasks import Each, PredictImages, Task
from pneumoscope.types import ImageHeader, NamedImage, PredictionRequest


@dataclass(frozen=True)
class GreyLevels:
    """Grey levels of an image.

    Attributes:
        height: Height in pixels.
        width: Width in pixels.
        bits: 8 or 16 bits per pixel.
        content: Grey levels row by row from the top left, little endian.
        header: Header of a DICOM object; None for other files.
    """

    height: int
    width: int
    bits: int
    content: bytes
    header: ImageHeader | None = None


@dataclass(frozen=True)
class DrawnEvidence:
    """Evidence of an image.

    Attributes:
        picture: PNG file.
        zones: Fractions of the evidence for pneumonia in each lung zone; None where the lungs could not be placed.
    """

    picture: bytes
    zones: dict[str, float] | None


@dataclass(frozen=True)
class DrawEvidence(Task[DrawnEvidence | UnreadableImage]):
    """Evidence as a picture and by lung zone; UnreadableImage where there is none.

    Attributes:
        alone: Whether to draw the evidence on a transparent ground, without the image.
    """

    images: Sequence[NamedImage]
    alone: bool = False

    def run(self, detector: Detector, each: Each) -> list[DrawnEvidence | UnreadableImage]:
        """The evidence of each image."""
        return [self._draw(detector, image) for image in each(self.images)]

    def _draw(self, detector: Detector, image: NamedImage) -> DrawnEvidence | UnreadableImage:
        try:
            pixels = read_grey(_path(image), image.content)
        except UnreadableImage as error:
            return error
        found = detector.predict(image, evidence=True)
        if found.evidence_map is None or found.frame is None:
            return UnreadableImage(found.detail)
        if self.alone:
            drawn = evidence_layer(found.evidence_map, found.frame, *pixels.shape)
        else:
            drawn = overlay(pixels, found.evidence_map, found.frame)
        return DrawnEvidence(as_png(drawn), found.zones)

    def reject(self, detector: Detector, cause: str) -> list[DrawnEvidence | UnreadableImage]:
        """Errors that say that the images cannot be decoded."""
        return [_undecodable(cause) for _ in self.images]


@dataclass(frozen=True)
class DecodeImages(Task[GreyLevels | UnreadableImage]):
    """Grey levels of images; UnreadableImage where there are none."""

    images: Sequence[NamedImage]

    def run(self, detector: Detector, each: Each) -> list[GreyLevels | UnreadableImage]:
        """Grey levels of each image."""
        return [_decode(image) for image in each(self.images)]

    def reject(self, detector: Detector, cause: str) -> list[GreyLevels | UnreadableImage]:
        """Errors that say that the images cannot be decoded."""
        return [_undecodable(cause) for _ in self.images]


@dataclass(frozen=True)
class MadeAnswers:
    """Answers to one image.

    Attributes:
        prediction: Prediction that they tell.
        files: Kind of answer to DICOM file; empty where none can be made.
        error: Reason why none can be made, in one line; empty where they are.
    """

    prediction: Prediction
    files: dict[str, bytes] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class MakeAnswers(Task[MadeAnswers]):
    """Predictions, and the DICOM objects that tell a PACS of them, as `pneumoscope pacs` sends them.

    Attributes:
        request: Settings of the predictions.
        kinds: Kinds of answers.
        station: Station name in the answers.
        made: Time of the answers, with its offset from UTC.
    """

    request: PredictionRequest
    kinds: tuple[str, ...]
    station: str
    made: datetime

    def run(self, detector: Detector, each: Each) -> list[MadeAnswers]:
        """Answers to each image."""
        predictions = PredictImages(self.images, replace(self.request, evidence=True)).run(detector, each)
        return [self._make(detector, *pair) for pair in each(list(zip(self.images, predictions, strict=True)))]

    def reject(self, detector: Detector, cause: str) -> list[MadeAnswers]:
        """Rejections, without answers: the header may be what cannot be decoded."""
        predictions = PredictImages(self.images, self.request).reject(detector, cause)
        return [MadeAnswers(prediction, error=str(_undecodable(cause))) for prediction in predictions]

    def _make(self, detector: Detector, image: NamedImage, prediction: Prediction) -> MadeAnswers:
        from pneumoscope.pacs.answers import AnswerSettings, file_of, make_answers, read_header

        try:
            pixels = read_grey(_path(image), image.content)
        except (UnreadableImage, MemoryError):
            pixels = None
        try:
            header, settings = read_header(image.content), AnswerSettings(self.kinds, self.station)
            answers = make_answers(header, prediction, pixels, detector.bundle.manifest, settings, self.made)
            return MadeAnswers(prediction, {kind: file_of(answer) for kind, answer in answers.items()})
        except Exception as error:  # pydicom and highdicom raise anything on a header that is odd enough
            known = isinstance(error, PneumoscopeError)
            return MadeAnswers(
                prediction, error=str(error) if known else f"no answer can be made ({type(error).__name__})"
            )


def _path(image: NamedImage) -> Path:
    return Path(image.name or "the bytes given")


def _decode(image: NamedImage) -> GreyLevels | UnreadableImage:
    try:
        pixels, header = read_image(_path(image), image.content)
    except UnreadableImage as error:
        return error
    height, width = pixels.shape
    ordered = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    return GreyLevels(height, width, pixels.itemsize * 8, ordered.tobytes(), header)


def _undecodable(cause: str) -> UnreadableImage:
    return UnreadableImage(f"expected a whole image, found one that cannot be decoded ({cause}): replace it")
