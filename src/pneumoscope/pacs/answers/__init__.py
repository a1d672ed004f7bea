"""Answers to a radiograph: from its header and the prediction, the DICOM objects and FHIR resources that a PACS gets back.

answers = make_answers(read_header(path), prediction, image, manifest, AnswerSettings(), datetime.now().astimezone())
answers["sr"].save_as("report.dcm", enforce_file_format=True)
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pydicom
from pydicom.config import disable_value_validation

from pneumoscope.bundle import Manifest
from pneumoscope.errors import ConfigError, InputError
from pneumoscope.inference.overlay import Pixels
from pneumoscope.inference.prediction import Prediction
from pneumoscope.pacs import KINDS
from pneumoscope.pacs.answers.common import Answer, in_time_zone, withheld
from pneumoscope.pacs.answers.header import read_header
from pneumoscope.pacs.answers.presentation_state import make_presentation_state
from pneumoscope.pacs.answers.report import make_report, read_report
from pneumoscope.pacs.answers.secondary_capture import make_secondary_capture

__all__ = ["AnswerSettings", "diagnostic_report", "file_of", "make_answers", "read_header", "read_report"]

_MAKERS: dict[str, Callable[[Answer, Pixels | None], pydicom.Dataset | None]] = {
    "sr": lambda answer, _: make_report(answer),
    "sc": make_secondary_capture,
    "gsps": lambda answer, _: make_presentation_state(answer),
}
# Characters of a short string (PS3.5, section 6.2).
_SHORT_STRING = 16


@dataclass(frozen=True)
class AnswerSettings:
    """Settings of the answers.

    Attributes:
        kinds: Kinds of DICOM objects out of `KINDS`.
        station: Station name of the device, such as its AE title, 1 to 16 printable characters.

    Raises:
        ConfigError: Another kind, or no such station name.
    """

    kinds: tuple[str, ...] = ("sr", "sc")
    station: str = "PNEUMOSCOPE"

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise ConfigError(
                f"expected kinds of answers out of {', '.join(KINDS)}, found {', '.join(unknown)}: name some of these"
            )
        fits = 1 <= len(self.station) <= _SHORT_STRING and "\\" not in self.station
        if not fits or not self.station.isprintable() or self.station != self.station.strip():
            raise ConfigError(f"expected a station name of 1 to 16 characters, found {self.station!r}: shorten it")


def make_answers(
    header: pydicom.Dataset,
    prediction: Prediction,
    image: Pixels | None,
    manifest: Manifest,
    settings: AnswerSettings,
    made: datetime,
) -> dict[str, pydicom.Dataset]:
    """DICOM objects that answer an image, by their kinds, ready to be saved; no presentation state for what is no grey image.

    An image that the bundle was not validated on gets neither finding nor probability, whatever the prediction says. The name of the
    file is left out.

    Args:
        header: Attributes of the image, by `read_header`.
        prediction: Prediction for the image.
        image: (height, width) grey levels, bright is dense; None where it could not be read.
        manifest: Manifest of the bundle that predicted.
        settings: Kinds of objects, and the device's name.
        made: Time of the answers, with its offset from UTC.

    Raises:
        InputError: Time without an offset from UTC, or the manifest of another bundle.
    """
    answer = _answer(header, prediction, manifest, settings, made)
    # Values of the header are those of the PACS, which may be longer than the standard allows.
    with disable_value_validation():
        made_objects = {kind: _MAKERS[kind](answer, image) for kind in settings.kinds}
    return {kind: dataset for kind, dataset in made_objects.items() if dataset is not None}


def file_of(answer: pydicom.Dataset) -> bytes:
    """Bytes of the DICOM file of an answer."""
    buffer = io.BytesIO()
    with disable_value_validation():
        answer.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def diagnostic_report(
    header: pydicom.Dataset,
    prediction: Prediction,
    manifest: Manifest,
    settings: AnswerSettings,
    made: datetime,
) -> dict[str, Any]:
    """FHIR R4 transaction with a DiagnosticReport, its Observation and the Device, as plain JSON; arguments as for `make_answers`.

    A server that has a resource of the same identifier keeps that: what is sent again makes no duplicate, and overwrites nothing.

    Raises:
        InputError: Time without an offset from UTC, or the manifest of another bundle.
    """
    # Imported here: its models take longer to load than an answer takes.
    from pneumoscope.pacs.answers.fhir import diagnostic_bundle

    return diagnostic_bundle(_answer(header, prediction, manifest, settings, made))


def _answer(
    header: pydicom.Dataset, prediction: Prediction, manifest: Manifest, settings: AnswerSettings, made: datetime
) -> Answer:
    used = prediction.bundle
    if (used.name, used.version) != (manifest.name, manifest.version):
        raise InputError(
            f"expected the manifest of {used.name} {used.version}, found that of {manifest.name} {manifest.version}: give "
            "the manifest of the bundle that predicted"
        )
    return Answer(header, withheld(prediction.without_file()), settings.station, in_time_zone(made, header))
