"""Phantom images in the layouts of the public sets: their folders, names, tables and headers, with drawings for radiographs."""

import csv
import gzip
import io
import json
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from radiographs import radiograph, write_dicom

_SIDE = 48


def _drawing(seed: int) -> np.ndarray:
    return radiograph(("normal", "bacterial", "viral")[seed % 3], seed, _SIDE)


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_drawing(seed)).save(path)


def _write_table(path: Path, header: str, rows: list[tuple]) -> None:
    text = io.StringIO()
    text.write(header + "\n")
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_nih(root: Path, *, old: bool = False, missing: tuple[str, ...] = ()) -> Path:
    """ChestX-ray14: patients 1 to 6; `old` for the first release, with ages such as 058Y."""
    rows = [
        ("00000001_000.png", "No Finding", 0, 1, 58, "M", "PA"),
        ("00000001_001.png", "Pneumonia", 1, 1, 59, "M", "AP"),
        ("00000002_000.png", "Infiltration|Pneumonia", 0, 2, 4, "F", "AP"),
        ("00000003_000.png", "Cardiomegaly|Effusion", 0, 3, 71, "F", "PA"),
        ("00000004_000.png", "No Finding", 0, 4, 5, "M", "PA"),
        ("00000005_000.png", "No Finding", 0, 5, 17, "F", "PA"),
        ("00000006_000.png", "Pneumonia", 0, 6, 33, "F", "PA"),
    ]
    sizes = (2500, 2048, 0.168, 0.168)
    sex = "Gender" if old else "Sex"
    _write_table(
        root / ("Data_Entry_2017.csv" if old else "Data_Entry_2017_v2020.csv"),
        f"Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient {sex},View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]" + ("," if old else ""),
        [(*row[:4], f"{row[4]:03}Y" if old else row[4], *row[5:], *sizes) for row in rows],
    )
    (root / "train_val_list.txt").write_text("\n".join(row[0] for row in rows[:5]))
    (root / "test_list.txt").write_text("\n".join(row[0] for row in rows[5:]))
    for number, row in enumerate(rows):
        if row[0] not in missing:
            write_image(root / f"images_{1 + number // 4:03}/images/{row[0]}", number)
    return root


