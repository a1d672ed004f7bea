"""Data sets whose classes have any names, and the report of their audit."""

import json
import re

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicom_objects import dataset_of, written
from pneumoscope.data.any_classes import open_any_classes
from pneumoscope.data.audit import audit
from pneumoscope.data.audit_report import write_audit
from pneumoscope.data.index import build_index, load_index, save_index
from pneumoscope.data.layouts import folders, table
from pneumoscope.data.sources import DataNames
from pneumoscope.errors import DataError, LeakageError
from pneumoscope.types import Split


def draw(path, rng, size=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8)).save(path)


def classes_of(source):
    return {(image.split.value, image.class_name) for image in source.images}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("Zyste/a.png", "Tumor/b.png"), {("train", "Zyste"), ("train", "Tumor")}),
        (("all/x/Zyste/a.png", "all/x/Tumor/b.png"), {("train", "Zyste"), ("train", "Tumor")}),
        (("Train/Zyste/a.png", "test/Tumor/b.png"), {("train", "Zyste"), ("test", "Tumor")}),
        (("Zyste/train/a.png", "Tumor/val/b.png"), {("train", "Zyste"), ("validation", "Tumor")}),
        (("TB/site/a.png", "normal/site/b.png"), {("train", "TB"), ("train", "normal")}),
        (("berlin/normal/a.png", "rom/TB/b.png", "rom/normal/c.png"), {("train", "TB"), ("train", "normal")}),
        (("0/a.png", "1/b.png", "10/c.png", "2/d.png"), {("train", n) for n in ("0", "1", "2", "10")}),
    ],
)
def test_folders_of_any_names_are_classes(tmp_path, rng, paths, expected):
    for path in paths:
        draw(tmp_path / path, rng)
    source = open_any_classes(tmp_path)
    assert classes_of(source) == expected
    assert source.own_classes


def test_usual_names_are_opened_as_everywhere_else(phantoms):
    source = open_any_classes(phantoms)
    assert not source.own_classes
    assert {row.class_name for row in build_index(source).rows} == {""}


def test_the_negative_class_comes_first_and_numbers_in_their_order(tmp_path, rng):
    for name in ("10", "9", "healthy", "zoster"):
        draw(tmp_path / name / "a.png", rng)
    assert open_any_classes(tmp_path).scheme.names == ("healthy", "zoster", "9", "10")


def test_a_table_gives_classes_patients_splits_and_further_columns(tmp_path, rng):
    for name in "abc":
        draw(tmp_path / f"{name}.png", rng)
    table = tmp_path / "t.csv"
    lines = [
        "image;Befund;Case;split;Geraet;age",
        "a.png;Zyste;p1;train;X1;044Y",
        "b.png;tumor;p1;dev;X2;50",
        "c.png;Tumor;p2;test;;",
    ]
    table.write_text("\n".join(lines) + "\n")
    source = open_any_classes(table, DataNames(columns={"class": "Befund", "patient": "Case"}))
    assert classes_of(source) == {("train", "Zyste"), ("validation", "tumor"), ("test", "tumor")}
    assert "classes tumor (2), Zyste (1)" in source.names_taken
    index = build_index(source)
    assert index.properties[0]["column Geraet"] == "X1"
    assert (index.properties[0]["age"], index.properties[1]["age"]) == (44, 50)
    with pytest.raises(LeakageError, match="every patient in one split"):
        audit(index).raise_for_errors()
    mapped = open_any_classes(table, DataNames({"Zyste": "cyst", "Tumor": "mass"}, {"class": "Befund"}))
    assert {name for _, name in classes_of(mapped)} == {"cyst", "mass"}


def test_another_column_of_the_label_is_no_cue(tmp_path, rng):
    draw(tmp_path / "a.png", rng)
    draw(tmp_path / "b.png", rng)
    (tmp_path / "t.csv").write_text("path,class,finding,Diagnosis,site\na.png,x,1,1,s\nb.png,y,2,2,t\n")
    assert [set(image.further) for image in open_any_classes(tmp_path / "t.csv").images] == [{"site"}, {"site"}]


