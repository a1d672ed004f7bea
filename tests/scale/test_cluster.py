"""A real Ray cluster of several nodes on this machine, in a network namespace of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def own_network():
    pytest.importorskip("ray")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("no network namespace of its own can be had here, and Ray listens on every interface")


@pytest.mark.parametrize(
    ("films", "partition"), [(480, 12), pytest.param(20_000, 250, marks=pytest.mark.slow)], ids=["480", "20000"]
)
def test_every_image_is_scored_once_whoever_dies(images, partition, phantoms, phantom_bundle, tmp_path):
    """Workers, their judges, a node and the command are killed; the local engine's bytes come out."""
    out = tmp_path / "told.json"
    command = [sys.executable, "experiments/cluster_under_fire.py", "--films", str(images), "--out", str(out)]
    command += ["--source", str(phantoms), "--bundle", str(phantom_bundle), "--partition-films", str(partition)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    told = json.loads(out.read_text())
    assert told["exactly_once"]
    assert told["same_bytes"]
    assert told["rows"] == images
    assert told["leftovers"] == []
    assert told["kills"] == {"worker": 3, "judge": 2, "node": 1, "command": 1}
    assert told["nodes"] == 3
    # Broken off once by the kill; then to its end, with images that cannot be read.
    assert told["exit_codes"] == [-9, 0 if images < 997 else 3]


@pytest.mark.slow
def test_a_cluster_of_this_machine_alone_tells_of_nothing_but_the_images(archive, phantom_bundle, tmp_path):
    command = [sys.executable, "experiments/own_network.py", sys.executable, "-m", "pneumoscope", "scale", "score"]
    command += [str(archive), "--out", str(tmp_path / "out"), "--bundle", str(phantom_bundle)]
    command += ["--partition-films", "40", "--json", "--core-hour-price", "0.04"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 3, run.stderr
    told = json.loads(run.stdout)
    assert told["films"] == 74
    assert told["run"]["engine"] == "ray"
    assert told["cost"] == pytest.approx(0.04 * told["core_hours"])
    assert run.stderr == "74 images: " + run.stderr.removeprefix("74 images: ").splitlines()[0] + "\n"


@pytest.mark.slow
def test_partitions_that_fail_are_told_when_the_others_are_done(archive, phantom_bundle, tmp_path):
    images = sorted(archive.iterdir())
    (tmp_path / "films.csv").write_text("path\n" + "\n".join([*map(str, images[:20]), "unknown://film.jpeg"]) + "\n")
    command = [sys.executable, "experiments/own_network.py", sys.executable, "-m", "pneumoscope", "scale", "score"]
    command += [str(tmp_path / "films.csv"), "--out", str(tmp_path / "out"), "--bundle", str(phantom_bundle)]
    run = subprocess.run([*command, "--partition-films", "10"], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(
        "error: expected to finish every partition, found 1 that failed; the first: expected an "
    )
    assert run.stderr.count("\n") == 1
    assert len(list((tmp_path / "out").glob("part-*"))) == 2
