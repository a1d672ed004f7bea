"""The words that every stage shares: findings, etiologies, splits, class schemes, index rows.

The positive class is always pneumonia. In a two-class scheme it has index 1; in the three-class scheme the
probability of pneumonia is the sum over the classes other than normal.
"""

from dataclasses import dataclass
from enum import StrEnum

NOTICE = "Research use only. Not a medical device."
SYNTHETIC_NOTICE = "Synthetic films: this says nothing about accuracy."


class Finding(StrEnum):
    """What the reference standard says of a radiograph."""

    NORMAL = "normal"
    PNEUMONIA = "pneumonia"


class Etiology(StrEnum):
    """The cause of a pneumonia, as the data set's file names give it."""

    NONE = "none"
    BACTERIAL = "bacterial"
    VIRAL = "viral"
    UNKNOWN = "unknown"


class Decision(StrEnum):
    """What the detector says of a film."""

    NORMAL = "normal"
    PNEUMONIA = "pneumonia"
    REFER = "refer"
    REJECTED = "rejected"


class Split(StrEnum):
    """The side of the data set on which a radiograph stands."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class ClassScheme:
    """An ordered list of classes that a network tells apart; `normal` is always first."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        return " / ".join(self.names)


BINARY = ClassScheme(("normal", "pneumonia"))
THREE_CLASS = ClassScheme(("normal", "bacterial", "viral"))
SCHEMES = {len(BINARY): BINARY, len(THREE_CLASS): THREE_CLASS}


@dataclass(frozen=True)
class IndexRow:
    """One radiograph of a data set.

    Attributes:
        path: Where it lies, relative to the data set's root, with forward slashes; `file.npz#split/i` in an archive.
        sha256: Hash of the file's bytes (of the pixel bytes for an array in an archive), 64 hex digits.
        finding: Normal or pneumonia.
        etiology: Bacterial or viral; `none` for a normal film; `unknown` where the source does not say.
        patient: Identity within this data set; train and test are separate name spaces.
        split: Train (before a validation set is drawn from it), validation or test.
        width: Pixels, as stored.
        height: Pixels, as stored.
        bytes: Size of the file; 0 for an array in an archive.
    """

    path: str
    sha256: str
    finding: Finding
    etiology: Etiology
    patient: str
    split: Split
    width: int
    height: int
    bytes: int

    @property
    def label(self) -> str:
        """The finest class that is known: normal, bacterial, viral or pneumonia."""
        if self.finding is Finding.NORMAL:
            return "normal"
        return "pneumonia" if self.etiology is Etiology.UNKNOWN else self.etiology.value
