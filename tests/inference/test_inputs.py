import io
import os
import socket

import pyarrow
import pytest
from pyarrow import parquet

from pneumoscope.errors import DataError
from pneumoscope.inference.inputs import open_inputs, walk_folder


@pytest.fixture
def folder(tmp_path):
    """Two images, one below, a DICOM object named by numbers, and what is none of these."""
    for name in ("b.jpeg", "a.PNG", "inner/c.dcm", ".hidden.png", "notes.txt", "inner/.git/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "1.2.840").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "extensionless").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "9.9").write_bytes(b"short")
    return tmp_path


@pytest.fixture
def special(folder):
    """Names of pipes, a socket and a link to a pipe in the folder, which would block a reader for ever."""
    for name in ("pipe.jpeg", "pipe", "3.4", "archive.tar"):
        os.mkfifo(folder / name)
    (folder / "linked").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
    return ["pipe.jpeg", "pipe", "3.4", "archive.tar", "linked", "socket"]


def names(inputs, folder):
    return [file.removeprefix(f"{folder}/") for file in inputs.walk()]


def test_a_folder_gives_its_images_in_the_same_order_each_time(folder):
    inputs = open_inputs([str(folder)])
    expected = ["1.2.840", "a.PNG", "b.jpeg", "extensionless", "inner/c.dcm"]
    assert names(inputs, folder) == names(inputs, folder) == expected
    assert inputs.count() == 5


def test_a_folder_gives_regular_files_and_links_to_them_alone(folder, special):
    (folder / "link.jpeg").symlink_to("b.jpeg")
    (folder / "link").symlink_to("extensionless")
    (folder / "broken.jpeg").symlink_to("gone.jpeg")
    found = names(open_inputs([str(folder)]), folder)
    assert not set(found) & set(special)
    # A broken link is passed on, so that its name is among the rejected images.
    assert set(found) == {
        *("1.2.840", "a.PNG", "b.jpeg", "extensionless", "inner/c.dcm", "link.jpeg", "link", "broken.jpeg")
    }
    assert not [file for file in walk_folder(str(folder), (".tar",)) if file.endswith(".tar")]


def test_a_pipe_that_is_named_is_passed_on_unopened(folder, special):
    named = [str(folder / name) for name in special]
    assert list(open_inputs(named).walk()) == named
    os.mkfifo(folder / "table.csv")
    assert names(open_inputs([str(folder / "table.csv")]), folder) == ["table.csv"]


def test_files_patterns_and_folders_come_in_the_order_of_the_arguments(folder):
    named = [str(folder / "notes.txt"), str(folder / "*.[jP]*"), str(folder / "inn*")]
    assert names(open_inputs(named), folder) == ["notes.txt", "a.PNG", "b.jpeg", "inner/c.dcm"]


@pytest.mark.parametrize("column", ["path", "file", "filename", "image"])
def test_a_table_names_files_relative_to_itself(folder, column):
    (folder / "t.csv").write_text(f"id,{column}\n1,b.jpeg\n2,gone.jpeg\n3,\n4,/far/off.png\n")
    (folder / "t.tsv").write_text(f"id\t{column}\n1\tb.jpeg\n2\tgone.jpeg\n4\t/far/off.png\n")
    rows = {"id": [1, 2, 3, 4], column: ["b.jpeg", "gone.jpeg", None, "/far/off.png"]}
    parquet.write_table(pyarrow.table(rows), folder / "t.parquet")
    for table in ("t.csv", "t.tsv", "t.parquet"):
        assert names(open_inputs([str(folder / table)]), folder) == ["b.jpeg", "gone.jpeg", "/far/off.png"]


def test_a_list_on_standard_input_keeps_spaces_and_drops_empty_lines():
    inputs = open_inputs(["-"], io.StringIO("one film.png\r\n\ntwo.png"))
    assert inputs.count() is None
    assert list(inputs.walk()) == ["one film.png", "two.png"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"a,b\n1,2\n", r"expected a column path \(or file, filename, image\) in .*t.csv, found a, b"),
        ("t.csv", b"", "found none"),
        ("t.csv", b'"a\nb",c', r"found 'a\\nb', c"),  # found by experiments/fuzz.py
        ("t.csv", b"path\n\xff\xfe\n", "expected a table of UTF-8 text"),
        ("t.parquet", b"PAR1 and no more", "expected a Parquet table"),
    ],
)
def test_a_table_of_another_format_is_an_error_at_once(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_inputs([str(tmp_path / name)])


def test_a_path_that_does_not_exist_is_an_error_at_once(tmp_path):
    for name in ("gone.jpeg", "*.jpeg", "gone/"):
        with pytest.raises(DataError, match="expected an image, a folder, a pattern or a table at"):
            open_inputs([str(tmp_path / name)])


def test_a_folder_that_is_reached_twice_is_walked_once(folder):
    (folder / "inner/loop").symlink_to(folder)
    (folder / "again").symlink_to("inner")
    found = names(open_inputs([str(folder)]), folder)
    assert sorted(found) == sorted({*found})
    assert len(found) == 5


def test_the_first_bytes_tell_an_image_of_another_ending_and_the_rest_is_counted(folder):
    (folder / "bare").write_bytes(bytes((8, 0, 5, 0)) + bytes(200))
    (folder / "photo").write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))
    (folder / "scan.ima").write_bytes(bytes(128) + b"DICM")
    (folder / "scan.TIF").write_bytes(b"II*\0")
    (folder / "drawing.bmp").write_bytes(b"BM")
    inputs = open_inputs([str(folder)])
    found = set(names(inputs, folder))
    assert {"bare", "photo", "scan.ima", "scan.TIF", "drawing.bmp"} <= found
    assert inputs.left_out == {".txt": 1, ".9": 1}
    assert inputs.count() == len(found)
    assert inputs.left_out == {".txt": 1, ".9": 1}


def test_a_column_of_another_name_is_named(tmp_path):
    (tmp_path / "films.csv").write_text("Nummer;Datei\n1;a.png\n2;b.png\n", encoding="utf-8")
    found = open_inputs([str(tmp_path / "films.csv")], path_column="Datei")
    assert list(found.walk()) == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    for named, message in (
        ("", "a column path .* found Nummer, Datei"),
        ("Bild", "a column Bild in .* found Nummer, Datei"),
    ):
        with pytest.raises(DataError, match=message):
            open_inputs([str(tmp_path / "films.csv")], path_column=named)
