"""PadChest: 160,000 radiographs of the Hospital San Juan (Alicante), a quarter labelled by physicians, as PNG of 16 bits.

Source: Bustos et al., "PadChest: A large chest x-ray image dataset with multi-label annotated reports", Medical Image Analysis 2020,
doi 10.1016/j.media.2020.101797 (labels, projections, fields of the table).
"""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from pneumoscope.data.layouts.public import PublicImage, PublicSet, key_of, read_public_table

_COLUMNS = {"image": "ImageID", "patient": "PatientID", "born": "PatientBirth", "taken": "StudyDate_DICOM",
            "sex": "PatientSex_DICOM", "view": "Projection", "labels": "Labels"}  # fmt: skip
# Labels of images that the authors advise against: what they show cannot be read from them.
_UNFIT = {"exclude", "suboptimal study"}
_EXCLUDED, _NO_LABEL = "excluded by the authors", "no label"


def _read(tables: Sequence[Path]) -> Iterator[PublicImage]:
    for row in read_public_table(tables[-1], _COLUMNS):
        labels = _labels(row["labels"])
        yield PublicImage(
            key=key_of(row["image"]),
            labels=labels,
            patient=row["patient"],
            groups={"age": _age(row["born"], row["taken"]), "sex": row["sex"], "view": row["view"]},
            unfit=_EXCLUDED if _UNFIT & set(labels) else "" if labels else _NO_LABEL,
        )


def _labels(cell: str) -> tuple[str, ...]:
    """Labels in a cell such as `['pneumonia', 'infiltrates']`; none where it holds no list."""
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        return ()
    names = [name.strip().lower() for name in found if isinstance(name, str)] if isinstance(found, list) else []
    return tuple(name for name in names if name)


def _age(born: str, taken: str) -> str:
    """Age in years that the year of birth and the day of the study allow; empty where one is unknown."""
    try:
        years = int(taken[:4]) - int(float(born))
    except ValueError:
        return ""
    return str(years) if years >= 0 else ""


PADCHEST = PublicSet(
    names=("padchest", "pad-chest", "bimcv-padchest"),
    title="PadChest",
    tables=("padchest_chest_x_ray_images_labels*.csv", "padchest_chest_x_ray_images_labels*.csv.gz"),
    columns=("ImageID", "PatientID", "Projection", "Labels"),
    positive=("pneumonia", "atypical pneumonia"),
    negative="normal",
    read=_read,
    obtain="accept its terms at https://bimcv.cipf.es/bimcv-projects/padchest/ and download it there",
)
