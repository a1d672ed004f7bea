"""RSNA Pneumonia Detection Challenge (2018): 26,684 radiographs of ChestX-ray14, labelled again by radiologists, as DICOM.

Source: Shih et al., "Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert Annotations of Possible
Pneumonia", Radiology: Artificial Intelligence 2019, doi 10.1148/ryai.2019180041 (classes); the challenge's data page (tables).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pneumoscope.data.layouts.public import PublicImage, PublicSet, read_public_table
from pneumoscope.errors import DataError, listed

_CLASSES = "stage_2_detailed_class_info.csv"
# The challenge's table of the images' names in ChestX-ray14, which begin with the patient's number.
_MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"


def _read(tables: Sequence[Path]) -> Iterator[PublicImage]:
    classes = tables[0].with_name(_CLASSES)
    if not classes.is_file():
        raise DataError(
            f"expected {_CLASSES} beside {listed([table.name for table in tables])}, found none: add it, it tells normal "
            "images from those of other findings"
        )
    patients = _patients(classes.with_name(_MAPPING))
    # A row for each box: an image with several opacities has several rows, all of one class.
    of_image = {
        row["image"]: row["class"] for row in read_public_table(classes, {"image": "patientId", "class": "class"})
    }
    for image, name in of_image.items():
        yield PublicImage(key=image, labels=(name.lower(),), patient=patients.get(image, ""))


def _patients(mapping: Path) -> dict[str, str]:
    """Number of the patient in ChestX-ray14 of each image; empty where the table of names is not there."""
    if not mapping.is_file():
        return {}
    try:
        entries = json.loads(mapping.read_text(encoding="utf-8"))
        return {entry["subset_img_id"]: entry["img_id"].split("_")[0].lstrip("0") for entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"expected the challenge's names of images in {mapping}, found {error!r}: download it again"
        ) from error


RSNA = PublicSet(
    names=("rsna", "rsna-pneumonia", "rsna-pneumonia-detection-challenge"),
    title="RSNA Pneumonia Detection Challenge",
    tables=(_CLASSES, "stage_2_train_labels.csv"),
    columns=("patientId",),
    positive=("lung opacity",),
    negative="normal",
    read=_read,
    obtain="accept the rules at https://www.kaggle.com/c/rsna-pneumonia-detection-challenge and download it there",
)
