"""Answers to a radiograph: what is written is read back the same, by highdicom, dcmtk, dicom3tools and fhir.resources."""

import io
import json
import re
import shutil
import subprocess
import warnings
from copy import copy
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.config import disable_value_validation

from dicom_objects import dataset_of, written
from pneumoscope.errors import ConfigError, DataError, InputError
from pneumoscope.inference.detector import Detector
from pneumoscope.pacs import FHIR, KINDS
from pneumoscope.pacs.analysis import AnswerImages
from pneumoscope.pacs.answers import AnswerSettings, diagnostic_report, make_answers, picture, read_header, read_report
from pneumoscope.pacs.answers.common import withheld
from pneumoscope.pacs.answers.header import repaired
from pneumoscope.pacs.answers.picture import LONGEST_SIDE, draw_answer, headline
from pneumoscope.types import NOTICE, ZONES, ClassScheme, Decision, PredictionRequest, Reason

MADE = datetime(2026, 3, 4, 23, 30, 15, tzinfo=timezone(timedelta(hours=1)))
DX = "1.2.840.10008.5.1.4.1.1.1.1"
ALL = AnswerSettings(KINDS)
ZONE_VALUES = {zone: (index + 1) / 28 for index, zone in enumerate(ZONES)}


def radiograph(pixels, **attributes):
    """DX object of a child, as a hospital's device would write it."""
    usual = {
        "SOPClassUID": DX,
        "SOPInstanceUID": "1.2.3.4.5.6",
        "StudyInstanceUID": "1.2.3.4",
        "SeriesInstanceUID": "1.2.3.4.5",
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": "Müller^Zoë",
        "PatientID": "4711",
        "IssuerOfPatientID": "St. Élie",
        "PatientBirthDate": "20220102",
        "PatientSex": "F",
        "StudyDate": "20260304",
        "StudyTime": "101500",
        "StudyID": "S1",
        "AccessionNumber": "A-17",
        "ReferringPhysicianName": "Weiß^Jürgen",
        "Modality": "DX",
        "InstanceNumber": 3,
        "WindowCenter": 2048,
        "WindowWidth": 4096,
    }
    dataset = dataset_of(pixels, **usual | attributes)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 4096, (150, 120)).astype(np.uint16)


@pytest.fixture(scope="module")
def header(pixels, tmp_path_factory):
    path = tmp_path_factory.mktemp("pacs") / "film.dcm"
    path.write_bytes(written(radiograph(pixels)))
    return read_header(path)


@pytest.fixture(scope="module")
def detector(phantom_bundle):
    from pneumoscope.bundle import find_bundle

    return Detector(find_bundle(phantom_bundle))


@pytest.fixture(scope="module")
def predicted(detector, phantoms):
    """A prediction by a bundle, with its evidence, as it comes."""
    film = sorted((phantoms / "test").rglob("*.*"))[0]
    return replace(detector.predict(film, evidence=True), zones=ZONE_VALUES)


def pneumonia(prediction):
    return replace(prediction, decision=Decision.PNEUMONIA, pneumonia_probability=0.912345678901, reasons=(), detail="")


def normal(prediction):
    return replace(prediction, decision=Decision.NORMAL, pneumonia_probability=0.02, reasons=(), detail="")


def referred(prediction):
    return replace(
        prediction, decision=Decision.REFER, pneumonia_probability=0.47, reasons=(Reason.NEAR_THRESHOLD,), detail="x"
    )


def rejected(prediction):
    return replace(
        prediction,
        decision=Decision.REJECTED,
        reasons=(Reason.NOT_FRONTAL_CHEST,),
        detail="expected a frontal chest,\nfound another image",
        pneumonia_probability=None,
        class_probability=None,
        validated=False,
        zones=None,
        evidence_map=None,
        frame=None,
    )


def outside(prediction):
    return replace(
        prediction,
        decision=Decision.REFER,
        reasons=(Reason.NEAR_THRESHOLD, Reason.OUTSIDE_AGE),
        detail="expected a patient of 1 to 5 years, found 45 in the header",
        validated=False,
    )


