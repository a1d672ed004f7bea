#!/usr/bin/env python3
"""False alarms of the audit on clean sets, and planted leaks that it finds.

    experiments/clean_audits.py [--clean 200] [--planted 5] [--only NAME] [--out FILE]

A clean set has patients of one or two images, in train and test, whose devices, views, ages, exposures, sizes, storage and table
columns are drawn without regard to the class. Sets are of DICOM objects or of JPEG and PNG files with a table, of two classes or of
four; half of them show no disease, the other half one that the classes differ by. A planted set is a clean one without disease in
which one thing differs by class.
"""

import argparse
import csv
import io
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import gaussian_filter

from pneumoscope.data.any_classes import open_any_classes
from pneumoscope.data.audit import audit
from pneumoscope.data.index import build_index
from pneumoscope.data.phantom import phantom_image
from pneumoscope.evaluation.intervals import wilson_interval
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance

HEIGHT, TRAIN, TEST = 72, 88, 36  # pixels, and patients in train and in test
CLASSES = {2: ("clear", "nodule"), 4: ("clear", "effusion", "fracture", "nodule")}
# Planted leak to the finding that names it: its subject, or its code.
PLANTED = {
    "JPEG quality": "JPEG quantisation",
    "file format": "file format",
    "size": "height",
    "aspect ratio": "aspect ratio",
    "table column": "column ward",
    "table age": "age",
    "device": "manufacturer",
    "header view": "view",
    "header age": "age",
    "window": "window width",
    "bits": "bits stored",
    "pixel spacing": "pixel spacing",
    "missing element": "has KVP",
    "study year": "study year",
    "two properties jointly": "all of file and header",
    "exposure and noise": "acquisition cluster",
    "near duplicates across splits": "near_duplicate_across_splits",
    "copies across splits": "duplicate_across_splits",
    "patient across splits": "patient_on_two_sides",
    "copies of two classes": "near_duplicate_conflict",
}
_OF_HEADERS = (
    *("device", "header view", "header age", "window", "bits", "pixel spacing", "missing element", "study year"),
    "two properties jointly",
)
# How often a planted word is that of the class.
_STRENGTH = 0.88


def image_of(word, leaks, positive, rng):
    """Phantom of a class, with what is planted in its grey levels or shape."""
    image = phantom_image(word, rng, round(HEIGHT * (1.5 if leaks == "size" and positive else rng.uniform(0.9, 1.1))))
    if leaks == "aspect ratio" and positive:
        image = np.asarray(Image.fromarray(image).resize((round(1.3 * image.shape[1]), image.shape[0])))
    if leaks == "exposure and noise" and positive:
        image = np.clip(
            40 + 0.7 * gaussian_filter(image.astype(np.float32), 0.8) + rng.normal(0, 12, image.shape), 0, 255
        )
    return np.ascontiguousarray(image, dtype=np.uint8)


def word_of(rng, planted, positive, words):
    """One of two or more words; where it is planted, mostly the first for the positive class and the second for others."""
    if not planted:
        return words[rng.integers(len(words))]
    return words[int(positive != (rng.random() < _STRENGTH))]


