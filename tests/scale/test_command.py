import json

import pytest

from pneumoscope.cli import scale as command


def score(pneumoscope, archive, phantom_bundle, out, *more):
    words = [
        "scale",
        "score",
        archive,
        "--out",
        out,
        "--engine",
        "local",
        "--bundle",
        str(phantom_bundle),
        "--workers",
        "1",
    ]
    return pneumoscope(*words, "--partition-films", "40", *more)


def test_it_tells_what_came_out_and_what_it_cost(pneumoscope, archive, phantom_bundle, tmp_path):
    code, out, err = score(pneumoscope, archive, phantom_bundle, "scored", "--json", "--core-hour-price", "100")
    record = json.loads(out)
    assert code == 3
    assert (record["films"], record["partitions"], record["unreadable"]) == (74, 2, 2)
    assert record["run"] | {"engine": "local", "cores": 1, "films": 74, "partitions": 2} == record["run"]
    assert record["cost"] == pytest.approx(100 * record["core_hours"])
    assert err.startswith("74 images: ")
    assert "2 could not be read" in err
    code, out, err = score(pneumoscope, archive, phantom_bundle, "scored")
    assert (code, out) == (3, "scored\n")
    assert "2 were done already" in err


def test_where_no_bar_can_be_drawn_a_line_tells_how_far_it_is(pneumoscope, archive, phantom_bundle, monkeypatch):
    monkeypatch.setattr(command, "_SECONDS_BETWEEN_LINES", -1.0)
    _, _, err = score(pneumoscope, archive, phantom_bundle, "scored", "--core-hour-price", "0.04")
    first, second, _ = err.splitlines()
    assert first.startswith("1 of 2 partitions: 40 films, ")
    assert second.startswith("2 of 2 partitions: 74 films, ")
    assert " img/s, 0:00:00 left, " in second
    assert second.endswith("core-hours, cost 0.00")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none", "--out", "scored"), "error: expected an image, a folder, a pattern or a table at"),
        (("gs://films", "--out", "scored"), "error: expected the package behind gs://films, found it missing"),
        ((".", "--out", "scored", "--bundle", "none.zip"), "error: expected a bundle"),
        ((".", "--out", "scored", "--gpus-per-worker", "1"), "error: expected images behind"),
        ((".", "--out", "scored", "--partition-films", "0"), "error: expected 1 to 1,000,000 images per partition"),
    ],
)
def test_what_is_wrong_is_one_line(pneumoscope, words, message):
    code, out, err = pneumoscope("scale", "score", *words, "--engine", "local")
    assert (code, out) == (1, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_time_left_is_told_in_hours():
    assert command._duration(float("inf")) == "?"
    assert command._duration(59.6) == "0:01:00"
    assert command._duration(90_061) == "25:01:01"
