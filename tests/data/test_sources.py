from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumoscope.data.index import build_index
from pneumoscope.data.patients import patients_of
from pneumoscope.data.sources import DataNames, open_source
from pneumoscope.errors import DataError
from pneumoscope.types import Etiology, Finding, ImageHeader, Split


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24), dtype=np.uint8)).save(path)


def test_kaggle_layout_folds_val_into_train(tmp_path):
    write_image(tmp_path / "train/NORMAL/IM-0115-0001.jpeg")
    write_image(tmp_path / "val/PNEUMONIA/person1946_bacteria_4874.jpeg")
    write_image(tmp_path / "test/PNEUMONIA/person1_virus_6.jpeg")
    images = {image.path: image for image in open_source(tmp_path).images}
    assert images["val/PNEUMONIA/person1946_bacteria_4874.jpeg"].split is Split.TRAIN
    assert images["test/PNEUMONIA/person1_virus_6.jpeg"].split is Split.TEST
    assert images["test/PNEUMONIA/person1_virus_6.jpeg"].etiology is Etiology.VIRAL
    assert images["train/NORMAL/IM-0115-0001.jpeg"].finding is Finding.NORMAL


def test_person_numbers_of_train_and_test_are_separate(tmp_path):
    write_image(tmp_path / "train/PNEUMONIA/person1_bacteria_1.jpeg")
    write_image(tmp_path / "train/PNEUMONIA/person1_virus_2.jpeg")
    write_image(tmp_path / "test/PNEUMONIA/person1_bacteria_3.jpeg")
    patients = [image.patient for image in open_source(tmp_path).images]
    assert patients == ["test/person1", "train/person1", "train/person1"]


def test_mendeley_layout(tmp_path):
    write_image(tmp_path / "chest_xray/train/PNEUMONIA/BACTERIA-1008087-0001.jpeg")
    write_image(tmp_path / "chest_xray/test/NORMAL/NORMAL-1003233-0001.jpeg")
    images = open_source(tmp_path).images
    assert [(f.patient, f.etiology, f.split) for f in images] == [
        ("test/1003233", Etiology.NONE, Split.TEST),
        ("train/1008087", Etiology.BACTERIAL, Split.TRAIN),
    ]


def test_second_copy_in_kaggle_archives_is_ignored(tmp_path):
    write_image(tmp_path / "train/NORMAL/IM-0115-0001.jpeg")
    write_image(tmp_path / "chest_xray/chest_xray/train/NORMAL/IM-0115-0001.jpeg")
    write_image(tmp_path / "__MACOSX/train/NORMAL/IM-0115-0001.jpeg")
    assert len(open_source(tmp_path).images) == 1


def test_folder_per_class_with_other_names(tmp_path):
    write_image(tmp_path / "Normal/a.png")
    write_image(tmp_path / "viral/b.png")
    write_image(tmp_path / "notes/c.png")
    images = open_source(tmp_path).images
    assert [(f.path, f.etiology, f.known_name) for f in images] == [
        ("Normal/a.png", Etiology.NONE, False),
        ("viral/b.png", Etiology.VIRAL, False),
    ]


def test_name_that_contradicts_its_folder_is_reported(tmp_path):
    write_image(tmp_path / "train/NORMAL/person1_bacteria_1.jpeg")
    (image,) = open_source(tmp_path).images
    assert image.conflict == "the folder says normal, the name says bacterial"


def test_files_of_one_name_in_several_folders_of_a_table_are_several_patients(tmp_path):
    (tmp_path / "site.csv").write_text("path,class\na/1.png,normal\nb/1.png,normal\nb/1.jpeg,pneumonia\n")
    patients = [image.patient for image in open_source(tmp_path / "site.csv").images]
    assert patients == ["train/a/1", "train/b/1", "train/b/1"]


def test_numbers_that_viewers_give_to_dicom_exports_are_no_patients(tmp_path):
    (tmp_path / "site.csv").write_text("path,class\nIM-0001-0001.dcm,normal\nIM-0001-0002.jpeg,normal\n")
    assert [image.known_name for image in open_source(tmp_path / "site.csv").images] == [False, True]


@pytest.mark.parametrize(("folders", "expected"), [(6, 6), (3, 24)])
def test_many_folders_below_those_of_the_classes_are_patients(tmp_path, folders, expected):
    """Few of them are of devices or views. A patient may have images of both classes."""
    for name in ("normal", "pneumonia"):
        for number in range(12):
            write_image(tmp_path / name / f"{number % folders}" / f"IM-0001-{number:04}.jpeg", number)
    images = open_source(tmp_path).images
    assert len({image.patient for image in images}) == expected
    assert not any(image.known_name for image in images)


