"""File names of the Guangzhou radiographs: patient and etiology.

Kaggle's copy: `person1_bacteria_1.jpeg`, `person447_virus_921_1.jpeg`, `IM-0115-0001.jpeg`,
`NORMAL2-IM-1427-0001.jpeg`. Mendeley's original: `BACTERIA-1008087-0001.jpeg`, `VIRUS-...`, `NORMAL-...`.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePath

from pneumoscope.types import DICOM_SUFFIXES, Etiology, Finding

_WORDS = {"bacteria": Etiology.BACTERIAL, "virus": Etiology.VIRAL, "normal": Etiology.NONE}
_KAGGLE_PNEUMONIA = re.compile(r"(?P<patient>person\d+)_(?P<word>bacteria|virus)_\d+(_\d+)?")
_KAGGLE_NORMAL = re.compile(r"(?P<patient>(NORMAL2-)?IM-\d+)-\d+(-\d+)?")
_MENDELEY = re.compile(r"(?P<word>BACTERIA|VIRUS|NORMAL)-(?P<patient>\d+)-\d+")


@dataclass(frozen=True)
class ParsedName:
    """Patient and etiology given by a file name.

    Attributes:
        patient: Patient identifier within the publisher's train or test images.
        etiology: Bacterial or viral; none for a normal radiograph.
    """

    patient: str
    etiology: Etiology

    @property
    def finding(self) -> Finding:
        """Normal where the etiology is none, pneumonia otherwise."""
        return Finding.NORMAL if self.etiology is Etiology.NONE else Finding.PNEUMONIA


def parse_name(stem: str) -> ParsedName | None:
    """Parse a file name without its suffix; None for a name of neither publisher.

    The word bacteria or virus is not part of the patient identifier: 808 person numbers of the training images occur with
    both words, and whether they are the same child is unknown, so they count as one patient.
    """
    if match := _KAGGLE_PNEUMONIA.fullmatch(stem):
        return ParsedName(match["patient"], _WORDS[match["word"]])
    if match := _KAGGLE_NORMAL.fullmatch(stem):
        return ParsedName(match["patient"], Etiology.NONE)
    if match := _MENDELEY.fullmatch(stem):
        return ParsedName(match["patient"], _WORDS[match["word"].lower()])
    return None


def patient_key(identifier: str) -> str:
    """Hash of a patient's identifier, 16 hex digits: equal for equal patients, without telling who it is."""
    return hashlib.sha256(identifier.encode(errors="backslashreplace")).hexdigest()[:16]


def parse_file_name(path: PurePath) -> ParsedName | None:
    """Parse the name of a file; None as well for DICOM objects that are named as viewers number their exports."""
    numbered = path.suffix.lower() in DICOM_SUFFIXES and path.stem.startswith("IM-")
    return None if numbered else parse_name(path.stem)