def test_medmnist_of_any_number_of_classes_in_colour(tmp_path, rng):
    arrays = {}
    for part, count in (("train", 90), ("val", 30), ("test", 30)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(count)[:, None] % 3
    np.savez(tmp_path / "bloodmnist.npz", **arrays)
    source = open_any_classes(tmp_path / "bloodmnist.npz")
    result = audit(build_index(source, acquisition=True))
    assert source.scheme.names == ("0", "1", "2")
    assert {cue.split for cue in result.cues if cue.is_known} == set(Split)
    assert result.findings == ()
    grey = source.read("bloodmnist.npz#test/4")
    assert np.array_equal(grey, np.asarray(Image.fromarray(arrays["test_images"][4]).convert("L")))


def test_medmnist_with_several_labels_an_image_is_refused(tmp_path):
    arrays = {f"{p}_images": np.zeros((4, 28, 28), np.uint8) for p in ("train", "val", "test")}
    np.savez(
        tmp_path / "chestmnist.npz", **arrays, **{f"{p}_labels": np.zeros((4, 14)) for p in ("train", "val", "test")}
    )
    with pytest.raises(DataError, match=r"one label for each image .* found labels of shape \(4, 14\)"):
        open_any_classes(tmp_path / "chestmnist.npz")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("scans/a.png",), "expected images of two classes or more .* found scans"),
        ((), "expected a folder with a folder for each class, .* found no image in a folder"),
    ],
)
def test_fewer_than_two_classes_are_an_error(tmp_path, rng, paths, message):
    for path in paths:
        draw(tmp_path / path, rng)
    with pytest.raises(DataError, match=message):
        open_any_classes(tmp_path)


def test_tables_of_labels_beside_the_images_are_named(tmp_path, rng):
    for name in ("a", "b"):
        draw(tmp_path / f"{name}.png", rng)
    labels = tmp_path / "labels.csv"
    labels.write_text("path,class\na.png,cyst\nb.png,mass\n")
    advice = f"labels lie in labels.csv, to use those of a table: --data {labels}"
    with pytest.raises(DataError, match=f"found no image in a folder below .*: {re.escape(advice)}"):
        open_any_classes(tmp_path)
    for name in ("cyst", "mass"):
        draw(tmp_path / name / "c.png", rng)
    assert open_any_classes(tmp_path).names_taken.endswith(advice)


def test_a_table_beside_one_folder_of_images_is_named(tmp_path, rng):
    draw(tmp_path / "img" / "a.png", rng)
    (tmp_path / "labels.csv").write_text("path,class\nimg/a.png,cyst\n")
    advice = f"--data {tmp_path / 'labels.csv'}, or name a folder with a folder for each class"
    with pytest.raises(DataError, match=f"found img: labels lie in labels.csv, .*{re.escape(advice)}"):
        open_any_classes(tmp_path)


def test_rows_without_a_class_are_left_out_as_such(tmp_path, rng):
    for name in "abc":
        draw(tmp_path / f"{name}.png", rng)
    table = tmp_path / "t.csv"
    table.write_text("path,class\na.png,cyst\nb.png,mass\nc.png,\n")
    source = open_any_classes(table, DataNames({"cyst": "a", "mass": "b"}))
    assert source.left_out == {"no class": 1}
    assert source.names_taken.endswith("left out: no class (1)")
    with pytest.raises(DataError, match=r"found cyst, mass and none named zyste"):
        open_any_classes(table, DataNames({"zyste": "a", "cyst": "b"}))


def test_files_of_a_folder_and_rows_of_a_table_are_read_once(tmp_path, rng, monkeypatch):
    for name in ("cyst", "mass"):
        draw(tmp_path / name / "a.png", rng)
    (tmp_path / "t.csv").write_text("path,class\ncyst/a.png,cyst\nmass/a.png,mass\n")
    opened = []
    walk, read = folders.walk_folder, table.read_rows
    monkeypatch.setattr(folders, "walk_folder", lambda *given: opened.append("folder") or walk(*given))
    monkeypatch.setattr(table, "read_rows", lambda *given: opened.append("table") or read(*given))
    assert classes_of(open_any_classes(tmp_path)) == classes_of(open_any_classes(tmp_path / "t.csv"))
    assert opened == ["folder", "table"]


def test_a_class_of_the_map_without_an_image_is_an_error(tmp_path, rng):
    for name in ("cyst", "mass"):
        draw(tmp_path / name / "a.png", rng)
    with pytest.raises(DataError, match=r"found cyst, mass and none named masse \(did you mean mass\?\): correct"):
        open_any_classes(tmp_path, DataNames({"cyst": "a", "mass": "b", "masse": "c"}))


def test_a_patient_folder_in_two_splits_is_leakage_where_classes_have_names_of_their_own(tmp_path, rng):
    for split in ("train", "test"):
        for patient in range(10):
            draw(tmp_path / split / ("cyst" if patient % 2 else "mass") / f"p{patient}" / "1.png", rng)
    with pytest.raises(LeakageError, match="found 10 in two"):
        audit(build_index(open_any_classes(tmp_path))).raise_for_errors()


def test_patient_folders_that_are_numbered_afresh_in_each_split_are_no_leak(tmp_path, rng):
    for split in ("train", "test"):
        for patient in range(12):
            draw(tmp_path / split / ("TB" if patient % 2 else "clear") / f"{patient}" / "x.png", rng)
    index = build_index(open_any_classes(tmp_path))
    assert len({row.patient for row in index.rows}) == 24
    audit(index).raise_for_errors()


