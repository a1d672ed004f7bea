"""A real Ray cluster on this machine, in a network namespace of its own: Ray listens on every interface."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pyarrow import dataset

from network_namespace import can_isolate, isolated

pytestmark = pytest.mark.integration
SCRIPT = Path(__file__).with_name("cluster_script.py")
SCORE = [sys.executable, "-m", "pneumoscope", "scale", "score"]


@pytest.fixture(scope="module", autouse=True)
def needs_a_cluster():
    pytest.importorskip("ray")
    if not can_isolate():
        pytest.skip("no network namespace of its own can be had here")


def run(command):
    return subprocess.run(isolated(command), capture_output=True, text=True)


def test_every_image_is_scored_once_whoever_dies(phantoms, phantom_bundle, tmp_path):
    """Workers, their processes, a node and the command are killed; the local engine's bytes come out."""
    originals, names = sorted(phantoms.rglob("*.jpeg")), []
    for number in range(480):
        names.append(tmp_path / f"{number:03d}.jpeg")
        names[-1].symlink_to(originals[number % len(originals)])
    (tmp_path / "images.csv").write_text("path\n" + "\n".join(map(str, names)) + "\n")
    command = [*SCORE, tmp_path / "images.csv", "--bundle", phantom_bundle, "--partition-films", "12"]
    alone = run([*command, "--engine", "local", "--out", tmp_path / "local"])
    assert alone.returncode == 0, alone.stderr
    under_fire = run([sys.executable, SCRIPT, tmp_path, *command])
    assert under_fire.returncode == 0, under_fire.stderr
    record = json.loads((tmp_path / "kills.json").read_text())
    assert record["kills"] == {"worker": 3, "predictor": 2, "node": 1, "command": 1}
    assert record["exit_codes"] == [-9, 0], under_fire.stderr
    scored = dataset.dataset(tmp_path / "ray", format="parquet").to_table(["file"]).column(0).to_pylist()
    assert Counter(scored) == Counter(map(str, names))

    def results(folder):
        return {
            file.name: file.read_bytes() for file in folder.iterdir() if file.name.startswith(("part-", "_summary"))
        }

    assert results(tmp_path / "ray") == results(tmp_path / "local")
    assert not list((tmp_path / "ray").glob("*partial*"))


def test_a_cluster_of_this_machine_alone_tells_of_nothing_but_the_images(archive, phantom_bundle, tmp_path):
    command = [*SCORE, archive, "--out", tmp_path / "out", "--bundle", phantom_bundle]
    done = run([*command, "--partition-films", "40", "--json", "--core-hour-price", "0.04"])
    assert done.returncode == 3, done.stderr
    record = json.loads(done.stdout)
    assert record["films"] == 74
    assert record["run"]["engine"] == "ray"
    assert record["cost"] == pytest.approx(0.04 * record["core_hours"])
    # On a slow machine a line of progress precedes the summary.
    *progress, summary = done.stderr.splitlines()
    assert summary.startswith("74 images: ")
    assert all("of 2 partitions" in line for line in progress)


def test_partitions_that_fail_are_told_when_the_others_are_done(archive, phantom_bundle, tmp_path):
    images = sorted(archive.iterdir())
    (tmp_path / "images.csv").write_text("path\n" + "\n".join([*map(str, images[:20]), "unknown://film.jpeg"]) + "\n")
    command = [*SCORE, tmp_path / "images.csv", "--out", tmp_path / "out", "--bundle", phantom_bundle]
    done = run([*command, "--partition-films", "10"])
    assert (done.returncode, done.stdout) == (1, "")
    # A slow machine also gets a line of progress.
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert done.stderr.splitlines()[-1].startswith("error: 1 partitions failed; the first: expected an ")
    assert len(list((tmp_path / "out").glob("part-*"))) == 2
