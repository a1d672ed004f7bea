"""Evaluation of a bundle counts rejected and referred images as `predict` decides for the same files."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pneumoscope.assessment.bundles import evaluate_bundle
from pneumoscope.assessment.evaluation import Evaluation
from pneumoscope.bundle import SHIPPED, find_bundle
from pneumoscope.data.locate import Location
from pneumoscope.errors import RunError
from pneumoscope.inference.batch import predict_files
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.progress import silent
from pneumoscope.types import Decision, PredictionRequest, Reason, Split


def with_test_images(phantoms, folder, images):
    """The phantoms' training images, and a test split of the given images by class."""
    shutil.copytree(phantoms / "train", folder / "train")
    for label, pictures in images.items():
        (folder / "test" / label).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            name = f"IM-{9000 + number}-0001.png" if label == "NORMAL" else f"person{9000 + number}_virus_{number}.png"
            picture.save(folder / "test" / label / name)
    return folder


def mutated(pictures):
    """Each picture as it is, inverted, upside down, too small and blank."""
    for picture in pictures:
        grey = np.asarray(picture)
        yield picture
        yield Image.fromarray(255 - grey)
        yield picture.rotate(180)
        yield picture.resize((60, 60))
        yield Image.fromarray((grey // 40 + 90).astype(np.uint8))


def opened(files):
    return [Image.open(file).convert("L") for file in files]


def compare(bundle, data, out):
    """Evaluates and predicts the same files; gives the report's decisions after the comparison."""
    with WorkerPool(bundle, 1) as pool:
        evaluation = Evaluation(Split.TEST, "test", out / "ledger.jsonl", synthetic=True)
        report = evaluate_bundle(bundle, pool, Location(data, "test"), evaluation, silent, out / "report")
        files = sorted(str(file) for file in (data / "test").rglob("*.png"))
        for name, point in report["decisions"]["operating_points"].items():
            predictions = [p for some in predict_files(files, pool, PredictionRequest(name)) for p in some]
            rejected = [p.decision is Decision.REJECTED for p in predictions]
            referred = [p.decision is Decision.REFER for p in predictions]
            assert report["decisions"]["rejected"]["value"] == pytest.approx(np.mean(rejected))
            assert point["measured"]["referred"]["value"] == pytest.approx(np.mean(referred))
            outside = [p.decision == "refer" and not p.validated for p in predictions]
            assert report["decisions"]["outside"]["value"] == pytest.approx(np.mean(outside))
    assert report["films"] == len(files)
    return report, predictions


def test_phantoms_and_mutated_ones_are_counted_as_predicted(phantoms, phantom_bundle, tmp_path):
    images = {
        "NORMAL": list(mutated(opened(sorted((phantoms / "test" / "NORMAL").glob("*.jpeg"))[:3]))),
        "PNEUMONIA": list(mutated(opened(sorted((phantoms / "test" / "PNEUMONIA").glob("*virus*.jpeg"))[:3]))),
    }
    report, predictions = compare(
        find_bundle(phantom_bundle), with_test_images(phantoms, tmp_path / "d", images), tmp_path
    )
    reasons = {reason for prediction in predictions for reason in prediction.reasons}
    # Rejected for their pixels alone.
    assert {Reason.TOO_SMALL, Reason.POOR_EXPOSURE} <= reasons
    assert report["decisions"]["rejected"]["value"] == pytest.approx(0.4)


@pytest.mark.parametrize("name", SHIPPED)
def test_real_radiographs_and_mutated_ones_are_counted_as_predicted(real_images, phantoms, tmp_path, name):
    images = {
        label: list(mutated(opened(sorted((real_images / "test" / label).glob(pattern))[::40][:5])))
        for label, pattern in (("NORMAL", "*.jpeg"), ("PNEUMONIA", "*virus*.jpeg"))
    }
    _, predictions = compare(find_bundle(name), with_test_images(phantoms, tmp_path / "d", images), tmp_path)
    reasons = {reason for prediction in predictions for reason in prediction.reasons}
    assert {Reason.TOO_SMALL, Reason.POOR_EXPOSURE, Reason.INVERTED, Reason.NOT_FRONTAL_CHEST} <= reasons


def test_a_bundle_is_not_evaluated_on_its_training_images(phantoms, tmp_path):
    from dataclasses import replace

    from pneumoscope.bundle import TRAINING_HASHES, training_hashes
    from pneumoscope.files import sha256_of_file

    bundle = find_bundle("nano")
    seen = [sha256_of_file(file) for file in (phantoms / "test").rglob("*.jpeg")]
    trained = replace(bundle, golden=bundle.golden | {TRAINING_HASHES: training_hashes(seen)})
    evaluation = Evaluation(Split.TEST, "test", synthetic=True)
    with WorkerPool("nano", 1) as pool, pytest.raises(RunError, match="was not trained on, found 12 of its training"):
        evaluate_bundle(trained, pool, Location(phantoms, "test"), evaluation, silent, tmp_path)


def test_evaluating_a_bundle_and_listing_models_needs_no_torch(phantoms, phantom_bundle, tmp_path):
    code = (
        # Not None in sys.modules, which scipy takes for an imported torch.
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('torch', 'lightning_fabric'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"sys.argv = ['pneumoscope', 'evaluate', '--bundle', {str(phantom_bundle)!r}, '--data', {str(phantoms)!r}, '--out', 'e']\n"
        "from pneumoscope.cli import app\n"
        "for words in (sys.argv[1:], ['models', '--json']):\n"
        "    try: app(words)\n"
        "    except SystemExit as stop: assert not stop.code, stop.code\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "e" / "report.html").is_file()
    assert '"inception_v3"' in done.stdout
    # No ledger is created in a user's folder.
    assert not (tmp_path / "results").exists()
