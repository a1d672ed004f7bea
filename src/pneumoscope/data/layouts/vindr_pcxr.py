"""VinDr-PCXR: 9,125 radiographs of children below ten years of a hospital in Vietnam, labelled by radiologists, as DICOM.

Source: Pham, Tran and Nguyen, "VinDr-PCXR: An open, large-scale pediatric chest X-ray dataset for interpretation of common thoracic
diseases", PhysioNet 2022, doi 10.13026/k8qc-na36 (tables, split); arXiv 2203.10612, table 3 (diseases).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pneumoscope.data.layouts.public import PublicImage, PublicSet, read_public_table
from pneumoscope.types import Split

_IMAGE = "image_id"
# Columns of diseases, spelt as they are published.
_LABELS = (
    *("No finding", "Bronchitis", "Brocho-pneumonia", "Other disease", "Bronchiolitis", "Situs inversus", "Pneumonia"),
    *("Pleuro-pneumonia", "Diagphramatic hernia", "Tuberculosis", "Congenital emphysema", "CPAM"),
    *("Hyaline membrane disease", "Mediastinal tumor", "Lung tumor"),
)


def _read(tables: Sequence[Path]) -> Iterator[PublicImage]:
    for table in tables:
        split = Split.TEST if "test" in table.name.lower() else Split.TRAIN
        for row in read_public_table(table, {name: name for name in (_IMAGE, *_LABELS)}):
            labels = tuple(name.lower() for name in _LABELS if row[name] in ("1", "1.0"))
            # The release has removed the identifiers of patients.
            yield PublicImage(key=row[_IMAGE], labels=labels, patient="", split=split)


VINDR_PCXR = PublicSet(
    names=("vindr-pcxr", "vindr", "pcxr"),
    title="VinDr-PCXR",
    tables=("image_labels_train.csv", "image_labels_test.csv"),
    columns=(_IMAGE, "Brocho-pneumonia", "No finding"),
    positive=("pneumonia", "brocho-pneumonia", "pleuro-pneumonia"),
    negative="no finding",
    read=_read,
    obtain="sign its data use agreement at https://physionet.org/content/vindr-pcxr/1.0.0/ and download it there",
)
