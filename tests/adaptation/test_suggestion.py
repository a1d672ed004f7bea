import csv
import hashlib
import json

import numpy as np

from pneumoscope.adaptation.suggestion import choose_images
from pneumoscope.bundle import TRAINING_HASHES, load_bundle, save_bundle, training_hashes


def test_images_near_the_threshold_that_differ_come_first(rng):
    probability = np.array([0.5, 0.51, 0.49, 0.52, 0.99, 0.01])
    features = np.array([[0, 0], [0.1, 0], [9, 9], [9, 9.1], [50, 0], [0, 50]], dtype=float)
    assert choose_images(probability, 0.5, features, 2).tolist() in ([0, 2], [0, 3])
    assert sorted(choose_images(probability, 0.5, features, 99).tolist()) == list(range(6))
    # Another threshold, another uncertainty.
    assert choose_images(probability, 0.99, features, 1).tolist() == [4]


def test_suggestions_are_a_list_to_label(pneumoscope, phantoms, phantom_bundle, tmp_path):
    words = ("adapt", "--suggest", "5", "--from", phantoms / "test", "--bundle", phantom_bundle)
    code, out, err = pneumoscope(*words)
    assert code == 0, err
    paths = out.splitlines()
    assert len(set(paths)) == 5
    code, out, _ = pneumoscope(*words, "--json")
    assert [each["file"] for each in json.loads(out)] == paths
    assert pneumoscope(*words, "--out", "list.csv")[:2] == (0, "list.csv\n")
    with (tmp_path / "list.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == paths
    assert {row["class"] for row in rows} == {""}
    for words, message in (
        (("adapt", "--suggest", "5"), "expected --suggest N --from IMAGES"),
        (("adapt", "--data", phantoms), "expected --data IMAGES --out FILE.zip"),
        (("adapt", "--suggest", "5", "--from", "gone"), "expected an image, a folder"),
    ):
        code, _, err = pneumoscope(*words)
        assert code == 1
        assert message in err


def test_images_that_the_bundle_was_fitted_to_are_not_suggested(pneumoscope, phantoms, phantom_bundle, tmp_path):
    known = load_bundle(phantom_bundle)
    files = sorted((phantoms / "test").rglob("*.jpeg"))
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files[:-1]]
    golden = known.golden | {TRAINING_HASHES: training_hashes(digests)}
    save_bundle(tmp_path / "known.zip", known.manifest, known.model, golden, known.guard)
    words = ("adapt", "--suggest", "5", "--from", phantoms / "test", "--bundle", "known.zip")
    assert pneumoscope(*words)[:2] == (0, f"{files[-1]}\n")
