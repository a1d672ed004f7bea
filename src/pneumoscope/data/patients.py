"""Patients of labelled images: by table or file name, else by the header of a DICOM object, else by a folder."""

from collections.abc import Sequence
from pathlib import PurePath

from pneumoscope.data.names import parse_file_name, patient_key
from pneumoscope.data.source_images import SourceImage
from pneumoscope.types import ImageHeader

# Prefix of patients that headers name.
_HEADER = "header/"


def patient_of(file: str, header: ImageHeader | None) -> str:
    """Key of the patient of one image, 16 hex digits; empty where it is not known.

    Args:
        file: Name of the file, which is looked at where there is no header.
        header: Header of a DICOM object; None for other files.
    """
    if header is not None:
        return header.patient
    name = parse_file_name(PurePath(file))
    return patient_key(name.patient) if name else ""


def origin_of(file: str, header: ImageHeader | None) -> tuple[str, str]:
    """Key of the patient of one image, as `patient_of` gives it, and ISO 8601 date of its acquisition; each empty where it is not known."""
    return patient_of(file, header), header.taken if header else ""


def patients_of(
    images: Sequence[SourceImage], headers: Sequence[ImageHeader | None], sha256: Sequence[str]
) -> tuple[list[str], list[bool]]:
    """Patient of each image, and whether it is known; an image whose patient is not known counts as one of its own.

    Images of one content have one patient.

    Args:
        images: Images of a source.
        headers: Header of each image; None for files without one. Where all name one patient they are anonymous, and not used.
        sha256: Hash of each image's file; empty where it could not be read.
    """
    named = [header.patient for header in headers if header and header.patient]
    anonymous = len(named) > 1 and len(set(named)) == 1
    patients: list[str] = []
    known, of_content = [], dict[str, str]()
    for image, header, digest in zip(images, headers, sha256, strict=True):
        by_header = not image.known_name and not anonymous and header is not None and header.patient
        patient = f"{_HEADER}{header.patient}" if header and by_header else image.patient
        patients.append(of_content.setdefault(digest, patient) if digest else patient)
        known.append(image.known_name or bool(by_header) or bool(image.folder))
    return patients, known
