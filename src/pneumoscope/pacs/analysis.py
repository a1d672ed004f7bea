"""Analysis in a worker process: prediction, and the files of the answers beside that of the image."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope.errors import DataError, PneumoscopeError
from pneumoscope.inference.tasks import Each, PredictImages, Task
from pneumoscope.pacs import FHIR
from pneumoscope.types import Decision, PredictionRequest

if TYPE_CHECKING:  # the process that hands out tasks needs none of these
    from pneumoscope.inference.detector import Detector
    from pneumoscope.inference.prediction import Prediction


@dataclass(frozen=True)
class AnsweredImage:
    """Result for one image.

    Attributes:
        prediction: Prediction as plain data, without the name of the file.
        decision: Decision by the name of the standard classes: normal, pneumonia, refer, rejected.
        outside: Whether the image is referred since the detector was not validated on such.
        bundle_sha256: Hash of the bundle.
        kinds: Kinds of the answers that were written.
        error: Description of a failure to write the answers, in one line; empty where they are written.
        is_at_fault: Whether the failure is the image's, not that of the disk.
    """

    prediction: dict[str, Any]
    decision: str
    outside: bool
    bundle_sha256: str
    kinds: tuple[str, ...] = ()
    error: str = ""
    is_at_fault: bool = True


@dataclass(frozen=True)
class AnswerImages(Task[AnsweredImage]):
    """Predictions, and answers of some kinds as files beside those of the images.

    Attributes:
        images: Paths of DICOM files.
        request: Settings of the predictions.
        kinds: Kinds of answers, those of DICOM and `FHIR`; none are written where empty.
        station: Station name of the node.
        made: Time of the answers.
    """

    request: PredictionRequest = field(default_factory=PredictionRequest)
    kinds: tuple[str, ...] = ()
    station: str = ""
    made: datetime | None = None

    def run(self, detector: "Detector", each: Each) -> list[AnsweredImage]:
        """Predicts and writes the answers of all images."""
        request = replace(self.request, evidence=bool(self.kinds))
        predictions = PredictImages(self.images, request).run(detector, each)
        return self._answers(detector, zip(self.images, predictions, strict=True))

    def reject(self, detector: "Detector", cause: str) -> list[AnsweredImage]:
        """Writes answers that say that the images could not be decoded."""
        predictions = PredictImages(self.images, self.request).reject(detector, cause)
        return self._answers(detector, zip(self.images, predictions, strict=True), drawn=False)

    def _answers(
        self, detector: "Detector", pairs: Iterable[tuple[str, "Prediction"]], drawn: bool = True
    ) -> list[AnsweredImage]:
        return [self._answer(detector, Path(path), prediction, drawn) for path, prediction in pairs]

    def _answer(self, detector: "Detector", path: Path, prediction: "Prediction", drawn: bool) -> AnsweredImage:
        bundle, prediction = detector.bundle, prediction.without_file()
        outside = prediction.decision is Decision.REFER and not prediction.validated
        found = AnsweredImage(prediction.to_dict(), prediction.decision.value, outside, bundle.sha256)
        if not self.kinds:
            return found
        try:
            answers = self._made(detector, path, prediction, drawn)
        except Exception as error:  # pydicom and highdicom raise anything on a header that is odd enough
            return replace(found, error=_one_line(error))
        try:
            return replace(found, kinds=_written(path, answers))
        except Exception as error:
            of_disk = any(isinstance(each, OSError) for each in (error, error.__cause__, error.__context__))
            return replace(found, error=_one_line(error), is_at_fault=not of_disk)

    def _made(self, detector: "Detector", path: Path, prediction: "Prediction", drawn: bool) -> dict[str, bytes]:
        """Files of the answers, by their kinds."""
        from pneumoscope.data.reading import read_grey
        from pneumoscope.errors import UnreadableImage
        from pneumoscope.pacs.answers import AnswerSettings, diagnostic_report, file_of, make_answers, read_header

        if self.made is None:
            raise DataError("expected the time of the answers, found none: name it")
        image = None
        if drawn and "sc" in self.kinds:
            try:
                image = read_grey(path)
            except (UnreadableImage, MemoryError):
                image = None
        settings = AnswerSettings(tuple(kind for kind in self.kinds if kind != FHIR), self.station)
        header, manifest = read_header(path), detector.bundle.manifest
        answers = make_answers(header, prediction, image, manifest, settings, self.made)
        files = {kind: file_of(answer) for kind, answer in answers.items()}
        if FHIR in self.kinds:
            report = diagnostic_report(header, prediction, manifest, settings, self.made)
            files[FHIR] = json.dumps(report).encode()
        return files


def _written(path: Path, answers: dict[str, bytes]) -> tuple[str, ...]:
    """Writes answers beside an image; gives their kinds."""
    from pneumoscope.files import atomic_write

    for kind, content in answers.items():
        with atomic_write(path.with_suffix(f".{kind}")) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_bytes(content)
    return tuple(answers)


def _one_line(error: Exception) -> str:
    """Description of an error; those of pydicom and highdicom, which may name the patient, by their kind alone."""
    is_ours = isinstance(error, PneumoscopeError | OSError)
    return str(error).splitlines()[0] if is_ours and str(error) else f"no answer can be made ({type(error).__name__})"
