"""Copies for sharing say nothing of who it is, and still belong together."""

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_objects import dataset_of, written
from pneumoscope.data.dicom import decode_dicom
from pneumoscope.errors import DataError, InputError
from pneumoscope.pacs.deidentify import deidentify

CR = pydicom.uid.ComputedRadiographyImageStorage
SECRET = "0123456789abcdef"
PIXELS = np.arange(48 * 40, dtype=np.uint16).reshape(48, 40)
# Everything here that a copy must not have in its bytes.
SECRETS = {
    "PatientName": "Fenwick^Marguerite",
    "PatientID": "MRN-448812",
    "OtherPatientIDs": "INS-99317",
    "IssuerOfPatientID": "NORTHSIDE-HIS",
    "PatientBirthDate": "20170314",
    "AccessionNumber": "ACC7731942",
    "InstitutionName": "Northside Infirmary",
    "InstitutionAddress": "12 Quarry Lane, Northside",
    "InstitutionalDepartmentName": "Paediatric Imaging",
    "StationName": "NSXRAY04",
    "DeviceSerialNumber": "SN-55521-X",
    "ReferringPhysicianName": "Okonkwo^Adaeze",
    "PatientComments": "mother is Yvette, phone 0151 496",
    "ImageComments": "repeat for Dr Halloran",
    "StudyDescription": "thorax of Marguerite",
    "RequestAttributesSequence": "",
    "StudyInstanceUID": "1.2.826.0.1.3680043.99.1",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.99.1.2",
    "StudyDate": "20240820",
}


