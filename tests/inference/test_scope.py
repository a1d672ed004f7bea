from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_objects import dataset_of, written
from pneumoscope.bundle import Scope
from pneumoscope.data.reading import read_image
from pneumoscope.errors import InputError
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.scope import compare_header
from pneumoscope.types import ImageHeader, PredictionRequest

CHILDREN = Scope(ages=(1, 5), views=("AP", "PA"))


@pytest.mark.parametrize(
    ("header", "outside"),
    [
        (ImageHeader(age_years=1.0), []),
        (ImageHeader(age_years=5.9), []),
        (ImageHeader(age_years=0.9), ["outside_age"]),
        (ImageHeader(age_years=6.0), ["outside_age"]),
        (ImageHeader(age_years=3, view="AP"), []),
        (ImageHeader(age_years=3, view="PA ERECT"), []),
        (ImageHeader(age_years=3, view="LL"), ["outside_view"]),
        (ImageHeader(age_years=3, view="LATERAL"), ["outside_view"]),
        (ImageHeader(age_years=3, body_part="CHEST"), []),
        (ImageHeader(age_years=3, body_part="PORT CHEST"), []),
        (ImageHeader(age_years=3, body_part="UNKNOWN"), []),
        (ImageHeader(age_years=3, body_part="KNEE"), ["outside_body_part"]),
        (ImageHeader(age_years=3, modality="DX"), []),
        (ImageHeader(age_years=3, modality="CT"), ["outside_modality"]),
        (ImageHeader(age_years=3, modality="RTIMAGE"), ["outside_modality"]),
        (ImageHeader(age_years=3, view="APICAL"), ["outside_view"]),
        (ImageHeader(age_years=3, view="POSTEROANTERIOR"), []),
        (
            ImageHeader(age_years=70, view="LL", body_part="HAND", modality="US"),
            ["outside_modality", "outside_body_part", "outside_view", "outside_age"],
        ),
    ],
)
def test_a_header_outside_the_scope_is_a_reason_each(header, outside):
    remarks = compare_header(header, CHILDREN)
    assert list(remarks.outside) == outside
    assert len(remarks.remarks) == len(outside)
    assert all(remark.startswith("expected") for remark in remarks.remarks)


def test_a_missing_age_is_said_and_a_missing_header_is_not():
    assert not compare_header(ImageHeader(), CHILDREN).outside
    assert "no age in the header" in compare_header(ImageHeader(), CHILDREN).remarks[0]
    assert compare_header(None, CHILDREN).remarks == ()


def test_a_bundle_without_a_scope_takes_any_age_and_view():
    assert compare_header(ImageHeader(age_years=60, view="LL"), Scope()).outside == ()


def dicom(image, **attributes):
    """A radiograph as a DICOM file."""
    return written(dataset_of(image, 8, WindowCenter=128, WindowWidth=256, **attributes))


@pytest.mark.parametrize(
    ("attributes", "header"),
    [
        ({"PatientAge": "004Y", "ViewPosition": "AP"}, ImageHeader(4.0, "AP")),
        ({"PatientAge": "018M", "Modality": "CR", "BodyPartExamined": "chest"}, ImageHeader(1.5, "", "CHEST", "CR")),
        ({"PatientAge": "026W"}, ImageHeader(pytest.approx(0.498, abs=0.01))),
        ({"PatientBirthDate": "20100301", "StudyDate": "20140301"}, ImageHeader(pytest.approx(4, abs=0.01))),
        ({"PatientBirthDate": "20100301", "StudyDate": "20090301"}, ImageHeader()),
        ({"PatientAge": "", "PatientBirthDate": ""}, ImageHeader()),
        ({"PatientAge": "4"}, ImageHeader(4)),
        ({"BodyPartExamined": "HAND\x1b[31m"}, ImageHeader()),
        ({"PatientBirthDate": "2010", "StudyDate": "x"}, ImageHeader()),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_the_header_of_a_dicom_object_is_read(attributes, header):
    image = np.tile(np.arange(100, dtype=np.uint8), (80, 1))
    _, found = read_image(Path("x.dcm"), dicom(image, **attributes))
    assert replace(found, taken="", bits=None, window=None) == header


def test_the_detector_refers_by_the_header_unless_a_site_accepts_that(drawn_radiographs):
    from pneumoscope.data.reading import read_grey

    image = read_grey(drawn_radiographs / "viral-1.png")
    detector = load_detector("nano")
    child = detector.predict(dicom(image, PatientAge="003Y", ViewPosition="AP"), accept=("outside_population",))
    adult = detector.predict(dicom(image, PatientAge="040Y"), accept=("outside_population",))
    assert child.decision == "pneumonia"
    assert (adult.decision, adult.validated) == ("refer", False)
    assert "outside_age" in adult.reasons
    assert "expected a patient of 1 to 5 years, found 40 in the header" in adult.detail
    assert adult.pneumonia_probability == child.pneumonia_probability
    accepted = detector.predict(dicom(image, PatientAge="040Y"), accept=("outside_population", "outside_age"))
    assert (accepted.decision, accepted.validated) == ("pneumonia", False)
    assert "outside_age" in accepted.reasons
    assert "no age in the header" in detector.predict(dicom(image)).detail


def test_only_what_is_outside_can_be_accepted():
    with pytest.raises(InputError, match=r"expected reasons to accept out of outside_population, .*, found inverted"):
        PredictionRequest(accept=("inverted",))


def test_a_damaged_header_makes_no_image_unreadable():
    """An element of floating point numbers, three bytes long, where the view should stand."""
    image = np.tile(np.arange(100, dtype=np.uint8), (80, 1))
    content = dicom(image, ViewPosition="AP")
    position = content.index(b"\x18\x00\x01\x51CS")
    damaged = content[:position] + content[position:].replace(b"CS\x02\x00AP", b"FD\x02\x00AP", 1)
    pixels, header = read_image(Path("x.dcm"), damaged)
    assert pixels.shape == (80, 100)
    assert header.view == ""
