"""PneumoniaMNIST: one archive of arrays."""

import zipfile
from pathlib import Path

import numpy as np

from pneumoscope.data.class_names import CLASS_WORDS
from pneumoscope.data.source_images import SPLIT_FOLDERS, Listing, SourceImage
from pneumoscope.errors import DataError


def list_medmnist(archive: Path) -> Listing:
    """List the images of MedMNIST's PneumoniaMNIST: label 0 is normal, 1 pneumonia; patients and etiologies are unknown.

    Raises:
        DataError: Another archive.
    """
    try:
        with np.load(archive, allow_pickle=False) as arrays:
            names = set(arrays.files)
            labels = {part: arrays[f"{part}_labels"].ravel() for part in ("train", "val", "test")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"expected MedMNIST's pneumoniamnist*.npz with train, val and test images and labels, found {archive} "
            f"({error}): download it again"
        ) from error
    images = []
    for part, values in labels.items():
        if f"{part}_images" not in names or not set(values.tolist()) <= {0, 1}:
            raise DataError(
                f"expected images and the labels 0 and 1 of pneumoniamnist in {archive}, found others: "
                "name pneumoniamnist*.npz with --data"
            )
        split = SPLIT_FOLDERS[part]
        for position, value in enumerate(values.tolist()):
            finding, etiology = CLASS_WORDS["pneumonia" if value else "normal"]
            path = f"{archive.name}#{part}/{position}"
            images.append(SourceImage(path, finding, etiology, f"{part}-{position}", split))
    return Listing("medmnist", tuple(images))
