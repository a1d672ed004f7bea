import csv
import json

import pytest
from pyarrow import parquet

from pneumoscope.errors import DataError
from pneumoscope.inference.journal import Journal, discard
from pneumoscope.inference.prediction import Prediction
from pneumoscope.types import BundleUsed, Decision, OperatingPoint, Reason

HEADER = {"bundle": "b" * 64, "operating_point": "balanced"}


def prediction(file, rejected=False):
    return Prediction(
        file,
        "0" * 64,
        Decision.REJECTED if rejected else Decision.REFER,
        (Reason.UNREADABLE,) if rejected else (Reason.NEAR_THRESHOLD, Reason.OUTSIDE_POPULATION),
        "in words, with a comma" if rejected else "",
        None if rejected else 0.25,
        None if rejected else {"normal": 0.75, "bacterial": 0.2, "viral": 0.05},
        OperatingPoint(0.5, 0.5, 0.5, 0.9, 0.8, "balanced", "films"),
        None,
        BundleUsed("test", "1", "b" * 64),
    )


FILES = ["a.png", "höhe.png", "c, d.png"]
PREDICTIONS = [prediction(file, rejected=file.startswith("c")) for file in FILES]


def written(out):
    with Journal(out, HEADER) as journal:
        journal.append(PREDICTIONS[:2])
        journal.append(PREDICTIONS[2:])
        journal.finish()
    assert list(out.parent.iterdir()) == [out]


def test_json_lines_are_the_predictions(tmp_path):
    written(tmp_path / "p.jsonl")
    lines = (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [p.to_dict() for p in PREDICTIONS]


def test_tables_have_one_row_a_image_and_one_name_a_column(tmp_path):
    written(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(encoding="utf-8") as stream:
        written_rows = list(csv.DictReader(stream))
    (tmp_path / "p.csv").unlink()
    written(tmp_path / "p.parquet")
    table = parquet.read_table(tmp_path / "p.parquet")
    assert [row["file"] for row in written_rows] == table["file"].to_pylist() == FILES
    assert list(written_rows[0]) == table.column_names
    assert table["pneumonia_probability"].to_pylist() == [0.25, 0.25, None]
    assert table["viral_probability"].to_pylist() == [0.05, 0.05, None]
    assert table["threshold"].to_pylist() == [0.5] * 3
    assert written_rows[0]["reasons"] == "near_threshold;outside_population"
    assert written_rows[2]["detail"] == "in words, with a comma"
    assert written_rows[2]["pneumonia_probability"] == ""
    assert written_rows[0]["bundle_sha256"] == "b" * 64


@pytest.mark.parametrize("left", [0, 1, 40, -1, -2, -60])
def test_a_journal_cut_anywhere_goes_on_behind_its_last_whole_line(tmp_path, left):
    out = tmp_path / "p.jsonl"
    with Journal(out, HEADER) as journal:
        journal.append(PREDICTIONS)
        path = journal.path
    content = path.read_bytes()
    path.write_bytes(content[:left])
    with Journal(out, HEADER) as journal:
        done = [earlier.file for earlier in journal.done()]
        assert done == FILES[: len(done)]
        assert len(done) == max(0, content[:left].count(b"\n") - 1)
        journal.append(PREDICTIONS[len(done) :])
        journal.finish()
    assert out.read_bytes() == b"".join(
        json.dumps(p.to_dict(), ensure_ascii=False).encode() + b"\n" for p in PREDICTIONS
    )


def test_blocks_that_the_disk_lost_are_taken_off(tmp_path):
    """After a loss of power a file may have its length and not its content."""
    out = tmp_path / "p.jsonl"
    with Journal(out, HEADER) as journal:
        journal.append(PREDICTIONS[:1])
        path = journal.path
    with path.open("ab") as stream:
        stream.write(bytes(100) + b"\n" + bytes(50))
    with Journal(out, HEADER) as journal:
        assert [earlier.file for earlier in journal.done()] == FILES[:1]


def test_another_batch_is_not_gone_on_with(tmp_path):
    with Journal(tmp_path / "p.jsonl", HEADER):
        pass
    with pytest.raises(DataError, match="found a batch of another bundle or other settings"):
        Journal(tmp_path / "p.jsonl", HEADER | {"operating_point": "sensitive"})
    discard(tmp_path / "p.jsonl")
    with Journal(tmp_path / "p.jsonl", HEADER | {"operating_point": "sensitive"}):
        pass


def test_two_runs_do_not_write_one_journal(tmp_path):
    with Journal(tmp_path / "p.jsonl", HEADER), pytest.raises(DataError, match="found another writing it"):
        Journal(tmp_path / "p.jsonl", HEADER)


def test_a_file_that_is_there_and_an_unknown_format_are_told_at_once(tmp_path):
    (tmp_path / "p.csv").write_text("mine")
    with pytest.raises(DataError, match=r"expected no file at .*p.csv, found one"):
        Journal(tmp_path / "p.csv", HEADER)
    with pytest.raises(DataError, match=r"expected a file ending in .jsonl, .csv, .parquet, found .*p.xlsx"):
        Journal(tmp_path / "p.xlsx", HEADER)
    assert (tmp_path / "p.csv").read_text() == "mine"