def dicom_of(image, leaks, positive, patient, age, rng):
    """Bytes of a DICOM object, its header drawn at random or planted."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid(
        None, [str(rng.integers(1 << 62))]
    )
    jointly = leaks == "two properties jointly"
    bits = int(word_of(rng, leaks == "bits", positive, (12, 10)))
    header.Rows, header.Columns = image.shape
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PixelRepresentation = 1, "MONOCHROME2", 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, bits, bits - 1
    # Weak by themselves: two words in three are of the class.
    weakly = [positive == (rng.random() < 0.68) for _ in range(4)]
    header.Manufacturer = str(word_of(rng, leaks == "device", positive, ("Alpha", "Beta", "Gamma")))
    header.StationName = f"ROOM{rng.integers(20)}"
    header.ViewPosition = (
        ("AP", "PA")[weakly[0]] if jointly else word_of(rng, leaks == "header view", positive, ("AP", "PA"))
    )
    header.InstitutionName = ("A", "B")[weakly[1]] if jointly else ("A", "B")[rng.integers(2)]
    header.PatientSex = ("F", "M")[weakly[2]] if jointly else ("F", "M")[rng.integers(2)]
    years = 2012 + int(rng.integers(8)) if leaks != "study year" else word_of(rng, True, positive, (2019, 2013))
    header.StudyDate = f"{2014 + 3 * weakly[3] if jointly else years}0101"
    header.PatientID, header.PatientAge = patient, f"{age:03}Y"
    header.WindowCenter = 1 << (bits - 1)
    header.WindowWidth = (1 << bits) - int(rng.integers(1, 200)) - (600 if leaks == "window" and positive else 0)
    spacing = 0.14 + 0.02 * rng.random() + (0.02 if leaks == "pixel spacing" and positive else 0)
    header.PixelSpacing = [f"{spacing:.5f}"] * 2
    if word_of(rng, leaks == "missing element", positive, ("yes", "no")) == "yes":
        header.KVP = 80
    header.PixelData = (image.astype(np.uint16) << (bits - 8)).tobytes()
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def file_of(image, leaks, positive, rng):
    """Bytes of a JPEG or PNG file, and its ending."""
    kind = word_of(rng, leaks == "file format", positive, ("PNG", "JPEG"))
    quality = (75 if positive else 90) if leaks == "JPEG quality" else int(rng.integers(70, 95))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, str(kind), **({"quality": quality} if kind == "JPEG" else {}))
    return buffer.getvalue(), str(kind).lower()


def age_of(leaks, positive, rng):
    return int(np.clip(rng.normal(62 if positive and leaks in ("table age", "header age") else 40, 15), 0, 99))


def write_set(folder, seed, leaks="", *, dicom=False, classes=2, disease=False):
    """Write a data set in a folder; returns the path of its table."""
    rng, rows, known = np.random.default_rng([7, seed]), [], {}
    names = CLASSES[classes]
    for split, count in (("train", TRAIN), ("test", TEST)):
        for number in range(count):
            kind = number % classes
            positive, patient = kind == classes - 1, f"{split}{number}"
            age = age_of(leaks, positive, rng)
            for copy in range(int(rng.integers(1, 3))):
                word = ("normal", "bacteria", "virus", "bacteria")[kind] if disease else "normal"
                image = image_of(word, leaks, positive, rng)
                if dicom:
                    content, ending = dicom_of(image, leaks, positive, patient, age, rng), "dcm"
                else:
                    content, ending = file_of(image, leaks, positive, rng)
                path = f"{split}{number}_{copy}.{ending}"
                (folder / path).write_bytes(content)
                known[path] = (image, content)
                ward = word_of(rng, leaks == "table column", positive, ("north", "south", "east"))
                row = {"path": path, "class": names[kind], "patient": patient, "split": split}
                row |= (
                    {}
                    if dicom
                    else {"age": age, "ward": ward, "code": f"c{rng.integers(60)}", "dose": f"{rng.random():.4f}"}
                )
                rows.append(row)
    plant_copies(folder, rows, known, leaks)
    table = folder / "table.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


def plant_copies(folder, rows, known, leaks):
    """Add copies of an image, or a patient, where they do not belong."""
    first = next(row for row in rows if row["split"] == "train")
    test = next(row for row in rows if row["split"] == "test" and row["class"] == first["class"])
    image, content = known[first["path"]]
    if leaks == "patient across splits":
        test["patient"] = first["patient"]
    elif leaks == "copies across splits":
        (folder / test["path"]).write_bytes(content)
    elif leaks == "near duplicates across splits":
        lighter = Image.fromarray(np.uint8(image * 0.9)).resize((3 * image.shape[1] // 2, 3 * image.shape[0] // 2))
        lighter.save(folder / "lighter.png")
        rows.append(test | {"path": "lighter.png"})
    elif leaks == "copies of two classes":
        other = next(row for row in rows if row["split"] == "train" and row["class"] != first["class"])
        Image.fromarray(np.uint8(image * 0.9)).save(folder / "again.png")
        rows.append(other | {"path": "again.png"})


def audited(seed, leaks="", **kind):
    with tempfile.TemporaryDirectory() as folder:
        source = open_any_classes(write_set(Path(folder), seed, leaks, **kind))
        return audit(build_index(source, acquisition=True))


def kind_of(number):
    """Kind of a clean set, all combinations in turn."""
    return {"dicom": number % 2 == 1, "classes": (2, 4)[number // 2 % 2], "disease": number // 4 % 2 == 1}


def clean(count):
    """Findings on clean sets, by what the sets show."""
    found = {}
    for number in range(count):
        kind = kind_of(number)
        result = audited(number, **kind)
        tally = found.setdefault("disease" if kind["disease"] else "no disease", Counter(sets=0, tests=0))
        tally["sets"] += 1
        tally["tests"] += sum(cue.is_known for cue in result.cues)
        tally["sets with a warning"] += any(finding.severity != "note" for finding in result.findings)
        tally["sets with a note"] += any(finding.severity == "note" for finding in result.findings)
        of_files = [
            f
            for f in result.findings
            if f.code == "cue" and f.subject not in ("sharpness", "contrast", "brightness", "acquisition cluster")
        ]
        tally["sets with a cue of file, header or table"] += bool(of_files)
        for finding in result.findings:
            tally[f"{finding.severity} {finding.subject or finding.code}"] += 1
        print(number, kind, [f"{f.severity} {f.subject or f.code}" for f in result.findings], flush=True)
    return {name: dict(tally) for name, tally in found.items()}


def planted(name, seeds):
    """Number of sets in which a planted leak is named, and what else is found."""
    wanted, hits, severities, others = PLANTED[name], 0, Counter(), Counter()
    for seed in range(seeds):
        result = audited(1000 + seed, name, dicom=name in _OF_HEADERS)
        named = [f for f in result.findings if wanted in (f.subject, f.code)]
        hits += bool(named)
        severities.update(f.severity for f in named)
        others.update(f.subject or f.code for f in result.findings if f not in named)
    print(name, hits, dict(severities), dict(others), flush=True)
    return {"named": wanted, "found": hits, "sets": seeds, "severity": dict(severities), "also": dict(others)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=int, default=200)
    parser.add_argument("--planted", type=int, default=3)
    parser.add_argument("--only", choices=PLANTED)
    parser.add_argument("--out", type=Path, default=Path("results/robustness/clean_audits.json"))
    given = parser.parse_args()
    if given.only:
        planted(given.only, given.planted)
        return
    record = {
        "patients": {"train": TRAIN, "test": TEST},
        "planted": {name: planted(name, given.planted) for name in PLANTED},
    }
    record["clean"] = clean(given.clean)
    sets = sum(each["sets"] for each in record["clean"].values())
    warned = sum(each["sets with a warning"] for each in record["clean"].values())
    record["false_alarms"] = {"sets": sets, "with_warning": warned, "fraction": vars(wilson_interval(warned, sets))}
    write_json(given.out, record | provenance("experiments/clean_audits.py"))


if __name__ == "__main__":
    main()
