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
            key = key_of(row["path"], _KEY_PARTS)
            yield PublicImage(
                key=key,
                labels=tuple(name.lower() for name in _LABELS if row[name] in ("1", "1.0")),
                patient=key.partition("/")[0],
                split=split,
                groups={"age": row["age"], "sex": _sex(row["sex"]), "view": row["view"] or _view(row["plane"])},
                uncertain=tuple(name.lower() for name in _LABELS if row[name] in ("-1", "-1.0")),
            )


def _sex(word: str) -> str:
    return "" if word.lower() == "unknown" else word


def _view(plane: str) -> str:
    """View of an image without AP or PA: lateral, or unknown."""
    return "LATERAL" if plane.lower() == "lateral" else ""


CHEXPERT = PublicSet(
    names=("chexpert", "chexpert-v1.0", "chexpert-v1.0-small"),
    title="CheXpert",
    tables=("train.csv", "valid.csv", "test.csv"),
    columns=("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "Pneumonia"),
    positive=("pneumonia",),
    negative="no finding",
    read=_read,
    obtain="accept its research use agreement at https://stanfordmlgroup.github.io/competitions/chexpert/ and download it there",
    key_parts=_KEY_PARTS,
)
