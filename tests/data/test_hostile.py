"""Hostile files are refused, and costly ones read or refused, within a gigabyte of memory and five seconds of processor."""

import json
import os
import subprocess
import sys

import pytest

import hostile

MEGABYTES, SECONDS = 1000, 5


def costs(files, folder):
    """Cost of reading each of the files, and of what lies in the folder already; readers are to print nothing."""
    hostile.write(folder, files)
    done = subprocess.run([sys.executable, hostile.__file__, str(folder)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(list(folder.iterdir()))
    return found


def check_bounds(cost):
    assert cost["result"] == "read" or cost["result"].startswith(("UnreadableImage", "UnsupportedDicom")), cost
    assert cost["megabytes"] < MEGABYTES, cost
    assert cost["seconds"] < SECONDS, cost


@pytest.mark.parametrize("maker", hostile.HOSTILE, ids=lambda maker: maker.__name__)
def test_hostile_files_are_refused_at_little_cost(maker, tmp_path):
    for cost in costs(maker(), tmp_path):
        check_bounds(cost)
        assert cost["result"] != "read", cost


@pytest.mark.parametrize(
    "maker",
    [pytest.param(maker, marks=[pytest.mark.slow] if "large" in maker.__name__ else []) for maker in hostile.COSTLY],
    ids=lambda maker: maker.__name__,
)
def test_costly_files_are_read_or_refused_within_bounds(maker, tmp_path):
    for cost in costs(maker(), tmp_path):
        check_bounds(cost)


def test_images_of_a_hundred_million_pixels_are_read(tmp_path):
    large = hostile.large_png() | hostile.large_jpeg()
    wanted = ("16-bit grey", "four colours", "progressive, colour")
    for cost in costs({name: large[name] for name in wanted}, tmp_path):
        check_bounds(cost)
        assert cost["result"] == "read", cost


def test_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "image.jpeg")
    (cost,) = costs({}, tmp_path)
    assert "not a regular file" in cost["result"]


def test_the_files_are_the_same_at_every_call():
    assert hostile.hostile_files() == hostile.hostile_files()