def test_a_row_without_a_path_is_an_error(tmp_path):
    (tmp_path / "SITE.CSV").write_text("path,class\n,normal\n")
    with pytest.raises(DataError, match="expected a path in line 2 of"):
        open_source(tmp_path / "SITE.CSV")


def test_classes_of_a_site_may_have_folders_of_patients_and_lie_in_folders_of_devices(tmp_path):
    for name in ("a/Effusion/p1/1.png", "b/Clear/p2/1.png", "c/clear/p3/1.png", "c/effusion/p4/1.png"):
        write_image(tmp_path / name)
    source = open_source(tmp_path, "effusion")
    positive, negative = Finding.PNEUMONIA, Finding.NORMAL
    assert [image.finding for image in source.images] == [positive, negative, negative, positive]
    assert source.scheme.names[1] == "effusion"


def test_table(tmp_path):
    write_image(tmp_path / "films/a.png")
    write_image(tmp_path / "films/person9_virus_3.png")
    table = tmp_path / "films.csv"
    table.write_text(
        "path,class,etiology,patient,split\nfilms/a.png,pneumonia,bacterial,p1,test\nfilms/person9_virus_3.png,viral,,,\n"
    )
    first, second = open_source(table).images
    assert (first.etiology, first.patient, first.split) == (Etiology.BACTERIAL, "p1", Split.TEST)
    assert (second.etiology, second.patient, second.split) == (Etiology.VIRAL, "train/person9", Split.TRAIN)
    assert len(build_index(open_source(table)).rows) == 2


@pytest.mark.parametrize(
    "text",
    [
        "file;label;Patient ID;Patient Age\na.png;healthy;p1;3\nb.png;sick;p2;4\n",
        "Image Index\tFinding Labels\tpatient_id\tage\na.png\tNo Finding\tp1\t3\nb.png\tPneumonia\tp2\t4\n",
        "\ufeffimage,Diagnosis,subject,age\na.png,control,p1,3\nb.png,COVID-19,p2,4\n",
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_columns_classes_and_separators_of_other_people(tmp_path, text, ending):
    table = tmp_path / f"films{ending}"
    table.write_text(text, encoding="utf-8")
    source = open_source(table)
    first, second = source.images
    assert (first.path, first.finding, first.patient, first.groups["age"]) == ("a.png", Finding.NORMAL, "p1", "3")
    assert (second.path, second.finding, second.patient, second.groups["age"]) == (
        "b.png",
        Finding.PNEUMONIA,
        "p2",
        "4",
    )
    assert source.names_taken.startswith("columns path from ")
    assert f"{first.class_name} is normal (1)" in source.names_taken
    assert f"{second.class_name} is pneumonia (1)" in source.names_taken


def test_what_has_the_usual_names_is_taken_without_a_word(tmp_path):
    write_image(tmp_path / "normal/a.png")
    write_image(tmp_path / "viral/b.png")
    assert open_source(tmp_path).names_taken == ""
    write_image(tmp_path / "viral pneumonia/c.png")
    write_image(tmp_path / "healthy/c.png")
    assert open_source(tmp_path).names_taken == (
        "healthy is normal (1), normal is normal (1), viral is viral (1), viral pneumonia is viral (1)"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number,class\n1,normal\n", "found number, class: name them by --path-column"),
        ("", "found no header"),
        ("path,class\n", "expected a row per film"),
        ("path,class\na.png,fracture\n", "found fracture, first in line 2: .* --class-map fracture=CLASS"),
        ("path,class\na.png,normal\nb.png,\n", "expected a class in line 3 of .*, found none: add it"),
        ("path,class,split\na.png,normal,holdout\n", "found 'holdout'"),
        ("path,class,etiology\na.png,pneumonia,fungal\n", "found 'fungal'"),
    ],
)
def test_error_in_a_table_names_value_and_line(tmp_path, text, message):
    table = tmp_path / "films.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=message):
        open_source(table)


def test_table_that_is_not_text_is_refused(tmp_path):
    table = tmp_path / "films.csv"
    table.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="UTF-8"):
        open_source(table)


