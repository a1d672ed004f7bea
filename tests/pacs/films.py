"""Radiographs as DICOM objects for tests of the node: real films where they are at hand, else phantoms."""

import os
import subprocess
from pathlib import Path

import numpy as np
from pydicom.uid import UID

from dicom_objects import dataset_of, written
from pneumoscope.data.phantom import phantom_image
from pneumoscope.data.reading import read_grey

DIGITAL, COMPUTED = UID("1.2.840.10008.5.1.4.1.1.1.1"), UID("1.2.840.10008.5.1.4.1.1.1")
ROOT = "1.2.826.0.1.3680043.10.543"
# Transfer syntax to dcmtk's program that makes it of a file, and storescu's option to send it.
SYNTAXES = {
    "explicit": ((), "-xe"),
    "implicit": (("dcmconv", "+ti"), "-xi"),
    "jpeg-baseline": (("dcmcjpeg", "+eb", "+un"), "-xy"),
    "jpeg-lossless": (("dcmcjpeg", "+e1"), "-xs"),
    "jpeg-ls": (("dcmcjpls", "+el"), "-xt"),
    "rle": (("dcmcrle",), "-xr"),
}


def pictures(count, height=0):
    """Grey levels of films: originals where PNEUMOSCOPE_TEST_ORIGINALS names some, else phantoms 512 pixels high."""
    folder = os.environ.get("PNEUMOSCOPE_TEST_ORIGINALS")
    if folder and not height:
        files = sorted(Path(folder).rglob("*.jpeg"))
        return [read_grey(files[place * len(files) // count]) for place in range(count)]
    words = ("normal", "bacteria", "virus")
    return [phantom_image(words[n % 3], np.random.default_rng(n), height or 512) for n in range(count)]


def film(stored, number, computed=False, **attributes):
    """DICOM object of a film: patient, study and instance are named by its number."""
    known = {
        "SOPInstanceUID": UID(f"{ROOT}.3.{number}"),
        "SOPClassUID": COMPUTED if computed else DIGITAL,
        "StudyInstanceUID": UID(f"{ROOT}.1.{number}"),
        "SeriesInstanceUID": UID(f"{ROOT}.2.{number}"),
        "Modality": "CR" if computed else "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "AP",
        "PatientID": f"PATIENT{number}",
        "PatientName": f"Muster^Kind{number}",
        "PatientBirthDate": "20210304",
        "PatientSex": "F",
        "PatientAge": "003Y",
        "StudyDate": "20240506",
        "StudyTime": "101112",
        "StudyID": str(number),
        "AccessionNumber": f"ACC{number}",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "ReferringPhysicianName": "",
    }
    dataset = dataset_of(stored, 8 * stored.dtype.itemsize, **known | attributes)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    return dataset


def write_film(path, stored, number, syntax="explicit", **attributes):
    """Writes a film, in a transfer syntax of `SYNTAXES` by dcmtk's programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written(film(stored, number, **attributes)))
    command, _ = SYNTAXES[syntax]
    if command:
        subprocess.run([*command, path, path.with_suffix(".made")], check=True, capture_output=True)
        path.with_suffix(".made").replace(path)
    return path