def accepted(prediction):
    """A decision that a site accepted although nobody validated it."""
    return replace(outside(prediction), decision=Decision.PNEUMONIA, reasons=(Reason.OUTSIDE_AGE,))


def own_classes(prediction):
    """Of a site's own bundle, with a name that only UTF-8 holds together with the header's."""
    scheme = ClassScheme(("clear", "Затемнение (opacity)"))
    return replace(pneumonia(prediction), scheme=scheme)


CASES = [pneumonia, normal, referred, rejected, outside, accepted, own_classes]
SILENT = [rejected, outside, accepted]


def answers_of(header, prediction, manifest, image=None, chosen=ALL, made=MADE):
    image = np.zeros((150, 120), np.uint8) if image is None else image
    return make_answers(header, prediction, image, manifest, chosen, made)


def reread(dataset):
    return pydicom.dcmread(io.BytesIO(written(dataset)))


@pytest.mark.parametrize("case", CASES)
def test_report_is_read_back_with_the_same_values(case, header, predicted, manifest):
    prediction = case(predicted)
    report = read_report(reread(answers_of(header, prediction, manifest)["sr"]))
    assert report["bundle"] == {"name": "test", "version": "1", "sha256": prediction.bundle.sha256}
    assert report["source"] == "1.2.3.4.5.6"
    assert report["notice"] == NOTICE
    assert not report["verified"]
    assert report["detail"] == " ".join(prediction.detail.split())
    if case in SILENT:
        assert (report["finding"], report["probability"], report["sensitivity"], report["zones"]) == (
            None,
            None,
            None,
            {},
        )
        assert report["status"] == ("no_answer" if case is rejected else "outside")
        assert report["decision"] == ("rejected" if case is rejected else "refer")
        assert report["reasons"] == [prediction.reasons[-1].value]
        return
    point = prediction.operating_point
    assert report["status"] == "answered"
    assert report["decision"] == prediction.decision.value
    assert report["finding"] == ("Затемнение (opacity)" if case is own_classes else "Pneumonia")
    assert report["probability"] == pytest.approx(prediction.pneumonia_probability, rel=1e-14)
    assert (report["operating_point"], report["fitted_on"]) == ("balanced", "nothing")
    assert report["threshold"] == pytest.approx(point.threshold)
    assert (report["sensitivity"], report["specificity"]) == pytest.approx((point.sensitivity, point.specificity))
    assert report["reasons"] == [reason.value for reason in prediction.reasons]
    assert report["zones"] == ({} if case is normal else pytest.approx(ZONE_VALUES))


@pytest.mark.parametrize("case", SILENT)
def test_nothing_about_a_finding_leaves_where_there_is_no_answer(case, header, predicted, manifest):
    prediction = case(predicted)
    answers = answers_of(header, prediction, manifest)
    words = "No answer" if case is rejected else "Outside validated population"
    assert words in str(answers["sr"])
    assert headline(replace(prediction, pneumonia_probability=None)) == words
    for dataset in answers.values():
        text = str(dataset).replace(str(dataset.get("SeriesDescription")), "")
        assert "233604007" not in text
        assert "Certainty of Finding" not in text
        assert "near_threshold" not in text
    bundle = diagnostic_report(header, prediction, manifest, ALL, MADE)
    observation = bundle["entry"][1]["resource"]
    assert "valueQuantity" not in observation
    assert "interpretation" not in observation
    assert observation["dataAbsentReason"]["text"] == words


@pytest.mark.parametrize("window", [("", "4096"), ("1e400", "4096"), ("2048", "0.1"), ("2048\\1", "4096")])
def test_unusable_windows_get_no_presentation_state_that_repeats_them(window, pixels, predicted, manifest):
    with disable_value_validation():
        dataset = radiograph(pixels)
        for keyword, value in zip(("WindowCenter", "WindowWidth"), window, strict=True):
            put_raw(dataset, keyword, value.encode())
        answers = answers_of(repaired(dataset), pneumonia(predicted), manifest)
    assert {"sr", "sc"} <= set(answers)
    assert "gsps" not in answers or "SoftcopyVOILUTSequence" not in answers["gsps"]


