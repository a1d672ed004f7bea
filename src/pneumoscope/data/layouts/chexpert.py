"""CheXpert: 224,316 radiographs of Stanford Hospital, labels mined from reports, those of `valid` by radiologists.

Source: Irvin et al., "CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and Expert Comparison", AAAI 2019, section 3
(labels; -1 is uncertain) and section 5 (radiologists' labels of the validation set).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pneumoscope.data.layouts.public import PublicImage, PublicSet, key_of, read_public_table
from pneumoscope.types import Split

_LABELS = (
    *(
        "No Finding",
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Opacity",
        "Lung Lesion",
        "Edema",
        "Consolidation",
    ),
    *("Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices"),
)
_COLUMNS = {"path": "Path", "sex": "Sex", "age": "Age", "plane": "Frontal/Lateral", "view": "AP/PA"}
# Folders of patient and study, and the name of the view.
_KEY_PARTS = 3


def _read(tables: Sequence[Path]) -> Iterator[PublicImage]:
    for table in tables:
        split = Split.TRAIN if table.name.lower().startswith("train") else Split.TEST
        for row in read_public_table(table, _COLUMNS | {name: name for name in _LABELS}):
            key, sex = key_of(row["path"], _KEY_PARTS), row["sex"]
            unknown = sex.lower() == "unknown"
            yield PublicImage(
                key=key,
                labels=tuple(name.lower() for name in _LABELS if row[name] in ("1", "1.0")),
                patient=key.partition("/")[0],
                split=split,
                groups={
                    # What is not known is published as Unknown and 0.
                    "age": "" if unknown and row["age"] in ("0", "0.0") else row["age"],
                    "sex": "" if unknown else sex,
                    # Labels of the test images come without columns for views.
                    "view": row["view"] or _view(row["plane"] or key.rpartition("/")[2]),
                },
                uncertain=tuple(name.lower() for name in _LABELS if row[name] in ("-1", "-1.0")),
            )


def _view(plane: str) -> str:
    """View of an image without AP or PA: lateral, or unknown."""
    return "LATERAL" if "lateral" in plane.lower() else ""


CHEXPERT = PublicSet(
    names=("chexpert", "chexpert-v1.0", "chexpert-v1.0-small"),
    title="CheXpert",
    tables=("train.csv", "valid.csv", "test.csv"),
    columns=("Path", *_LABELS),
    positive=("pneumonia",),
    negative="no finding",
    read=_read,
    obtain="accept its research use agreement at https://stanfordmlgroup.github.io/competitions/chexpert/ and download it there",
    key_parts=_KEY_PARTS,
)
