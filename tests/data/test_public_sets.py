"""Public sets, read as they are published: phantoms in each layout."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pneumoscope.data.any_classes import open_any_classes
from pneumoscope.data.class_names import DataNames
from pneumoscope.data.filters import ImageFilters
from pneumoscope.data.index import build_index
from pneumoscope.data.layouts import PUBLIC_SETS
from pneumoscope.data.locate import Location, locate
from pneumoscope.data.sources import open_source
from pneumoscope.errors import ConfigError, DataError
from pneumoscope.types import Finding, Split
from public_sets import write_chexpert, write_image, write_nih, write_padchest, write_rsna, write_vindr_pcxr

NORMAL, PNEUMONIA = Finding.NORMAL, Finding.PNEUMONIA
TRAIN, TEST = Split.TRAIN, Split.TEST
WRITERS = {
    "nih": write_nih,
    "rsna": write_rsna,
    "vindr-pcxr": write_vindr_pcxr,
    "chexpert": write_chexpert,
    "padchest": write_padchest,
}


def filters(**values):
    return DataNames(filters=ImageFilters.of(**values))


def findings(source):
    return {image.path.rpartition("/")[2].rpartition(".")[0]: image.finding for image in source.images}


@pytest.mark.parametrize("old", [False, True])
def test_nih(tmp_path, old):
    source = open_source(write_nih(tmp_path, old=old))
    assert source.layout == "nih"
    assert [(i.path, i.finding, i.patient, i.split) for i in source.images] == [
        ("images_001/images/00000001_000.png", NORMAL, "1", TRAIN),
        ("images_001/images/00000001_001.png", PNEUMONIA, "1", TRAIN),
        ("images_001/images/00000002_000.png", PNEUMONIA, "2", TRAIN),
        ("images_002/images/00000004_000.png", NORMAL, "4", TRAIN),
        ("images_002/images/00000005_000.png", NORMAL, "5", TEST),
        ("images_002/images/00000006_000.png", PNEUMONIA, "6", TEST),
    ]
    assert source.images[2].groups == {"age": "004Y" if old else "4", "sex": "F", "view": "AP"}
    assert source.names_taken == (
        "read as NIH ChestX-ray14; no finding is normal (3), pneumonia is pneumonia (3); left out: other findings (1)"
    )
    assert all(image.known_name for image in source.images)


def test_nih_without_lists_has_no_test_images_and_the_corrected_table_counts(tmp_path):
    write_nih(tmp_path, old=True)
    write_nih(tmp_path)
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Patient ID\n00000001_000.png,Pneumonia,9\n"
    )
    (tmp_path / "test_list.txt").unlink()
    images = open_source(tmp_path).images
    assert (len(images), images[0].patient) == (6, "1")
    assert {image.split for image in images} == {TRAIN}


@pytest.mark.parametrize("mapping", [False, True])
def test_rsna(tmp_path, mapping):
    source = open_source(write_rsna(tmp_path, mapping=mapping))
    assert findings(source) == {
        "0004cfab": PNEUMONIA,
        "00322d4d": NORMAL,
        "003d8fa0": NORMAL,
        "00436515": PNEUMONIA,
    }
    patients = ["3", "4", "6", "5"] if mapping else ["0004cfab", "00322d4d", "003d8fa0", "00436515"]
    assert [(i.patient, i.known_name) for i in source.images] == [(patient, mapping) for patient in patients]
    assert source.names_taken.startswith("read as RSNA Pneumonia Detection Challenge; lung opacity is pneumonia (2), ")
    assert source.names_taken.endswith("left out: other findings (1)")
    assert source.read(source.images[0].path).dtype == np.uint16


def test_rsna_without_its_classes_says_what_is_missing(tmp_path):
    write_rsna(tmp_path)
    (tmp_path / "stage_2_detailed_class_info.csv").unlink()
    with pytest.raises(DataError, match=r"expected stage_2_detailed_class_info.csv beside stage_2_train_labels.csv"):
        open_source(tmp_path)


def test_vindr_pcxr(tmp_path):
    source = open_source(write_vindr_pcxr(tmp_path))
    assert [(i.path, i.class_name, i.finding, i.split, i.known_name) for i in source.images] == [
        ("test/0a01.dicom", "pleuro-pneumonia", PNEUMONIA, TEST, False),
        ("test/0a02.dicom", "no finding", NORMAL, TEST, False),
        ("train/0032.dicom", "no finding", NORMAL, TRAIN, False),
        ("train/0055.dicom", "brocho-pneumonia", PNEUMONIA, TRAIN, False),
        ("train/0068.dicom", "pneumonia", PNEUMONIA, TRAIN, False),
        ("train/0081.dicom", "no finding", NORMAL, TRAIN, False),
    ]
    assert source.names_taken.startswith(
        "read as VinDr-PCXR; brocho-pneumonia is pneumonia (1), no finding is normal (3), "
    )
    assert source.names_taken.endswith("left out: other findings (1)")


def test_an_image_of_two_readers_is_listed_once_and_left_out_where_they_differ(tmp_path):
    write_vindr_pcxr(tmp_path)
    table = tmp_path / "image_labels_train.csv"
    header, *rows = table.read_text().splitlines()
    columns = header.split(",")

    def second(key, finding):
        return ",".join([key, "R2", *(str(float(name == finding)) for name in columns[2:])])

    read_again = [second("0032", "No finding"), second("0055", "Pneumonia"), second("0068", "No finding")]
    read_again.append(second("0081", "Bronchitis"))
    table.write_text("\n".join([header, *rows, *read_again]))
    source = open_source(table)
    assert [(i.path, i.class_name) for i in source.images] == [
        ("train/0032.dicom", "no finding"),
        ("train/0055.dicom", "brocho-pneumonia"),
    ]
    assert source.names_taken.endswith("left out: other findings (1), uncertain (2)")


def test_adults_of_vindr_are_another_set(tmp_path):
    """VinDr-CXR has tables of the same names, and three readers to an image."""
    write_image(tmp_path / "train/1.png")
    (tmp_path / "image_labels_train.csv").write_text("image_id,rad_id,Pneumonia,No finding\n1,R1,0,1\n")
    with pytest.raises(DataError, match="or a public set as it is published, found images in train"):
        open_source(tmp_path)


def test_labels_of_chexperts_test_without_ages_are_read_and_ages_that_are_not_known_are_empty(tmp_path):
    root = write_chexpert(tmp_path) / "CheXpert-v1.0-small"
    header, *rows = (root / "train.csv").read_text().splitlines()
    labels = header.split(",")[5:]
    (root / "train.csv").write_text("\n".join([header, *rows[:1]]).replace("Female,68", "Unknown,0"))
    cells = [",".join("1.0" if label == "Pneumonia" else "0.0" for label in labels)]
    names = [f"CheXpert-v1.0/test/patient64741/study1/view{n}.jpg" for n in ("1_frontal", "2_lateral")]
    (root / "test.csv").write_text("\n".join([",".join(["Path", *labels]), *(f"{name},{cells[0]}" for name in names)]))
    for name in names:
        write_image(root / name.partition("/")[2])
    images = {image.path.partition("/")[2]: image for image in open_source(tmp_path).images}
    test = images["test/patient64741/study1/view1_frontal.jpg"]
    assert (test.finding, test.split, test.patient) == (PNEUMONIA, TEST, "patient64741")
    assert "test/patient64741/study1/view2_lateral.jpg" not in images
    assert images["train/patient00001/study1/view1_frontal.jpg"].groups == {"age": "", "sex": "", "view": "AP"}


@pytest.mark.parametrize("name", ["CheXpert-v1.0-small", "CheXpert-v1.0"])
def test_chexpert(tmp_path, name):
    source = open_source(write_chexpert(tmp_path, name))
    assert [(i.path.partition("/")[2], i.finding, i.patient, i.split) for i in source.images] == [
        ("train/patient00001/study1/view1_frontal.jpg", NORMAL, "patient00001", TRAIN),
        ("train/patient00002/study1/view1_frontal.jpg", PNEUMONIA, "patient00002", TRAIN),
        ("valid/patient64541/study1/view1_frontal.jpg", PNEUMONIA, "patient64541", TEST),
        ("valid/patient64542/study1/view1_frontal.jpg", NORMAL, "patient64542", TEST),
    ]
    assert source.images[0].groups == {"age": "68", "sex": "Female", "view": "AP"}
    assert "left out: lateral and other views (1), other findings (1), uncertain (1)" in source.names_taken
    (table,) = tmp_path.glob("*/train.csv")
    assert {image.split for image in open_source(table).images} == {TRAIN}


@pytest.mark.parametrize("compressed", [False, True])
def test_padchest(tmp_path, compressed):
    source = open_source(write_padchest(tmp_path, compressed=compressed))
    assert [(i.path, i.class_name, i.finding, i.patient, i.groups) for i in source.images] == [
        ("0/1_00-001.png", "normal", NORMAL, "p1", {"age": "84", "sex": "M", "view": "PA"}),
        ("0/2_00-001.png", "pneumonia", PNEUMONIA, "p2", {"age": "3", "sex": "F", "view": "AP_horizontal"}),
        ("1/3_00-001.png", "atypical pneumonia", PNEUMONIA, "p3", {"age": "", "sex": "F", "view": "PA"}),
    ]
    assert (
        "left out: excluded by the authors (1), lateral and other views (1), no label (1), other findings (1)"
        in source.names_taken
    )
    assert source.read("0/1_00-001.png").dtype == np.uint16


@pytest.mark.parametrize("name", WRITERS)
def test_every_set_is_indexed_and_keeps_patients_of_a_split_apart(tmp_path, name):
    index = build_index(open_source(WRITERS[name](tmp_path)))
    assert not index.unreadable
    assert {row.finding for row in index.rows} == {NORMAL, PNEUMONIA}
    of_split = {split: {row.patient for row in index.rows if row.split is split} for split in (TRAIN, TEST)}
    assert of_split[TRAIN]
    assert not of_split[TRAIN] & of_split[TEST]


@pytest.mark.parametrize("name", WRITERS)
def test_a_set_is_known_in_a_folder_below_and_by_its_table(tmp_path, name):
    inner = tmp_path / "download" / "inner"
    inner.mkdir(parents=True)
    source = open_source(WRITERS[name](inner).parent) if name != "chexpert" else open_source(WRITERS[name](inner))
    assert source.layout == name
    assert source.file_of(source.images[0].path).is_file()
    tables = [path for path in inner.rglob("*.csv") if "annotations" not in path.name]
    assert open_source(tables[0]).layout == name
    assert all(open_source(tables[0]).file_of(image.path).is_file() for image in open_source(tables[0]).images)


def test_a_partial_download_counts_what_is_not_there(tmp_path):
    write_nih(tmp_path, missing=("00000002_000.png", "00000003_000.png"))
    source = open_source(tmp_path)
    assert len(source.images) == 5
    assert source.names_taken.endswith("; 2 of 7 listed images are not there")


def test_images_that_are_still_packed_are_named(tmp_path):
    write_nih(tmp_path / "nih")
    for folder in ("images_001", "images_002"):
        (tmp_path / "nih" / folder).rename(tmp_path / folder)
        (tmp_path / f"nih/{folder}.tar.gz").write_bytes(b"packed")
    with pytest.raises(
        DataError,
        match=r"expected the 7 images of Data_Entry.*none of them: unpack images_001.tar.gz, images_002.tar.gz",
    ):
        open_source(tmp_path / "nih")
    for archive in (tmp_path / "nih").glob("*.gz"):
        archive.unlink()
    with pytest.raises(DataError, match="none of them: add the images"):
        open_source(tmp_path / "nih")


def test_an_archive_is_to_be_unpacked(tmp_path):
    (tmp_path / "chest.zip").write_bytes(b"packed")
    with pytest.raises(DataError, match=r"found the file .*chest.zip: unpack it, and name the folder with --data"):
        open_source(tmp_path / "chest.zip")
    with pytest.raises(DataError, match=r"found 1 packed file.* and no image: unpack"):
        open_source(tmp_path)


def test_a_table_that_breaks_off_says_so(tmp_path):
    write_padchest(tmp_path, compressed=True)
    (table,) = tmp_path.glob("*.csv.gz")
    table.write_bytes(table.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"expected a whole table.*download it again"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", [name for public in PUBLIC_SETS for name in public.names])
def test_the_name_of_a_set_says_where_to_obtain_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for given in (name, name.upper(), name.replace("-", "_")):
        with pytest.raises(
            DataError, match=r"is not downloaded from here; .*https://.*, unpack it, and name its folder"
        ) as error:
            locate(Path(given))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("public", PUBLIC_SETS, ids=lambda public: public.names[0])
def test_every_set_is_documented(public):
    page = (Path(__file__).parents[2] / "docs/reference/public-data.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if f"(`{public.names[0]}`)" in line)
    assert public.title.removesuffix(" Challenge") in row
    assert f"`{public.negative}`" in row.lower()
    assert all(f"`{name}`" in row.lower() for name in public.positive)
    (address,) = re.findall(r"https://\S+", public.obtain)
    assert f"<{address.rstrip(',')}>" in page


def test_sets_that_ask_for_no_agreement_are_named_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="pneumoscope data download"):
        open_source(Path("kermany"))


def test_a_class_map_and_a_class_of_ones_own_choose_other_findings(tmp_path):
    write_nih(tmp_path)
    names = DataNames({"Infiltration": "pneumonia", "No Finding": "normal"})
    assert findings(open_source(tmp_path, names=names)) == {
        "00000001_000": NORMAL,
        "00000002_000": PNEUMONIA,
        "00000004_000": NORMAL,
        "00000005_000": NORMAL,
    }
    own = open_source(tmp_path, "Effusion")
    assert own.scheme.names == ("no finding", "Effusion")
    assert findings(own)["00000003_000"] is PNEUMONIA
    with pytest.raises(
        DataError, match=r"expected images of efusion in Data_Entry.*, found none .did you mean effusion"
    ):
        open_source(tmp_path, "efusion")
    with pytest.raises(DataError, match=r"and none named Infiltrations .did you mean infiltration"):
        open_source(tmp_path, names=DataNames({"Infiltrations": "pneumonia", "No Finding": "normal"}))


def test_a_class_map_of_any_classes_takes_images_of_one_of_them(tmp_path):
    write_nih(tmp_path)
    names = DataNames({"Effusion": "effusion", "Pneumonia": "pneumonia", "No Finding": "none"})
    source = open_any_classes(tmp_path, names)
    assert source.scheme.names == ("none", "effusion", "pneumonia")
    assert Counter(image.class_name for image in source.images) == {"none": 3, "pneumonia": 3, "effusion": 1}


def test_columns_that_are_named_make_a_plain_table_of_it(tmp_path):
    write_nih(tmp_path)
    names = DataNames({"pneumonia": "pneumonia", "no finding": "normal"}, {"class": "Finding Labels"})
    source = open_source(tmp_path / "Data_Entry_2017_v2020.csv", names=names)
    assert (source.layout, len(source.images)) == ("table", 5)


def test_filters_of_a_table(tmp_path):
    write_nih(tmp_path)
    children = open_source(tmp_path, names=filters(age="1-5"))
    assert sorted(findings(children)) == ["00000002_000", "00000004_000"]
    assert children.names_taken.endswith("--age 1-5 keeps 2 of 6 images: other age (4)")
    assert sorted(findings(open_source(tmp_path, names=filters(age="18-", view="AP", sex="male")))) == ["00000001_001"]
    assert len(open_source(tmp_path, names=filters(age="17")).images) == 1


@pytest.mark.parametrize(
    ("writer", "values", "kept"),
    [
        (write_vindr_pcxr, {"age": "1-5"}, ["0032", "0055", "0068"]),
        (write_vindr_pcxr, {"age": "0-0"}, ["0a02"]),
        (write_vindr_pcxr, {"sex": "F"}, ["0055", "0081", "0a02"]),
        (write_rsna, {"view": "AP"}, ["0004cfab", "00436515"]),
        (write_rsna, {"age": "1-5", "view": "PA"}, ["00322d4d"]),
        (write_chexpert, {"view": "lateral"}, ["view2_lateral"]),
        (write_padchest, {"view": "AP"}, ["2_00-001"]),
    ],
)
def test_filters_read_tables_and_headers(tmp_path, writer, values, kept):
    assert sorted(findings(open_source(writer(tmp_path), names=filters(**values)))) == kept


def test_unknown_values_are_left_out_and_counted(tmp_path):
    write_padchest(tmp_path)
    source = open_source(tmp_path, names=filters(age="0-120"))
    assert source.names_taken.endswith("--age 0-120 keeps 2 of 3 images: age unknown (1)")
    assert source.only(["0/1_00-001.png"]).names_taken.endswith("age unknown (1)")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"age": "200-201"}, r"expected images with --age 200-201 in .*, found other age \(6\): name others"),
        ({"view": "LL"}, r"expected images with --view LL in .*, found other view \(6\): name others"),
    ],
)
def test_no_image_that_is_kept_is_an_error(tmp_path, values, message):
    write_nih(tmp_path)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path, names=filters(**values))


def test_a_filter_that_nothing_can_be_said_on_is_an_error(tmp_path):
    write_image(tmp_path / "normal/a.png")
    write_image(tmp_path / "viral/b.png")
    with pytest.raises(DataError, match=r"--age 1-5 in .*, found age unknown \(2\): leave --age out"):
        open_source(tmp_path, names=filters(age="1-5"))


@pytest.mark.parametrize("age", ["five", "5-1", "1-5-9", "-5", "1.5-2"])
def test_ages_of_another_form_are_refused(age):
    with pytest.raises(ConfigError, match=f"expected --age as years FROM-TO, found {age}"):
        ImageFilters.of(age=age)


def test_sexes_of_another_form_are_refused():
    with pytest.raises(ConfigError, match="found X: name these"):
        ImageFilters.of(sex="F,x")


def test_completed_years_count():
    ages = ImageFilters.of(age="1-5")
    assert [ages.keeps("age", age) for age in ("11M", "012M", "5.9", "6", "unknown")] == [
        False,
        True,
        True,
        False,
        None,
    ]


def test_filters_name_their_options():
    names = ImageFilters.of("18-", "pa, Anteroposterior", "female,M")
    assert names.options == {"--age": "18-", "--view": "PA,AP", "--sex": "F,M"}
    assert ImageFilters.of(**{option.strip("-"): value for option, value in names.options.items()}) == names
    assert not ImageFilters.of()


def test_a_location_filters_and_then_draws(tmp_path):
    write_nih(tmp_path)
    location = Location(tmp_path, "", limit=2, names=filters(sex="F"))
    assert sorted(findings(location.open())) == ["00000002_000", "00000005_000", "00000006_000"]