def test_report_says_what_it_is(header, predicted, manifest):
    report = answers_of(header, pneumonia(predicted), manifest)["sr"]
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert answers_of(header, rejected(predicted), manifest)["sr"].CompletionFlag == "PARTIAL"
    for dataset in answers_of(header, pneumonia(predicted), manifest).values():
        assert dataset.ContentQualification == "RESEARCH"
        assert dataset.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99PNEUMO"
        assert "research use only" in dataset.SeriesDescription


@pytest.mark.parametrize("case", CASES)
def test_report_is_text_to_a_viewer(case, header, predicted, manifest):
    report = reread(answers_of(header, case(predicted), manifest)["sr"])
    [title] = report.ConceptNameCodeSequence
    # Viewers look for coordinates in a report titled Imaging Measurement Report (126000), and show nothing where there are none.
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("112000", "DCM")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    flows = [element.value for element in report.iterall() if element.keyword == "ContinuityOfContent"]
    assert flows == 5 * ["SEPARATE"]


@pytest.mark.parametrize("kind", KINDS)
def test_patient_and_study_are_the_images(kind, header, predicted, manifest, pixels):
    answer, source = reread(answers_of(header, pneumonia(predicted), manifest)[kind]), radiograph(pixels)
    shared = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID")
    shared += ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "SpecificCharacterSet")
    assert {name: answer[name].value for name in shared} == {name: source[name].value for name in shared}
    assert answer.SeriesInstanceUID != source.SeriesInstanceUID
    assert "Müller".encode("latin-1") in written(answer)


def test_names_are_kept_beside_classes_in_another_script(header, predicted, manifest):
    answer = reread(answers_of(header, own_classes(predicted), manifest)["sr"])
    assert answer.SpecificCharacterSet == "ISO_IR 192"
    assert answer.PatientName == "Müller^Zoë"
    assert read_report(answer)["finding"] == "Затемнение (opacity)"


def test_identifiers_follow_from_image_bundle_point_and_kind(header, predicted, manifest):
    first = answers_of(header, pneumonia(predicted), manifest)
    again = answers_of(header, pneumonia(predicted), manifest, made=MADE + timedelta(days=9))
    assert {kind: each.SOPInstanceUID for kind, each in first.items()} == {
        kind: each.SOPInstanceUID for kind, each in again.items()
    }
    uids = [uid for each in first.values() for uid in (each.SOPInstanceUID, each.SeriesInstanceUID)]
    assert len(set(uids)) == 2 * len(KINDS)
    assert all(re.fullmatch(r"2\.25\.[1-9]\d{1,38}", uid) for uid in uids)
    point = replace(predicted.operating_point, name="sensitive")
    other = {
        "image": answers_of(_with(header, SOPInstanceUID="1.2.3.9"), pneumonia(predicted), manifest),
        "point": answers_of(header, replace(pneumonia(predicted), operating_point=point), manifest),
        "bundle": answers_of(
            header, replace(pneumonia(predicted), bundle=replace(predicted.bundle, sha256="0" * 64)), manifest
        ),
    }
    for name, answers in other.items():
        for kind in KINDS:
            assert answers[kind].SOPInstanceUID != first[kind].SOPInstanceUID
            assert (answers[kind].SeriesInstanceUID == first[kind].SeriesInstanceUID) == (name != "bundle")


def test_same_answers_have_the_same_bytes(header, predicted, manifest):
    """No clock and no chance: what is made again after a kill is what was made before."""
    files = [
        {kind: written(each) for kind, each in answers_of(header, pneumonia(predicted), manifest).items()}
        for _ in range(2)
    ]
    assert files[0] == files[1]


def test_times_are_at_the_offset_of_the_header(header, predicted, manifest):
    plain = answers_of(header, pneumonia(predicted), manifest)
    stated = answers_of(_with(header, TimezoneOffsetFromUTC="-0330"), pneumonia(predicted), manifest)
    for dataset in plain.values():
        assert "TimezoneOffsetFromUTC" not in dataset, "it would say of the study's time what the image does not"
        assert (dataset.InstanceCreationDate, dataset.InstanceCreationTime) == ("20260304", "233015")
    for dataset in stated.values():
        assert (dataset.TimezoneOffsetFromUTC, dataset.InstanceCreationTime) == ("-0330", "190015")
    assert (stated["sr"].ContentDate, stated["sr"].ContentTime) == ("20260304", "190015")
    late = answers_of(_with(header, TimezoneOffsetFromUTC="+0900"), pneumonia(predicted), manifest)
    assert late["sc"].ContentDate == "20260305"
    with pytest.raises(InputError, match="offset from UTC"):
        answers_of(header, pneumonia(predicted), manifest, made=datetime(2026, 3, 4))