def medmnist(path: Path, rng: np.random.Generator, **changes: np.ndarray) -> Path:
    arrays = {}
    for part, count in (("train", 6), ("val", 2), ("test", 4)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    np.savez(path, **(arrays | changes))
    return path


def test_medmnist_has_two_classes_and_no_etiology(tmp_path, rng):
    source = open_source(medmnist(tmp_path / "pneumoniamnist_28.npz", rng))
    index = build_index(source)
    assert Counter((r.split, r.label) for r in index.rows) == {
        (Split.TRAIN, "normal"): 4,
        (Split.TRAIN, "pneumonia"): 4,
        (Split.TEST, "normal"): 2,
        (Split.TEST, "pneumonia"): 2,
    }
    assert source.read(index.rows[0].path).shape == (28, 28)


@pytest.mark.parametrize("labels", [np.array([[0], [7]]), np.array([[2], [1]])])
def test_other_medmnist_archives_are_refused(tmp_path, rng, labels):
    with pytest.raises(DataError, match="pneumoniamnist"):
        open_source(medmnist(tmp_path / "bloodmnist.npz", rng, val_labels=labels))


def test_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match="download it again"):
        open_source(tmp_path / "a.npz")


def test_folders_of_other_classes_are_named(tmp_path):
    for name in ("effusion", "clear"):
        write_image(tmp_path / "site" / name / "1.png")
    with pytest.raises(DataError, match=r"found images in clear, effusion below"):
        open_source(tmp_path / "site")
    with pytest.raises(
        DataError, match=r"expected images of nodule and of one other class in .*, found clear, effusion"
    ):
        open_source(tmp_path / "site", "nodule")
    with pytest.raises(
        DataError, match=r"expected the folders healthy and nodule in .*, found images in clear, effusion"
    ):
        open_source(tmp_path / "site", "nodule", "healthy")


def test_folders_of_other_classes_are_left_out_by_name_with_the_class_map_that_takes_them(tmp_path):
    """Named by the folder where the classes have theirs, not by those of patients below it."""
    for name in ("train/Normal/a", "train/viral/b", "train/COVID mild/p1/c", "test/COVID mild/p2/d", "e"):
        write_image(tmp_path / f"{name}.png")
    source = open_source(tmp_path)
    assert len(source.images) == 2
    assert source.left_out == {"COVID mild": 2, "images in no folder": 1}
    assert source.names_taken == (
        "normal is normal (1), viral is viral (1); left out: COVID mild (2), images in no folder (1); to use them, "
        "--class-map 'normal=normal,viral=viral,COVID mild=CLASS' with CLASS out of normal, pneumonia, bacterial, viral"
    )
    mapped = open_source(tmp_path, names=DataNames.of("normal=normal,viral=viral,COVID mild=viral"))
    assert Counter(image.etiology for image in mapped.images) == {Etiology.NONE: 1, Etiology.VIRAL: 3}
    assert mapped.names_taken.endswith("left out: images in no folder (1)")


def test_a_suggested_class_map_names_no_splits_and_nothing_that_it_cannot_name(tmp_path):
    for name in ("normal/a", "test/b", "Infiltrate, mild/c", "covid mild /d"):
        write_image(tmp_path / f"{name}.png")
    source = open_source(tmp_path)
    assert source.left_out == {"test": 1, "Infiltrate, mild": 1, "covid mild ": 1}
    assert "--class-map" not in source.names_taken
    write_image(tmp_path / "a=b" / "e.png")
    assert "--class-map normal=normal,a=b=CLASS with" in open_source(tmp_path).names_taken
    assert len(open_source(tmp_path, names=DataNames.of("normal=normal,a=b=viral")).images) == 2
    (tmp_path / "t.csv").write_text('path,class\na.png,normal\nb.png,"Infiltrate, mild"\n')
    with pytest.raises(DataError, match=r"found infiltrate, mild, first in line 3: correct them$"):
        open_source(tmp_path / "t.csv")


def test_folders_of_splits_alone_are_no_classes_to_map(tmp_path):
    write_image(tmp_path / "test" / "a.png")
    with pytest.raises(DataError, match=r"found images in test below .*: name another folder with --data"):
        open_source(tmp_path)


def test_a_folder_without_a_known_class_says_how_to_map_its_classes(tmp_path):
    for name in ("gesund/p1/a", "krank/p2/b"):
        write_image(tmp_path / f"{name}.png")
    expected = (
        r"found images in gesund, krank below .*: say which class each is, --class-map gesund=CLASS,krank=CLASS with"
    )
    with pytest.raises(DataError, match=expected):
        open_source(tmp_path)
    with pytest.raises(
        DataError, match=r"found gesund, krank and none named gesnd \(did you mean gesund\?\): correct the class map"
    ):
        open_source(tmp_path, names=DataNames.of("gesnd=normal,krank=pneumonia"))


