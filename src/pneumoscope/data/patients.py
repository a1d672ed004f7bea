"""Patients of labelled images: by table or file name, else by the header of a DICOM object, else by a folder."""

from collections.abc import Sequence

from pneumoscope.data.sources import SourceImage
from pneumoscope.types import ImageHeader

# Prefix of patients that headers name.
_HEADER = "header/"


def patients_of(images: Sequence[SourceImage], headers: Sequence[ImageHeader | None]) -> tuple[list[str], list[bool]]:
    """Patient of each image, and whether it is known; an image whose patient is not known counts as one of its own.

    Args:
        images: Images of a source.
        headers: Header of each image; None for files without one. Where all name one patient they are anonymous, and not used.
    """
    named = [header.patient for header in headers if header and header.patient]
    anonymous = len(named) > 1 and len(set(named)) == 1
    patients, known = [], []
    for image, header in zip(images, headers, strict=True):
        by_header = not image.known_name and not anonymous and header is not None and header.patient
        patients.append(f"{_HEADER}{header.patient}" if header and by_header else image.patient)
        known.append(image.known_name or bool(by_header) or bool(image.folder))
    return patients, known