@pytest.mark.parametrize("case", CASES)
def test_secondary_capture_shows_film_and_words(case, header, predicted, manifest):
    capture = reread(answers_of(header, case(predicted), manifest)["sc"])
    picture = capture.pixel_array
    assert picture.shape == (capture.Rows, capture.Columns, 3)
    assert max(picture.shape) <= LONGEST_SIDE
    # Words above and below, light on dark.
    assert picture[:80].max() > 200
    assert picture[-30:].max() > 200
    assert list(capture.ImageType) == ["DERIVED", "SECONDARY"]
    [source] = capture.SourceImageSequence
    assert (source.ReferencedSOPInstanceUID, source.ReferencedSOPClassUID) == ("1.2.3.4.5.6", DX)
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    # The film is black here: colour inside of it is evidence.
    film = picture[len(picture) // 2].astype(int)
    assert bool(np.ptp(film, axis=1).max() > 8) == (case not in SILENT)


@pytest.mark.parametrize(("stated", "written_as"), [("YES", "YES"), ("NO", "NO"), (None, None), ("MAYBE", None)])
def test_burned_in_annotation_is_what_the_image_says(stated, written_as, pixels, predicted, manifest):
    """The picture adds nobody's name, and cannot know whether the film has one."""
    more = {} if stated is None else {"BurnedInAnnotation": stated}
    answers = answers_of(repaired(radiograph(pixels, **more)), pneumonia(predicted), manifest)
    assert answers["sc"].get("BurnedInAnnotation") == written_as


@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 900), (900, 3), (64, 64), (40, 2000), (2000, 40), (1500, 1200), (1200, 1500)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_films_of_every_shape_fit_between_the_words(shape, dtype, predicted):
    image = np.full(shape, np.iinfo(dtype).max, dtype)
    prediction = replace(pneumonia(predicted), evidence_map=None)
    picture = np.asarray(draw_answer(prediction, image, "test 1"))
    assert max(picture.shape) <= LONGEST_SIDE
    assert picture.shape[1] >= 640
    white = (picture == 255).all(axis=2)
    rows, columns = white.any(axis=1).sum(), white.any(axis=0).sum()
    assert rows / columns == pytest.approx(shape[0] / shape[1], rel=0.5, abs=0.02) or min(rows, columns) == 1
    # No film lies beneath words: above and below it there is a band of another grey.
    assert not white[0].any()
    assert not white[-1].any()


@settings(max_examples=40)
@example(
    shape=(512, 512),
    case=outside,
    reasons=[Reason.OUTSIDE_POPULATION, Reason.OUTSIDE_AGE],
    text="word ",
    length=33,
)
@given(
    shape=st.one_of(st.just((512, 512)), st.tuples(st.integers(1, 1500), st.integers(1, 1500))),
    case=st.sampled_from(CASES),
    reasons=st.lists(st.sampled_from(list(Reason)), unique=True, max_size=5),
    text=st.sampled_from(["", "word ", "Röntgenbild außerhalb ", "рентген ", "胸部X線写真"]),
    length=st.integers(0, 60),
)
def test_no_words_are_cut_whatever_the_film_and_the_words(shape, case, reasons, text, length, predicted):
    """Narrower pictures have more rows of words, for which the film has to leave room."""
    words = (text * length).strip()
    prediction = replace(case(predicted), reasons=tuple(reasons), detail=words)
    prediction = withheld(replace(prediction, operating_point=replace(predicted.operating_point, fitted_on=words)))
    drawn = draw_answer(prediction, np.zeros(shape, np.uint8), "test 1")
    assert max(drawn.size) <= LONGEST_SIDE
    below = picture._below(prediction, "test 1")
    band = Image.new("RGB", (drawn.width, picture._height(below, drawn.width)), picture._BAND)
    picture._write(band, below, 0)
    assert drawn.crop((0, drawn.height - band.height, *drawn.size)).tobytes() == band.tobytes()