def image(number=1, **elements):
    """A radiograph with everything that a hospital writes into it."""
    dataset = dataset_of(PIXELS, SOPClassUID=CR, SOPInstanceUID=f"1.2.826.0.1.3680043.99.1.2.{number}")
    dataset.file_meta.MediaStorageSOPClassUID = CR
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.SourceApplicationEntityTitle = "NSXRAY04"
    dataset.preamble = b"Fenwick".ljust(128, b"\0")
    for keyword, value in SECRETS.items():
        if value:
            setattr(dataset, keyword, value)
    dataset.StudyTime, dataset.AcquisitionDate, dataset.AcquisitionTime = "101500", "20240820", "101730.5"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition, dataset.PatientSex = "CR", "CHEST", "AP", "F"
    dataset.Manufacturer, dataset.ManufacturerModelName = "Acme", "DR 500"
    dataset.BurnedInAnnotation = "NO"
    block = dataset.private_block(0x0029, "NORTHSIDE PRIVATE", create=True)
    block.add_new(1, "LO", "Marguerite Fenwick")
    before = Dataset()
    before.PatientName, before.PatientID = "Fenwick^M", "OLD-4711"
    changed = Dataset()
    changed.ModifiedAttributesSequence = Sequence([before])
    dataset.OriginalAttributesSequence = Sequence([changed])
    encrypted = Dataset()
    encrypted.EncryptedContent = b"Marguerite Fenwick, encrypted."
    dataset.EncryptedAttributesSequence = Sequence([encrypted])
    request = Dataset()
    request.RequestedProcedureID, request.RequestedProcedureDescription = "RP-88123", "thorax of Marguerite"
    request.RequestedProcedureCodeSequence = Sequence([code("7731942", "99NORTHSIDE", "thorax Fenwick")])
    dataset.RequestAttributesSequence = Sequence([request])
    dataset.add_new(0x60003000, "OW", b"Fenwick ")
    dataset.add_new(0x60000010, "US", 48)
    dataset.add_new(0x60000022, "LO", "Fenwick overlay")
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def report(of):
    """A structured report on an image, with text, a name and a reference."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = ComprehensiveSRStorage, "1.2.826.0.1.3680043.99.7"
    for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "StudyInstanceUID"):
        setattr(dataset, keyword, SECRETS[keyword])
    dataset.AccessionNumber, dataset.StudyDate, dataset.StudyTime = SECRETS["AccessionNumber"], "20240820", "101500"
    dataset.Modality, dataset.VerificationFlag, dataset.CompletionFlag = "SR", "VERIFIED", "COMPLETE"
    observer = Dataset()
    observer.VerifyingOrganization, observer.VerifyingObserverName = "Northside Infirmary", "Halloran^Pat"
    dataset.VerifyingObserverSequence = Sequence([observer])
    items = []
    for kind, keyword, value in (
        ("TEXT", "TextValue", "Marguerite Fenwick has a pneumonia, says Dr Halloran"),
        ("PNAME", "PersonName", "Halloran^Pat"),
        ("DATETIME", "DateTime", "20240820103000"),
        ("UIDREF", "UID", of.SOPInstanceUID),
    ):
        item = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", kind
        item.ConceptNameCodeSequence = Sequence([code("121071", "DCM", "Finding")])
        setattr(item, keyword, value)
        items.append(item)
    number = Dataset()
    number.RelationshipType, number.ValueType = "CONTAINS", "NUM"
    measured = Dataset()
    measured.NumericValue = "0.83"
    measured.MeasurementUnitsCodeSequence = Sequence([code("1", "UCUM", "no units")])
    number.MeasuredValueSequence = Sequence([measured])
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = of.SOPClassUID, of.SOPInstanceUID
    shown = Dataset()
    shown.RelationshipType, shown.ValueType = "CONTAINS", "IMAGE"
    shown.ReferencedSOPSequence = Sequence([reference])
    dataset.ContentSequence = Sequence([*items, number, shown])
    return dataset


def put(folder, **datasets):
    folder.mkdir(parents=True, exist_ok=True)
    for name, dataset in datasets.items():
        (folder / f"{name}.dcm").write_bytes(written(dataset))
    return folder


def copies(out):
    return [pydicom.dcmread(path) for path in sorted(out.rglob("*.dcm"))]


def test_copies_say_nothing_of_who_it_is(tmp_path):
    source = put(tmp_path / "in" / "Fenwick", image=image(), report=report(image()))
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in source.iterdir()}
    done = deidentify([tmp_path / "in"], tmp_path / "out")
    assert (done.written, done.patients, done.left_out) == (2, 1, ())
    words = {part for value in SECRETS.values() if value for part in (value, *value.split("^"))}
    words |= {"Marguerite", "Fenwick", "Halloran", "Yvette", "OLD-4711", "RP-88123", "NORTHSIDE", "7731942", "0151 496"}
    for path in (tmp_path / "out").rglob("*"):
        found = path.read_bytes() if path.is_file() else b""
        assert [word for word in words if word.encode() in found or word in path.name] == []
    assert before == {path: hashlib.sha256(path.read_bytes()).digest() for path in source.iterdir()}


def test_image_stays_as_it_was(tmp_path):
    deidentify([put(tmp_path / "in", image=image())], tmp_path / "out")
    [copy] = copies(tmp_path / "out")
    grey, header = decode_dicom(written(copy))
    original, stated = decode_dicom(written(image()))
    assert np.array_equal(grey, original)
    assert (header.modality, header.body_part, header.view, header.sex) == ("CR", "CHEST", "AP", "F")
    assert header.manufacturer == stated.manufacturer == "Acme"
    assert header.age_years == 7 == int(stated.age_years)
    assert copy.PatientIdentityRemoved == "YES"
    assert copy.DeidentificationMethod[0] == "DICOGNITO"
    assert all(len(each) <= 64 for each in copy.DeidentificationMethod)
    assert copy.LongitudinalTemporalInformationModified == "MODIFIED"
    assert not copy.PatientBirthDate
    assert not [element for element in copy if element.tag.is_private or element.tag.group == 0x6000]
    assert not {"OriginalAttributesSequence", "EncryptedAttributesSequence"} & set(copy.dir())


def test_every_text_and_binary_element_of_the_dictionary_is_emptied(tmp_path):
    """Whatever element a text is in, at the top or in a sequence: it is not in the copy, but for a few that are listed."""
    kept = {"Manufacturer", "ManufacturerModelName", "SoftwareVersions", "CodingSchemeDesignator"}
    kept |= {"CodeValue", "LongCodeValue", "URNCodeValue", "CodeMeaning", "CodingSchemeVersion"}
    marks, dataset, inner = {}, image(), Dataset()
    for number, (tag, (vr, _, _, _, keyword)) in enumerate(DicomDictionary.items()):
        if tag >> 16 in (0x0000, 0x0002, 0x0004) or not keyword or keyword in kept:
            continue
        if vr in ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"):
            marks[keyword] = f"Zq{number:05}x"
        elif vr in ("OB", "OW", "UN") and "Pixel" not in keyword and "Lookup" not in keyword:
            marks[keyword] = f"Zq{number:05}xy".encode()
        else:
            continue
        for each in (dataset, inner):
            each.add_new(tag, vr, marks[keyword])
    assert len(marks) > 700
    dataset.ReferencedImageSequence = Sequence([inner])
    deidentify([put(tmp_path / "in", image=dataset)], tmp_path / "out")
    [path] = (tmp_path / "out").rglob("*.dcm")
    left = [
        keyword
        for keyword, mark in marks.items()
        if (mark if isinstance(mark, bytes) else mark.encode()) in path.read_bytes()
    ]
    assert left == []
    assert pydicom.dcmread(path).Manufacturer == "Acme"


def test_dates_are_shifted_by_one_distance_for_a_patient(tmp_path):
    other = image(3, PatientID="MRN-5", StudyInstanceUID="1.2.3.4")
    later = image(2, StudyDate="20240830", StudyTime="101500")
    deidentify([put(tmp_path / "in", a=image(), b=later, c=other, d=report(image()))], tmp_path / "out")
    found = copies(tmp_path / "out")

    def when(copy):
        return np.datetime64(f"{copy.StudyDate[:4]}-{copy.StudyDate[4:6]}-{copy.StudyDate[6:]}T{copy.StudyTime[:2]}")

    by_patient = {}
    for copy in found:
        by_patient.setdefault(copy.PatientID, []).append(copy)
    sizes = sorted(map(len, by_patient.values()))
    assert sizes == [1, 3]
    [mine] = [group for group in by_patient.values() if len(group) == 3]
    [theirs] = [group for group in by_patient.values() if len(group) == 1]
    days = sorted(when(copy) for copy in mine)
    assert (days[2] - days[0], days[1] - days[0]) == (np.timedelta64(240, "h"), np.timedelta64(0, "h"))
    assert when(theirs[0]) not in days
    shift = np.datetime64("2024-08-20T10") - days[0]
    assert np.timedelta64(62 * 24, "h") <= shift <= np.timedelta64(730 * 24, "h")


def test_report_still_refers_to_its_image(tmp_path):
    deidentify([put(tmp_path / "in", image=image(), report=report(image()))], tmp_path / "out")
    picture, text = sorted(copies(tmp_path / "out"), key=lambda copy: copy.Modality)
    assert text.StudyInstanceUID == picture.StudyInstanceUID != SECRETS["StudyInstanceUID"]
    assert text.PatientID == picture.PatientID == picture.PatientName
    words, person, _, uid, number, shown = text.ContentSequence
    assert shown.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == picture.SOPInstanceUID == uid.UID
    assert shown.ReferencedSOPSequence[0].ReferencedSOPClassUID == CR == picture.file_meta.MediaStorageSOPClassUID
    assert (words.TextValue, str(person.PersonName)) == ("removed", "removed")
    assert number.MeasuredValueSequence[0].NumericValue == 0.83
    assert words.ConceptNameCodeSequence[0].CodeMeaning == "Finding"
    assert text.VerificationFlag == "UNVERIFIED"
    assert picture.RequestAttributesSequence[0].RequestedProcedureCodeSequence[0].CodeValue == "removed"


def test_runs_with_one_secret_agree(tmp_path):
    source = put(tmp_path / "in", image=image())
    names = []
    for number, secret in enumerate((SECRET, SECRET, "another secret of some length", None)):
        deidentify([source], tmp_path / f"out{number}", secret)
        [path] = (tmp_path / f"out{number}").rglob("*.dcm")
        names.append((path.parent.name, path.name, path.read_bytes()))
    assert names[0] == names[1]
    assert len({name for name, _, _ in names}) == len({name for _, name, _ in names}) == 3
    with pytest.raises(InputError, match="at least 16 characters, found 5"):
        deidentify([source], tmp_path / "out", "short")


def test_one_identifier_of_two_hospitals_is_of_two_patients(tmp_path):
    datasets = {"a": image(1), "b": image(2, IssuerOfPatientID="SOUTHSIDE"), "c": image(3, PatientID="")}
    done = deidentify([put(tmp_path / "in", **datasets)], tmp_path / "out")
    assert done.patients == 3


@pytest.mark.parametrize(
    ("elements", "age"),
    [
        ({"PatientAge": "004Y"}, "004Y"),
        ({"PatientAge": "097Y"}, "090Y"),
        ({"PatientBirthDate": "20230701"}, "013M"),
        ({"PatientBirthDate": "19200101"}, "090Y"),
        ({"PatientBirthDate": ""}, ""),
    ],
)
def test_age_is_kept_and_the_date_of_birth_is_not(tmp_path, elements, age):
    deidentify([put(tmp_path / "in", image=image(**elements))], tmp_path / "out")
    [copy] = copies(tmp_path / "out")
    assert (copy.get("PatientAge", ""), copy.PatientBirthDate) == (age, "")


def test_what_may_have_text_burnt_in_is_left_out(tmp_path):
    capture = image(2, SOPClassUID=pydicom.uid.SecondaryCaptureImageStorage, BurnedInAnnotation=None)
    source = put(tmp_path / "in", a=image(1, BurnedInAnnotation="YES"), b=capture, c=image(3, BurnedInAnnotation=None))
    done = deidentify([source], tmp_path / "out")
    assert (done.written, done.unstated) == (1, 1)
    assert "PatientIdentityRemoved" not in copies(tmp_path / "out")[0]
    assert done.lines() == [
        "1 copies of 1 patients written",
        "1 of them do not say whether text is burnt into the picture: look at them before you share them",
        "1 left out: text is burnt into the picture, says its header",
        "1 left out: a secondary capture, which may have text burnt in",
        "2 of them would be copied with --include-burnt-in: look at them first",
    ]
    assert deidentify([source], tmp_path / "all", include_burnt_in=True).written == 3


def test_what_is_no_dicom_file_or_damaged_is_left_out(tmp_path):
    source = put(tmp_path / "in", a=image())
    (source / "notes.txt").write_text("Marguerite Fenwick")
    (source / "cut.dcm").write_bytes(written(image(2))[:700])
    (source / "short.dcm").write_bytes(written(image(2))[:-100])
    done = deidentify([source], tmp_path / "out")
    assert done.written == 1
    assert {Path(path).name for path, _ in done.left_out} == {"notes.txt", "cut.dcm", "short.dcm"}
    assert {why for path, why in done.left_out} == {"no DICOM file", "pixels that are missing or cut short"}
    again = deidentify([source / "a.dcm", source / "a.dcm"], tmp_path / "twice")
    assert (again.written, again.left_out[0][1]) == (1, "the same SOP Instance UID as a file before it")


@pytest.mark.parametrize("syntax", [pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("high", [11, 13])
def test_overlay_among_the_bits_of_pixels_is_cleared(tmp_path, syntax, signed, high):
    """Twelve bits of sixteen: what is above and below them goes, the values stay."""
    rng, shift = np.random.default_rng(5), high - 11
    values = rng.integers(-2048, 2048, (16, 16)) if signed else rng.integers(0, 4096, (16, 16))
    order = "<" if syntax.is_little_endian else ">"
    unused = 0xFFFF & ~(0xFFF << shift)
    noisy = ((values & 0xFFF) << shift) | (rng.integers(0, 1 << 16, (16, 16)) & unused)
    dataset = image(PixelData=noisy.astype(f"{order}u2").tobytes())
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, high, signed
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "in" / "image.dcm"
    path.parent.mkdir()
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=syntax.is_little_endian, enforce_file_format=True)
    assert deidentify([path], tmp_path / "out").left_out == ()
    [copy] = copies(tmp_path / "out")
    found = np.frombuffer(copy.PixelData, f"{order}{'i' if signed else 'u'}2").reshape(16, 16)
    assert np.array_equal(found, values << shift)


def test_what_may_have_an_overlay_among_compressed_bits_is_left_out(tmp_path):
    def compressed(number, syntax, stored=12, position=None):
        dataset = image(number, PixelData=encapsulate([b"\xff\xd8\xff\xd9"]))
        dataset["PixelData"].is_undefined_length = True
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, stored, stored - 1
        dataset.file_meta.TransferSyntaxUID = syntax
        if position is not None:
            dataset.add_new(0x60020102, "US", position)
        return dataset

    lossless, rle = pydicom.uid.JPEGLosslessSV1, pydicom.uid.RLELossless
    source = put(
        tmp_path / "in",
        a=compressed(1, rle),
        b=compressed(2, lossless, position=12),
        c=compressed(3, lossless, position=0),
        d=compressed(4, rle, stored=16),
        e=image(5, BitsStored=None),
        f=image(6, HighBit=20),
    )
    done = deidentify([source], tmp_path / "out")
    assert {(Path(path).name, why) for path, why in done.left_out} == {
        ("a.dcm", "compressed pixels that may have an overlay among their bits"),
        ("b.dcm", "compressed pixels that may have an overlay among their bits"),
        ("e.dcm", "pixels whose bits the header does not describe"),
        ("f.dcm", "pixels whose bits the header does not describe"),
    }


def test_name_in_compressed_pixels_is_found(tmp_path):
    """A comment in a JPEG stream is no element: the copy is not written."""
    stream = b"\xff\xd8\xff\xfe\x00\x14Marguerite Fenwick\xff\xd9"
    dataset = image(PixelData=encapsulate([stream]))
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset["PixelData"].is_undefined_length = True
    done = deidentify([put(tmp_path / "in", image=dataset)], tmp_path / "out")
    assert done.written == 0
    assert "would still be in it" in done.left_out[0][1]
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_copy_of_a_file_may_go_to_a_folder_beside_it(tmp_path):
    source = put(tmp_path / "in", image=image())
    assert deidentify([source / "image.dcm"], source / "shared").written == 1
    [copy] = copies(source / "shared")
    assert copy.PatientName != image().PatientName


def test_folder_of_the_originals_is_refused(tmp_path):
    source = put(tmp_path / "in" / "deep", image=image())
    for out in (source, source / "out", tmp_path, tmp_path / "link" / "out"):
        if not (tmp_path / "link").exists():
            (tmp_path / "link").symlink_to(source)
        with pytest.raises(InputError, match="folder apart from the originals"):
            deidentify([tmp_path / "in", source / "image.dcm"], out)
    for out in (source, tmp_path, source / "image.dcm"):
        with pytest.raises(InputError, match="folder apart"):
            deidentify([source / "image.dcm"], out)
    with pytest.raises(DataError, match="found nothing there"):
        deidentify([tmp_path / "none"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found none"):
        deidentify([tmp_path / "empty"], tmp_path / "out")
