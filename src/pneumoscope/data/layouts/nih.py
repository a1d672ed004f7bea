"""NIH ChestX-ray14: adults and children of the NIH Clinical Center, labels mined from reports.

Source: Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on Weakly-Supervised Classification and
Localization of Common Thorax Diseases", CVPR 2017, section 3 (labels), and the README of the release (tables, patient-wise split).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pneumoscope.data.layouts.public import PublicImage, PublicSet, key_of, read_public_table
from pneumoscope.types import Split

_COLUMNS = {"image": "Image Index", "labels": "Finding Labels", "patient": "Patient ID", "age": "Patient Age",
            "gender": "Patient Gender", "sex": "Patient Sex", "view": "View Position"}  # fmt: skip
_TEST_LIST = "test_list.txt"
# Name of the table of all images; another one is of a sample of them.
_WHOLE = "data_entry_2017"


def _read(tables: Sequence[Path]) -> Iterator[PublicImage]:
    # Data_Entry_2017_v2020.csv corrects Data_Entry_2017.csv, and comes after it.
    table = max(tables, key=lambda each: (each.name.lower().startswith(_WHOLE), each.name))
    test = _listed(table.with_name(_TEST_LIST))
    for row in read_public_table(table, _COLUMNS):
        yield PublicImage(
            key=key_of(row["image"]),
            labels=tuple(label.strip().lower() for label in row["labels"].split("|") if label.strip()),
            patient=row["patient"].lstrip("0") or row["patient"],
            split=Split.TEST if row["image"] in test else Split.TRAIN,
            groups={"age": row["age"], "sex": row["sex"] or row["gender"], "view": row["view"]},
        )


def _listed(path: Path) -> frozenset[str]:
    """Names of the images in a list of the published split; none where the list is not there."""
    return frozenset(path.read_text(encoding="utf-8").split()) if path.is_file() else frozenset()


NIH = PublicSet(
    names=("nih", "chestx-ray14", "chestxray14", "nih-chestx-ray14"),
    title="NIH ChestX-ray14",
    tables=(f"{_WHOLE}*.csv", "sample_labels.csv"),
    columns=("Image Index", "Finding Labels", "Patient ID"),
    positive=("pneumonia",),
    negative="no finding",
    read=_read,
    obtain="download it from https://nihcc.app.box.com/v/ChestXray-NIHCC (no agreement; credit the NIH Clinical Center)",
)