def test_research_use_notice_is_whole_in_the_narrowest_picture():
    line = picture._Line(NOTICE, picture._NOTICE)
    assert " ".join(picture._broken(line, picture._NARROWEST)) == NOTICE


def test_words_that_are_too_long_are_cut(predicted):
    point = replace(predicted.operating_point, fitted_on="films " * 400)
    picture = draw_answer(
        replace(pneumonia(predicted), operating_point=point), np.zeros((500, 500), np.uint8), "x" * 300
    )
    assert max(picture.size) <= LONGEST_SIDE


def test_no_words_are_about_the_patient(header, predicted, manifest):
    image = np.zeros((150, 120), np.uint8)
    capture = answers_of(header, pneumonia(predicted), manifest, image)["sc"]
    anonymous = _with(header, PatientName="", PatientID="", AccessionNumber="", ReferringPhysicianName="", StudyID="")
    assert capture.PixelData == answers_of(anonymous, pneumonia(predicted), manifest, image)["sc"].PixelData


def test_unreadable_image_gets_a_picture_that_says_so(header, predicted, manifest):
    prediction = replace(rejected(predicted), reasons=(Reason.UNREADABLE,))
    answers = make_answers(header, prediction, None, manifest, ALL, MADE)
    picture = answers["sc"].pixel_array
    assert picture[picture.shape[0] // 2 - 60 : picture.shape[0] // 2 + 60].max() > 100


@pytest.mark.parametrize(
    ("fault", "explanation"),
    [
        ({"PhotometricInterpretation": "YBR_FULL_422", "SamplesPerPixel": 3}, "found this image (colour"),
        ({"PixelData": b"\0\0"}, "found this image (damaged DICOM"),
        (None, "found this image (longer than 10 s)"),
    ],
)
def test_path_of_the_file_is_neither_in_answers_nor_in_the_record(fault, explanation, pixels, detector, tmp_path):
    path = tmp_path / "muster_zoe.dcm"
    path.write_bytes(written(radiograph(pixels, **fault or {})))
    task = AnswerImages([f"{tmp_path}/./{path.name}"], PredictionRequest(), (*KINDS, FHIR), "NODE", MADE)
    [found] = task.run(detector, iter) if fault else task.reject(detector, "longer than 10 s")
    assert explanation in found.prediction["detail"]
    assert read_report(pydicom.dcmread(path.with_suffix(".sr")))["detail"] == found.prediction["detail"]
    for content in (json.dumps(asdict(found)).encode(), *(path.with_suffix(f".{k}").read_bytes() for k in found.kinds)):
        assert str(tmp_path).encode() not in content
        assert path.stem.encode() not in content


def test_presentation_state_outlines_the_frame(header, predicted, manifest):
    prediction = replace(pneumonia(predicted), frame=(0.1, 0.2, 0.9, 1.1))
    state = answers_of(header, prediction, manifest)["gsps"]
    [annotation] = state.GraphicAnnotationSequence
    corners = np.array(annotation.GraphicObjectSequence[0].GraphicData).reshape(-1, 2)
    assert corners[0] == pytest.approx((24, 15))
    assert corners[2] == pytest.approx((120, 135))
    assert NOTICE in annotation.TextObjectSequence[0].UnformattedTextValue
    [area] = state.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaBottomRightHandCorner) == [120, 150]
    assert state.SoftcopyVOILUTSequence[0].WindowWidth == 4096


