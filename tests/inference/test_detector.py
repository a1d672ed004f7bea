from dataclasses import replace

import numpy as np
import pytest
import torch

from pneumoscope.bundle import save_bundle
from pneumoscope.config import ModelConfig, Preprocessing
from pneumoscope.data.preprocessing import prepare
from pneumoscope.errors import BundleError, InputError
from pneumoscope.inference.detector import Detector, load_detector
from pneumoscope.models.evidence import ExplainedClassifier
from pneumoscope.models.registry import build_model
from pneumoscope.training.export import export_onnx, golden_outputs


def bundle_of(model, films, path, manifest):
    golden = golden_outputs(model, films[:2])
    return save_bundle(path, manifest, export_onnx(model, *films.shape[1:]), golden, guard(golden["features"].shape[1]))


def guard(channels):
    """Lets everything pass, with the manifest fixture's limits."""
    return {
        "mean": np.zeros(channels, np.float32),
        "scale": np.ones(channels, np.float32),
        "components": np.eye(channels, 2, dtype=np.float16),
        "deviation": np.ones(2, np.float32),
    }


@pytest.fixture(scope="module")
def films(phantom_dataset):
    return np.array(phantom_dataset.films[:7])


@pytest.fixture(scope="module")
def nano(films, manifest, tmp_path_factory):
    model = build_model(ModelConfig("nano", freeze_base=False, input_side=112, mirrored=True), seed=1)
    for layer in model.modules():  # as after a training: statistics that are not 0 and 1
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    model.train()
    with torch.no_grad():
        model(torch.from_numpy(films).unsqueeze(1) / 255)
    torch.nn.init.normal_(model.head.dense.weight, generator=torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("bundle") / "nano.zip"
    bundle_of(model, films, path, manifest)
    return model, path


@pytest.mark.parametrize("architecture", ["cnn", "inception_v3", "stacked_cnn", "lite0"])
def test_onnx_gives_what_torch_gives(architecture, films, tmp_path, manifest):
    model = build_model(ModelConfig(architecture, freeze_base=False), seed=1)
    bundle = bundle_of(model, films, tmp_path / "b.zip", replace(manifest, architecture=architecture))
    detector = Detector(bundle)
    with torch.no_grad():
        scaled = torch.from_numpy(films).unsqueeze(1).float() / 255
        expected = model(scaled)
        _, evidence, _ = ExplainedClassifier(model)(scaled)
    np.testing.assert_allclose(detector.logits(films), expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(detector.evidence(films), evidence.numpy(), rtol=1e-3, atol=1e-3)
    assert detector.verify() < 1e-4


def test_probabilities_are_the_manifests_calibration_of_the_logits(nano, films, manifest):
    model, path = nano
    detector = load_detector(path)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(films).unsqueeze(1).float() / 255).double().numpy()
    expected = manifest.calibration.probabilities(logits)
    np.testing.assert_allclose(detector.class_probabilities(films), expected, atol=1e-4)
    np.testing.assert_allclose(detector.class_probabilities(films).sum(axis=1), 1)


def test_what_is_no_chest_is_unlike_the_films_learnt_from(films, nano, tmp_path, rng, manifest):
    settings = Preprocessing(fit="chest")
    placed = np.stack([prepare(film, settings) for film in films])
    noise = rng.integers(0, 256, placed.shape, dtype=np.uint8)
    everything = np.concatenate([placed, 255 - placed, noise, np.zeros_like(placed)])
    model, path = nano
    placing = replace(manifest, preprocessing=settings, least_similarity=0.3)
    detector = Detector(bundle_of(model, films, tmp_path / "b.zip", placing))
    np.testing.assert_array_equal(detector.unlike(everything), [False] * 7 + [True] * 21)
    assert detector.unlike(everything[:0]).shape == (0,)
    assert not load_detector(path).unlike(everything).any()


def test_batches_of_any_size_give_the_same(nano, films):
    detector = load_detector(nano[1])
    many = np.concatenate([films] * 10)
    np.testing.assert_allclose(detector.logits(many)[:7], detector.logits(films), atol=1e-5)
    one = np.concatenate([detector.logits(films[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(one, detector.logits(films), atol=1e-5)
    assert detector.logits(films[:0]).shape == (0, 3)


def test_wrong_films_are_refused(nano, films):
    detector = load_detector(nano[1])
    for wrong in (films[:, :100], films.astype(np.float32), films[0]):
        with pytest.raises(InputError, match=r"expected films of \(n, 224, 224\) uint8, found"):
            detector.logits(wrong)


def test_other_weights_than_the_golden_outputs_are_noticed(nano, films, tmp_path, manifest):
    model, _ = nano
    golden = golden_outputs(model, films[:2])
    golden["logits"] = golden["logits"] + 1
    bundle = save_bundle(tmp_path / "b.zip", manifest, export_onnx(model, 224, 224), golden, guard(112))
    with pytest.raises(BundleError, match=r"expected the golden outputs within 0.001, found a difference of "):
        Detector(bundle).verify()


def test_a_bundle_made_for_another_preprocessing_is_refused(manifest, tmp_path):
    other = replace(manifest, preprocessing_version=99)
    bundle = save_bundle(tmp_path / "b.zip", other, b"network", {"films": np.zeros(1)}, guard(2))
    with pytest.raises(BundleError, match="expected a bundle made for version 1 of the preprocessing, found 99"):
        Detector(bundle)


def test_what_is_no_network_is_refused(tmp_path, manifest):
    bundle = save_bundle(tmp_path / "b.zip", manifest, b"no network", {"films": np.zeros(1)}, guard(2))
    with pytest.raises(BundleError, match="expected an ONNX network that this runtime reads"):
        Detector(bundle)


def test_a_detector_that_does_not_ship_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("pneumoscope.inference.detector.files", lambda _: tmp_path)
    with pytest.raises(BundleError, match="expected the detector nano in this version of pneumoscope, found none"):
        load_detector("nano")


def test_detecting_needs_no_torch(nano):
    import subprocess
    import sys

    script = (
        "import sys; from pneumoscope.inference.detector import load_detector; load_detector(sys.argv[1]).verify();"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(nano[1])], check=True)
