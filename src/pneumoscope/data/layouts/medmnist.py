"""MedMNIST: one archive of arrays."""

import zipfile
from pathlib import Path

import numpy as np

from pneumoscope.data.class_names import CLASS_WORDS
from pneumoscope.data.source_images import Listing, SourceImage, Vocabulary
from pneumoscope.errors import DataError


def list_medmnist(archive: Path, known: Vocabulary) -> Listing:
    """List the images of a MedMNIST archive; of PneumoniaMNIST label 0 is normal, 1 pneumonia. Patients and etiologies are unknown.

    Args:
        archive: File in NumPy's format.
        known: Words for classes, which are numbers where the classes are of any names.

    Raises:
        DataError: Another archive.
    """
    words = known.words if known.own else {"0": CLASS_WORDS["normal"], "1": CLASS_WORDS["pneumonia"]}
    images = []
    for part, labels in medmnist_labels(archive).items():
        if not known.own and not set(labels) <= words.keys():
            raise DataError(
                f"expected images and the labels 0 and 1 of pneumoniamnist in {archive}, found others: "
                "name pneumoniamnist*.npz with --data"
            )
        for position, label in enumerate(labels):
            if label in words:
                finding, etiology = words[label]
                path, patient = f"{archive.name}#{part}/{position}", f"{part}-{position}"
                name = label if known.own else ""
                images.append(SourceImage(path, finding, etiology, patient, known.splits[part], class_name=name))
    return Listing("medmnist", tuple(images))


def medmnist_labels(archive: Path) -> dict[str, list[str]]:
    """Labels of the images of each part, train, val and test, of a MedMNIST archive.

    Raises:
        DataError: No archive, another one, or one of several labels an image or of volumes.
    """
    try:
        with np.load(archive, allow_pickle=False) as arrays:
            labels = {part: arrays[f"{part}_labels"] for part in ("train", "val", "test")}
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