def test_presentation_state_inverts_monochrome1_and_needs_a_grey_image(pixels, predicted, manifest):
    inverted = repaired(radiograph(pixels, PhotometricInterpretation="MONOCHROME1"))
    assert answers_of(inverted, pneumonia(predicted), manifest)["gsps"].PresentationLUTShape == "INVERSE"
    colour = repaired(radiograph(pixels, PhotometricInterpretation="RGB"))
    assert set(answers_of(colour, rejected(predicted), manifest)) == {"sr", "sc"}


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("case", CASES)
def test_dsrdump_has_nothing_to_say(case, header, predicted, manifest, tmp_path):
    file = tmp_path / "report.dcm"
    file.write_bytes(written(answers_of(header, case(predicted), manifest)["sr"]))
    ran = subprocess.run(["dsrdump", file], capture_output=True, text=True, errors="replace")
    # dcmtk checks no values in UTF-8, and says so.
    said = [line for line in ran.stderr.splitlines() if "does not support this Specific Character Set" not in line]
    assert (ran.returncode, said) == (0, [])
    assert "Measurement Group" in ran.stdout


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools are not installed")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_dciodvfy_finds_no_error(case, kind, header, predicted, manifest, tmp_path):
    file = tmp_path / "answer.dcm"
    file.write_bytes(written(answers_of(header, case(predicted), manifest)[kind]))
    ran = subprocess.run(["dciodvfy", "-new", file], capture_output=True, text=True, errors="replace")
    lines = (ran.stderr + ran.stdout).splitlines()
    assert not [line for line in lines if line.startswith("Error")]
    # It knows no private coding scheme, though the answer identifies it.
    warnings = [line for line in lines if line.startswith("Warning")]
    known = ["Unrecognized defined term = <99PNEUMO>"]
    # Without an image module it cannot know that the chest is unpaired: an error where laterality is absent, this where it is empty.
    known += ["</Laterality(0020,0060)> - is only permitted to be empty"] if kind == "gsps" else []
    assert not [line for line in warnings if not any(each in line for each in known)]


@pytest.mark.skipif(shutil.which("dcmpschk") is None, reason="dcmtk is not installed")
def test_dcmpschk_passes_the_presentation_state(header, predicted, manifest, tmp_path):
    file = tmp_path / "state.dcm"
    file.write_bytes(written(answers_of(header, pneumonia(predicted), manifest)["gsps"]))
    ran = subprocess.run(["dcmpschk", file], capture_output=True, text=True, errors="replace")
    assert "Test passed" in ran.stdout + ran.stderr


@pytest.mark.parametrize("case", CASES)
def test_fhir_names_image_bundle_and_probability(case, header, predicted, manifest):
    prediction = case(predicted)
    bundle = diagnostic_report(header, prediction, manifest, ALL, MADE)
    report, observation, device = (entry["resource"] for entry in bundle["entry"])
    assert (report["status"], observation["status"]) == ("preliminary", "preliminary")
    assert report["imagingStudy"][0]["identifier"]["value"] == "urn:oid:1.2.3.4"
    assert observation["derivedFrom"][1]["identifier"]["value"] == "urn:oid:1.2.3.4.5.6"
    assert report["result"][0]["reference"] == bundle["entry"][1]["fullUrl"]
    assert device["identifier"][0]["value"].endswith(prediction.bundle.sha256)
    assert report["subject"]["identifier"]["value"] == "4711"
    assert NOTICE.rstrip(".") in report["conclusion"]
    assert bundle["timestamp"] == "2026-03-04T23:30:15+01:00"
    if case not in SILENT:
        assert float(observation["valueQuantity"]["value"]) == pytest.approx(
            100 * prediction.pneumonia_probability, abs=1e-4
        )
        expected = {Decision.PNEUMONIA: "POS", Decision.NORMAL: "NEG", Decision.REFER: "IND"}[prediction.decision]
        assert observation["interpretation"][0]["coding"][0]["code"] == expected
    assert bundle == diagnostic_report(header, prediction, manifest, ALL, MADE)


def test_header_leaves_out_pixels_and_other_elements(pixels, tmp_path):
    file = tmp_path / "film.dcm"
    file.write_bytes(written(radiograph(pixels, PatientComments="private")))
    header = read_header(file)
    assert "PixelData" not in header
    assert "PatientComments" not in header
    assert header.Rows == 150


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", ["", "abc"])
def test_header_without_identifiers_is_refused(keyword, value, pixels):
    with disable_value_validation():
        dataset = radiograph(pixels)
        setattr(dataset, keyword, value)
    with pytest.raises(DataError, match=f"a {keyword}"):
        repaired(dataset)