def test_tables_of_labels_beside_the_images_of_a_folder_are_named(tmp_path):
    write_image(tmp_path / "site" / "normal/a.png")
    write_image(tmp_path / "site" / "pneumonia/b.png")
    (tmp_path / "site" / "ages.csv").write_text("case,age\n1,3\n")
    (tmp_path / "site" / "trials.csv").write_text("target,dose\n1,3\n")
    (tmp_path / "site" / "notes.csv").write_text("a line of text\n")
    (tmp_path / "site" / "broken.csv").write_bytes(b"\xff\xfe,class\n")
    assert open_source(tmp_path / "site").names_taken == ""
    (tmp_path / "site" / "labels.tsv").write_text("Image Index\tFinding Labels\n1.png\tNormal\n")
    table = tmp_path / "site/labels.tsv"
    assert open_source(tmp_path / "site").names_taken == (
        f"labels lie in labels.tsv, to use those of a table: --data {table}"
    )


def test_a_folder_may_have_the_name_of_a_table(tmp_path):
    write_image(tmp_path / "films.csv" / "normal" / "1.png")
    assert [image.path for image in open_source(tmp_path / "films.csv").images] == ["normal/1.png"]


@pytest.mark.parametrize("content", ["missing", "empty folder", "text file"])
def test_path_without_images_is_an_error_that_names_the_layouts(tmp_path, content):
    path = tmp_path / "path"
    if content == "empty folder":
        path.mkdir()
    elif content == "text file":
        path.write_text("hello")
    with pytest.raises(DataError, match=r"expected .*, found .*: (check|name)"):
        open_source(path)


def test_a_class_map_names_classes_and_leaves_others_out(tmp_path):
    table = tmp_path / "films.csv"
    table.write_text("Bild;Befund;Fall\na.png;o.B.;1\nb.png;Pneumonie;2\nc.png;Erguss;3\nd.png;Virus;4\n")
    columns = {"path": "Bild", "class": "Befund", "patient": "Fall"}
    names = DataNames({"o.B.": "normal", "pneumonie": "pneumonia", "Virus": "viral"}, columns)
    source = open_source(table, names=names)
    assert [(image.path, image.finding, image.etiology, image.patient) for image in source.images] == [
        ("a.png", Finding.NORMAL, Etiology.NONE, "1"),
        ("b.png", Finding.PNEUMONIA, Etiology.UNKNOWN, "2"),
        ("d.png", Finding.PNEUMONIA, Etiology.VIRAL, "4"),
    ]
    assert source.names_taken == (
        "columns path from Bild, class from Befund, patient from Fall; "
        "o.b. is normal (1), pneumonie is pneumonia (1), virus is viral (1); left out: erguss (1)"
    )
    own = open_source(table, "Effusion", names=DataNames({"o.B.": "clear", "Erguss": "effusion"}, columns))
    assert own.scheme.names == ("clear", "Effusion")
    assert [image.finding for image in own.images] == [Finding.NORMAL, Finding.PNEUMONIA]


def test_a_class_map_names_folders(tmp_path):
    for name in ("ohne Befund/a.png", "Lungenentzuendung/b.png", "Erguss/c.png"):
        write_image(tmp_path / name)
    names = DataNames({"ohne Befund": "normal", "Lungenentzuendung": "pneumonia"})
    assert [image.finding for image in open_source(tmp_path, names=names).images] == [Finding.PNEUMONIA, Finding.NORMAL]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            DataNames({"a": "fracture"}),
            "expected classes out of normal, pneumonia, .* in the class map, found fracture",
        ),
        (
            DataNames({"other": "normal"}),
            "expected the classes of the class map in .*, found normal and none named other: correct the class map",
        ),
        (DataNames(columns={"class": "Befund"}), "expected the columns Befund in .*, found path, class: name others"),
    ],
)
def test_a_class_map_that_does_not_fit_says_so(tmp_path, names, message):
    (tmp_path / "films.csv").write_text("path,class\na.png,normal\n")
    with pytest.raises(DataError, match=message):
        open_source(tmp_path / "films.csv", names=names)


def test_folders_of_patients_are_known_and_headers_count_before_them(tmp_path):
    for number in range(10):
        write_image(tmp_path / f"normal/p{number}/1.png", number)
    images = open_source(tmp_path).images
    digests = [str(number) for number in range(10)]
    patients, known = patients_of(images, [None] * 10, digests)
    assert (patients[0], known) == ("train/p0", [True] * 10)
    headers = [ImageHeader(patient=f"h{number}") for number in range(10)]
    assert patients_of(images, headers, digests)[0][0] == "header/h0"
    anonymous = [ImageHeader(patient="anonymous")] * 10
    assert patients_of(images, anonymous, digests)[0][0] == "train/p0"
    loose = open_source_of(tmp_path / "loose")
    assert patients_of(loose, [None] * 3, digests[:3])[1] == [False] * 3


def open_source_of(folder):
    for number in range(3):
        write_image(folder / f"viral/{number}.png", number)
    return open_source(folder).images
