"""MedMNIST: one archive of arrays."""

import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.class_names import CLASS_WORDS
from pneumoscope.data.source_images import Listing, SourceImage, Vocabulary
from pneumoscope.errors import DataError, listed

# Remark on an archive of another name, which may be of other classes.
_ASSUMED = "labels taken as in PneumoniaMNIST: 0 is normal, 1 is pneumonia (others by --class-map)"
_PARTS = ("train", "val", "test")


def list_medmnist(archive: Path, known: Vocabulary, mapped: bool = False) -> Listing:
    """List the images of a MedMNIST archive; without a class map label 0 is normal, 1 pneumonia.

    Etiologies are unknown, and patients too unless the archive has `train_patients` and so on, as `save_medmnist` writes them.

    Args:
        archive: File in NumPy's format.
        known: Words for classes, which are numbers where the classes are of any names.
        mapped: Whether a class map says what the labels mean; those that it does not name are left out.

    Raises:
        DataError: Another archive, or none of the labels of the class map.
    """
    by_label = known.own or mapped
    words = known.words if by_label else {"0": CLASS_WORDS["normal"], "1": CLASS_WORDS["pneumonia"]}
    images = []
    labels_of = medmnist_labels(archive)
    patients = _patients(archive, {part: len(labels) for part, labels in labels_of.items()})
    unnamed = _prefix_of_unnamed(patients)
    for part, labels in labels_of.items():
        if not by_label and not set(labels) <= words.keys():
            raise DataError(
                f"expected images and the labels 0 and 1 of pneumoniamnist in {archive}, found the labels {listed(sorted(set(labels)))}: "
                "say what they mean by --class-map '0=normal,1=pneumonia'"
            )
        for position, label in enumerate(labels):
            if label in words:
                finding, etiology = words[label]
                path = f"{archive.name}#{part}/{position}"
                named = patients[part][position] if part in patients else ""
                patient = named or f"{unnamed}{part}-{position}"
                name = label if by_label else ""
                images.append(SourceImage(path, finding, etiology, patient, known.splits[part], class_name=name))
    counts = Counter(label for labels in labels_of.values() for label in labels)
    if not images:
        raise DataError(
            f"expected the labels {listed(words)} in {archive}, found {listed(sorted(counts)) if counts else 'no image'}: correct the class map or the archive"
        )
    left_out = {label: count for label, count in counts.items() if label not in words}
    assumed = not by_label and not archive.name.startswith("pneumoniamnist")
    return Listing("medmnist", tuple(images), left_out=left_out, remarks=(_ASSUMED,) if assumed else ())


def _patients(archive: Path, counts: Mapping[str, int]) -> dict[str, list[str]]:
    """Patients of the images of each part that names them; empty for an image without a name, which is a patient of its own.

    Raises:
        DataError: Another number of patients than of images, or patients that are no text or whole number.
    """
    found: dict[str, list[str]] = {}
    stored: dict[str, NDArray[Any]] = {}
    with np.load(archive, allow_pickle=False) as arrays:
        for part in counts:
            name = f"{part}_patients"
            try:
                if name in arrays:
                    stored[part] = arrays[name]
            except ValueError as error:  # an array of objects
                raise DataError(f"expected text in {name} of {archive}, found {error}: write strings") from error
    for part, names in stored.items():
        count = counts[part]
        if names.shape != (count,):
            raise DataError(
                f"expected {count:,} patients in {part}_patients of {archive}, one for each image, found an array of shape {names.shape}: "
                "correct it, or leave it out"
            )
        found[part] = _text(names, f"{part}_patients of {archive}")
    return found


def _text(names: NDArray[Any], where: str) -> list[str]:
    """Names (n,) of text, UTF-8 bytes or whole numbers as text.

    Raises:
        DataError: Others, such as floats, in which all that are missing would be one patient, "nan".
    """
    if names.dtype.kind not in "USiu":
        raise DataError(
            f"expected text or whole numbers in {where}, found {names.dtype}: write strings, empty where unknown"
        )
    try:
        return [name.decode() if isinstance(name, bytes) else str(name) for name in names.tolist()]
    except UnicodeDecodeError as error:
        raise DataError(f"expected UTF-8 text in {where}, found {error}: write strings") from error


def _prefix_of_unnamed(patients: Mapping[str, list[str]]) -> str:
    """Prefix for the parts and positions of images without a patient, such as `val-0`, that no named patient begins with."""
    prefix = ""
    while any(name.startswith(f"{prefix}{part}-") for names in patients.values() for name in names for part in _PARTS):
        prefix += "#"
    return prefix


def medmnist_labels(archive: Path) -> dict[str, list[str]]:
    """Labels of the images of each part, train, val and test, of a MedMNIST archive.

    Raises:
        DataError: No archive, another one, or one of several labels an image or of volumes.
    """
    try:
        with np.load(archive, allow_pickle=False) as arrays:
            labels = {part: arrays[f"{part}_labels"] for part in _PARTS}
            shapes = {part: arrays[f"{part}_images"].shape for part in labels}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"expected an archive of MedMNIST, such as pneumoniamnist*.npz, with train, val and test images and labels, found {archive} "
            f"({str(error).partition('.')[0]}): download it again"
        ) from error
    for part, values in labels.items():
        if values.size != len(values) or len(shapes[part]) not in (3, 4) or shapes[part][3:] not in ((), (3,)):
            raise DataError(
                f"expected one label for each image (height, width) in {archive}, found labels of shape {values.shape} and "
                f"images of shape {shapes[part]}: name an archive of images with one label each"
            )
    return {part: [str(int(value)) for value in values.ravel()] for part, values in labels.items()}