def test_file_that_is_no_dicom_object_is_refused_in_one_line(tmp_path):
    file = tmp_path / "film.dcm"
    file.write_bytes(b"\x89PNG" * 40)
    for path in (file, tmp_path / "missing.dcm"):
        with pytest.raises(DataError) as caught:
            read_header(path)
        assert "\n" not in str(caught.value)


def test_values_that_are_not_valid_are_emptied_and_missing_ones_are_there(pixels):
    with disable_value_validation():
        dataset = radiograph(
            pixels, StudyDate="20200101-20210101", StudyTime="25:99", PatientSex="X", PatientBirthDate="tomorrow"
        )
        dataset.PatientOrientation = ["left", "FOOT!"]
        for keyword in ("StudyID", "AccessionNumber", "ReferringPhysicianName", "PatientName", "PatientID"):
            delattr(dataset, keyword)
        header = repaired(reread(dataset))
    empty = ("StudyDate", "StudyTime", "PatientSex", "PatientBirthDate", "StudyID", "AccessionNumber", "PatientName")
    assert {keyword: str(header[keyword].value or "") for keyword in empty} == dict.fromkeys(empty, "")
    assert "PatientOrientation" not in header


def test_identifiers_longer_than_allowed_are_kept(pixels, predicted, manifest):
    """A PACS files by these values: an answer with a shorter one would belong to another patient."""
    with disable_value_validation():
        header = repaired(reread(radiograph(pixels, PatientID="7" * 90, AccessionNumber="long" * 9)))
    for dataset in answers_of(header, pneumonia(predicted), manifest).values():
        again = reread(dataset)
        assert (again.PatientID, again.AccessionNumber) == ("7" * 90, "long" * 9)


@pytest.mark.parametrize(
    ("stated", "stored", "expected"),
    [
        ("ISO_IR 192", "Zoë".encode(), "ISO_IR 192"),
        ("ISO_IR 192", "Zoë".encode("latin-1"), "ISO_IR 100"),
        (None, "Zoë".encode("latin-1"), "ISO_IR 100"),
        (None, b"Zoe", None),
        ("ISO_IR 999", "Zoë".encode("latin-1"), "ISO_IR 100"),
        ("ISO_IR 144", "Зоя".encode("iso8859_5"), "ISO_IR 144"),
    ],
)
def test_names_go_back_in_the_bytes_they_came(stated, stored, expected, pixels, predicted, manifest):
    dataset = radiograph(pixels, ReferringPhysicianName="x", IssuerOfPatientID="x")
    del dataset.SpecificCharacterSet
    if stated:
        dataset.SpecificCharacterSet = stated
    even = stored + b" " * (len(stored) % 2)
    put_raw(dataset, "PatientName", even)
    header = repaired(dataset)
    assert header.get("SpecificCharacterSet") == expected
    for answer in answers_of(header, pneumonia(predicted), manifest).values():
        assert b"\x10\x00\x10\x00PN" + len(even).to_bytes(2, "little") + even in written(answer)


def put_raw(dataset, keyword, content):
    """Puts bytes into an object as a file has them, whatever they are."""
    tag, vr = pydicom.tag.Tag(keyword), pydicom.datadict.dictionary_VR(keyword)
    dataset._dict[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(content), content, 0, False, True)


AWKWARD = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["", " ", "\\", "a\\b", "=^=", "20260230", "-1", "1e400", "NaN", "\x00", "\x1b$B", "Ω≈ç", "0" * 99]
    ),
)
TEXTS = ("PatientName", "PatientID", "IssuerOfPatientID", "StudyID", "AccessionNumber", "ReferringPhysicianName")
OTHERS = ("PatientBirthDate", "PatientSex", "PatientAge", "StudyDate", "StudyTime", "StudyDescription", "PatientWeight")
MORE = (
    "InstanceNumber",
    "WindowCenter",
    "WindowWidth",
    "ImageLaterality",
    "PatientOrientation",
    "TimezoneOffsetFromUTC",
)