def test_a_patient_folder_with_the_name_of_a_class_is_no_class(tmp_path, rng):
    for name in ("0", "1", "2"):
        for patient in range(12):
            draw(tmp_path / name / f"{patient}" / "x.png", rng)
    source = open_any_classes(tmp_path)
    assert {(image.path.split("/")[0], image.class_name) for image in source.images} == {(n, n) for n in "012"}


def test_patients_above_classes_are_patients(tmp_path, rng):
    for patient in range(12):
        for name in ("benign", "malignant"):
            draw(tmp_path / f"p{patient}" / name / "x.png", rng)
    source = open_any_classes(tmp_path)
    assert classes_of(source) == {("train", "benign"), ("train", "malignant")}
    assert len({row.patient for row in build_index(source).rows}) == 12


def test_masks_are_left_out_and_counted(tmp_path, rng):
    for name in ("TB/images/a", "TB/masks/a", "TB/masks/b", "TB/masks/c", "clear/images/b"):
        draw(tmp_path / f"{name}.png", rng)
    source = open_any_classes(tmp_path)
    assert len(source.images) == 2
    assert "left out: masks (3)" in source.names_taken


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("COVID-19", "Pneumonia", "Normal"), 3),
        (("bacterial", "viral", "normal"), 0),
        (("covid", "normal"), 0),
        (("covid", "viral", "normal"), 3),
    ],
)
def test_only_causes_are_merged_into_pneumonia(tmp_path, rng, names, classes):
    for name in names:
        draw(tmp_path / name / "a.png", rng)
    source = open_any_classes(tmp_path)
    assert (len(source.scheme.names) if source.own_classes else 0) == classes


def test_an_index_of_own_classes_is_read_back(tmp_path, rng):
    for name in ("cyst", "mass"):
        draw(tmp_path / name / "a.png", rng)
    index = build_index(open_any_classes(tmp_path))
    save_index(index, tmp_path / "index.csv")
    back = load_index(tmp_path / "index.csv")
    assert (back.rows, back.hash) == (index.rows, index.hash)
    assert {row.label for row in back.rows} == {"cyst", "mass"}


@pytest.fixture
def dicom_set(tmp_path, rng):
    """DICOM objects whose institution tells the class, of named patients; half of the patients have two images."""
    names = {"cyst": "Alpha Hospital", "mass": "Beta Clinic"}
    for number in range(60):
        kind = ("cyst", "mass")[number % 2]
        dataset = dataset_of(
            rng.integers(0, 4096, (40, 44), dtype=np.uint16),
            PatientName="Doe^Jane",
            PatientID=f"secret{number // 2 - number // 2 % 2}{kind}",
            PatientBirthDate="19700102",
            StudyDate="20190304",
            InstitutionName=names[kind],
            Manufacturer="Maker",
            ViewPosition="PA",
            AccessionNumber=f"acc{number}",
        )
        file = tmp_path / "set" / kind / f"{number}.dcm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(written(dataset))
    return tmp_path / "set"


def test_headers_are_cues_group_by_patient_and_name_no_person(dicom_set, tmp_path):
    source = open_any_classes(dicom_set)
    index = build_index(source, acquisition=True)
    assert len({row.patient for row in index.rows}) == 30
    result = audit(index)
    finding = next(each for each in result.findings if each.subject == "institution")
    assert finding.severity == "warning"
    assert "institution 1" in finding.message
    record = write_audit(result, index, source, tmp_path / "out", {"command": "test"})
    assert json.loads((tmp_path / "out/audit.json").read_text())["classes"] == record["classes"] == ["cyst", "mass"]
    for name in ("audit.json", "audit.md", "audit.html"):
        text = re.sub(r"base64,[^\"]*", "", (tmp_path / "out" / name).read_text())
        assert "institution" in text
        for personal in ("Doe", "Jane", "secret", "Alpha", "Beta", "1970", "0304", "acc1"):
            assert personal not in text, (name, personal)


def test_a_damaged_element_of_a_header_says_nothing(tmp_path, rng):
    for kind in ("cyst", "mass"):
        dataset = dataset_of(rng.integers(0, 4096, (40, 44), dtype=np.uint16), StationName="S")
        dataset[0x0028, 0x1053] = pydicom.DataElement(0x00281053, "DS", None)
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "a.dcm").write_bytes(written(dataset))
    index = build_index(open_any_classes(tmp_path))
    assert all(np.isnan(each["rescale slope"]) for each in index.properties)
    assert {each["station"] for each in index.properties} == {"S"}


def test_the_page_needs_nothing_from_elsewhere_and_shows_each_finding(phantoms, tmp_path):
    source = open_any_classes(phantoms)
    index = build_index(source, acquisition=True)
    result = audit(index)
    write_audit(result, index, source, tmp_path, {"command": "test"}, synthetic=True)
    page, text = ((tmp_path / name).read_text() for name in ("audit.html", "audit.md"))
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/png;base64,") == 2
    assert all(finding.subject in text and finding.remedy[:40] in text for finding in result.findings)
    assert "## What an audit does not see" in text