def write_rsna(root: Path, *, mapping: bool = False) -> Path:
    """RSNA's challenge: two opacities of one image are two rows; the images of the challenge's test have no class."""
    images = {
        "0004cfab": ("Lung Opacity", 35, "F", "AP", 3),
        "00313ee0": ("No Lung Opacity / Not Normal", 48, "F", "PA", 4),
        "00322d4d": ("Normal", 4, "M", "PA", 4),
        "00436515": ("Lung Opacity", 3, "M", "AP", 5),
        "003d8fa0": ("Normal", 28, "M", "PA", 6),
    }
    boxes = [(name, 264.0, 152.0, 213.0, 379.0, 1) for name, row in images.items() if row[0] == "Lung Opacity"]
    none = [(name, "", "", "", "", 0) for name, row in images.items() if row[0] != "Lung Opacity"]
    _write_table(root / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target", boxes * 2 + none)
    classes = [(name, row[0]) for name, row in images.items()]
    _write_table(root / "stage_2_detailed_class_info.csv", "patientId,class", classes + classes[:1])
    (root / "stage_2_train_images").mkdir()
    (root / "stage_2_test_images").mkdir()
    for number, (name, row) in enumerate(images.items()):
        header = {"PatientID": name, "PatientAge": str(row[1]), "PatientSex": row[2], "ViewPosition": row[3]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the challenge's ages are plain numbers, which the standard does not allow
            write_dicom(root / f"stage_2_train_images/{name}.dcm", _drawing(number), Modality="CR", **header)
    write_dicom(root / "stage_2_test_images/0000a175.dcm", _drawing(9))
    if mapping:
        names = [{"subset_img_id": name, "img_id": f"{row[4]:08}_000.png"} for name, row in images.items()]
        (root / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(names))
    return root


VINDR_LABELS = (
    "No finding,Bronchitis,Brocho-pneumonia,Other disease,Bronchiolitis,Situs inversus,Pneumonia,Pleuro-pneumonia,"
    "Diagphramatic hernia,Tuberculosis,Congenital emphysema,CPAM,Hyaline membrane disease,Mediastinal tumor,Lung tumor"
)


def write_vindr_pcxr(root: Path) -> Path:
    """VinDr-PCXR: train and test, DICOM without identifiers of patients; one header has no age."""
    images = {
        "train": {
            "0032": ("No finding", "004Y", "M"),
            "0055": ("Brocho-pneumonia", "018M", "F"),
            "0068": ("Pneumonia", "002Y", "M"),
            "0074": ("Bronchiolitis", "006M", "F"),
            "0081": ("No finding", None, "F"),
        },
        "test": {"0a01": ("Pleuro-pneumonia", "007Y", "M"), "0a02": ("No finding", "010D", "F")},
    }
    names = VINDR_LABELS.split(",")
    for split, rows in images.items():
        table = [(key, "R1", *(float(name == row[0]) for name in names)) for key, row in rows.items()]
        _write_table(root / f"image_labels_{split}.csv", f"image_id,rad_ID,{VINDR_LABELS}", table)
        boxes = [(key, "R1", "Other opacity", 1, 1, 9, 9, *(0 for _ in names)) for key in rows]
        _write_table(
            root / f"annotations_{split}.csv",
            f"image_id,rad_ID,class_name,x_min,y_min,x_max,y_max,{VINDR_LABELS}",
            boxes,
        )
        (root / split).mkdir()
        for number, (key, row) in enumerate(rows.items()):
            header = {"PatientAge": row[1], "PatientSex": row[2]}
            known = {name: value for name, value in header.items() if value}
            write_dicom(root / split / f"{key}.dicom", _drawing(number), Modality="DX", **known)
    return root


CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


def write_chexpert(root: Path, name: str = "CheXpert-v1.0-small") -> Path:
    """CheXpert: 1.0, 0.0, -1.0 and blank cells, frontal and lateral images, valid beside train."""
    rows = {
        "train": [
            ("patient00001/study1/view1_frontal", "Female", 68, "Frontal", "AP", {"No Finding": 1.0}),
            ("patient00002/study1/view1_frontal", "Male", 40, "Frontal", "PA", {"Pneumonia": 1.0, "Lung Opacity": 1.0}),
            ("patient00002/study1/view2_lateral", "Male", 40, "Lateral", "", {"Pneumonia": 1.0, "Lung Opacity": 1.0}),
            ("patient00003/study2/view1_frontal", "Female", 90, "Frontal", "AP", {"Pneumonia": -1.0, "Edema": 1.0}),
            ("patient00004/study1/view1_frontal", "Unknown", 0, "Frontal", "AP", {"Edema": 1.0, "Pneumonia": 0.0}),
        ],
        "valid": [
            ("patient64541/study1/view1_frontal", "Male", 73, "Frontal", "AP", {"Pneumonia": 1.0}),
            ("patient64542/study1/view1_frontal", "Female", 70, "Frontal", "PA", {"No Finding": 1.0}),
        ],
    }
    labels = CHEXPERT_HEADER.split(",")[5:]
    for split, table in rows.items():
        cells = [
            (f"{name}/{split}/{path}.jpg", *facts, *(found.get(label, "") for label in labels))
            for path, *facts, found in table
        ]
        _write_table(root / name / f"{split}.csv", CHEXPERT_HEADER, cells)
        for number, row in enumerate(table):
            write_image(root / name / split / f"{row[0]}.jpg", number)
    return root


def write_padchest(root: Path, *, compressed: bool = False) -> Path:
    """PadChest: labels as the text of a list, 16-bit PNG in numbered folders."""
    rows = [
        ("1_00-001.png", 0, 20140915, "p1", 1930.0, "M", "POSTEROANTERIOR", "PA", "['normal']"),
        ("1_00-002.png", 0, 20140915, "p1", 1930.0, "M", "LATERAL", "L", "['normal']"),
        (
            "2_00-001.png",
            0,
            20151001,
            "p2",
            2012.0,
            "F",
            "ANTEROPOSTERIOR",
            "AP_horizontal",
            "[' pneumonia', 'infiltrates']",
        ),
        ("3_00-001.png", 1, 20160101, "p3", "", "F", "", "PA", "['atypical pneumonia']"),
        ("4_00-001.png", 1, 20160101, "p4", 1950.0, "F", "", "AP", "['cardiomegaly']"),
        ("5_00-001.png", 1, 20160101, "p5", 1950.0, "F", "", "PA", "['normal', 'suboptimal study']"),
        ("6_00-001.png", 1, 20160101, "p6", 1950.0, "F", "", "PA", ""),
    ]
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    _write_table(
        root / (f"{name}.gz" if compressed else name),
        ",ImageID,ImageDir,StudyDate_DICOM,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,Labels",
        [(number, *row) for number, row in enumerate(rows)],
    )
    for number, row in enumerate(rows):
        path = root / str(row[1]) / row[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_drawing(number).astype(np.uint16) * 256).save(path)
    return root