@settings(max_examples=25)
@given(values=st.dictionaries(st.sampled_from((*TEXTS, *OTHERS, *MORE, "SpecificCharacterSet")), AWKWARD, max_size=8))
def test_awkward_headers_are_answered(values, pixels, predicted, manifest):
    """Whatever a header holds, all answers are made, written and read, and the report says the same."""
    with disable_value_validation():
        dataset = radiograph(pixels, SpecificCharacterSet="ISO_IR 192")
        for keyword, value in values.items():
            text = value.encode("utf-8", "replace")[:400]
            put_raw(dataset, keyword, text)
        header = repaired(dataset)
        answers = answers_of(header, pneumonia(predicted), manifest, np.zeros((40, 40), np.uint8))
        # A presentation state would repeat a window that no viewer can use.
        assert set(answers) - {"gsps"} == {"sr", "sc"}
        again = {kind: reread(answer) for kind, answer in answers.items()}
        with warnings.catch_warnings():
            # Names go back as they came, also those that a reader warns of.
            warnings.simplefilter("ignore")
            for answer in again.values():
                assert answer.StudyInstanceUID == "1.2.3.4"
                str(answer)
        assert read_report(again["sr"])["probability"] == pytest.approx(0.912345678901)
        diagnostic_report(header, pneumonia(predicted), manifest, ALL, MADE)


@pytest.mark.parametrize("class_uid", ["1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.7", "1.2.3.99"])
def test_images_of_other_classes_are_answered(class_uid, pixels, predicted, manifest):
    header = repaired(radiograph(pixels, SOPClassUID=class_uid))
    answers = answers_of(header, pneumonia(predicted), manifest, chosen=AnswerSettings())
    assert read_report(reread(answers["sr"]))["source"] == "1.2.3.4.5.6"


@pytest.mark.parametrize(
    ("class_uid", "stated", "expected"),
    [
        ("1.2.840.10008.5.1.4.1.1.7", "DX", "DX"),
        ("1.2.840.10008.5.1.4.1.1.7", "CR", "CR"),
        ("1.2.840.10008.5.1.4.1.1.7", "OT", "OT"),
        ("1.2.840.10008.5.1.4.1.1.7", "RG", "RG"),
        ("1.2.840.10008.5.1.4.1.1.7", "", "OT"),
        ("1.2.840.10008.5.1.4.1.1.1", "PX", "CR"),
        (DX, "", "DX"),
        ("1.2.3.99", "", None),
    ],
)
def test_report_has_the_modality_of_the_header_else_that_of_the_class(
    class_uid, stated, expected, pixels, predicted, manifest
):
    header = repaired(radiograph(pixels, SOPClassUID=class_uid, Modality=stated))
    report = reread(answers_of(header, pneumonia(predicted), manifest, chosen=AnswerSettings(("sr",)))["sr"])
    items = [each for each in report.iterall() if each.keyword == "ConceptCodeSequence"]
    codes = [each.value[0].CodeValue for each in items]
    assert [code for code in codes if code in ("CR", "DX", "RG", "OT", "PX")] == ([expected] if expected else [])


def test_settings_and_manifest_are_checked(header, predicted, manifest):
    with pytest.raises(ConfigError, match="out of sr, sc, gsps, found pdf"):
        AnswerSettings(("sr", "pdf"))
    with pytest.raises(ConfigError, match="1 to 16 characters"):
        AnswerSettings(station="A" * 17)
    with pytest.raises(InputError, match="manifest of test 1, found that of other 1"):
        answers_of(header, predicted, replace(manifest, name="other"))


def test_report_of_another_device_is_refused(header, predicted, manifest):
    capture = answers_of(header, pneumonia(predicted), manifest)["sc"]
    with pytest.raises(DataError, match="structured report of pneumoscope"):
        read_report(capture)


def test_times_in_utc_are_written_so(header, predicted, manifest):
    stated = _with(header, TimezoneOffsetFromUTC="+0000")
    answer = answers_of(stated, pneumonia(predicted), manifest)["sr"]
    assert (answer.TimezoneOffsetFromUTC, answer.ContentTime) == ("+0000", "223015")


def _with(header, **values):
    changed = pydicom.Dataset()
    for element in header:
        changed.add(copy(element))
    for keyword, value in values.items():
        setattr(changed, keyword, value)
    return changed
