import json
import math

import pytest

from pneumoscope.errors import DataError
from pneumoscope.files import atomic_write, sha256_of_lines, write_json, write_text


def test_block_that_fails_leaves_what_was_there(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "before")

    def write_half() -> None:
        with atomic_write(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        write_half()
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    (tmp_path / "a.txt.partial-99999999").write_text("half")
    write_text(tmp_path / "a.txt", "whole")
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


def test_path_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*; name another folder"):
        write_text(tmp_path / "file" / "a.txt", "text")


def test_nan_becomes_null(tmp_path):
    write_json(tmp_path / "a.json", {"a": [math.nan, 1.5], "b": (math.nan,)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [None, 1.5], "b": [None]}


def test_hash_of_lines_depends_on_their_order():
    assert sha256_of_lines(["a", "b"]) != sha256_of_lines(["b", "a"])
