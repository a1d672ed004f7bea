import io
import zipfile
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bundles import bundle_of, lively_nano, permissive_guard
from pneumoscope.bundle import GUARD_MODEL, load_bundle, save_bundle
from pneumoscope.config import ModelConfig, Preprocessing
from pneumoscope.data.reading import read_grey
from pneumoscope.errors import BundleError, InputError
from pneumoscope.inference.detector import Detector, load_detector
from pneumoscope.models.evidence import ExplainedClassifier
from pneumoscope.models.registry import build_model
from pneumoscope.training.export import export_onnx, golden_outputs


@pytest.fixture(scope="module")
def images(phantom_dataset):
    return np.array(phantom_dataset.images[:7])


@pytest.fixture(scope="module")
def nano(images, manifest, tmp_path_factory):
    model = lively_nano(images, input_side=112, mirrored=True)
    path = tmp_path_factory.mktemp("bundle") / "nano.zip"
    bundle_of(model, images, path, manifest)
    return model, path


@pytest.mark.parametrize("architecture", ["cnn", "inception_v3", "stacked_cnn", "lite0"])
def test_onnx_gives_what_torch_gives(architecture, images, tmp_path, manifest):
    model = build_model(ModelConfig(architecture, freeze_base=False), seed=1)
    bundle = bundle_of(model, images, tmp_path / "b.zip", replace(manifest, architecture=architecture))
    detector = Detector(bundle)
    with torch.no_grad():
        scaled = torch.from_numpy(images).unsqueeze(1).float() / 255
        expected = model(scaled)
        _, evidence, *_ = ExplainedClassifier(model)(scaled)
    np.testing.assert_allclose(detector.logits(images), expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(detector.evidence(images), evidence.numpy(), rtol=1e-3, atol=1e-3)
    assert detector.verify() < 1e-4


def test_probabilities_are_the_manifests_calibration_of_the_logits(nano, images, manifest):
    model, path = nano
    detector = load_detector(path)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(images).unsqueeze(1).float() / 255).double().numpy()
    expected = manifest.calibration.probabilities(logits)
    np.testing.assert_allclose(detector.class_probabilities(images), expected, atol=1e-4)
    np.testing.assert_allclose(detector.class_probabilities(images).sum(axis=1), 1)


def test_batches_of_any_size_give_the_same(nano, images):
    detector = load_detector(nano[1])
    many = np.concatenate([images] * 10)
    np.testing.assert_allclose(detector.logits(many)[:7], detector.logits(images), atol=1e-5)
    one = np.concatenate([detector.logits(images[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(one, detector.logits(images), atol=1e-5)
    assert detector.logits(images[:0]).shape == (0, 3)


def test_wrong_images_are_refused(nano, images):
    detector = load_detector(nano[1])
    for wrong in (images[:, :100], images.astype(np.float32), images[0]):
        with pytest.raises(InputError, match=r"expected images of \(n, 224, 224\) uint8, found"):
            detector.logits(wrong)


def test_other_weights_than_the_golden_outputs_are_noticed(nano, tmp_path, manifest):
    made = load_bundle(nano[1])
    golden = made.golden | {"logits": made.golden["logits"] + 1}
    bundle = save_bundle(tmp_path / "b.zip", manifest, made.model, golden, made.guard)
    with pytest.raises(
        BundleError, match=r"expected the golden (logits|evidence|features) within [0-9.]+, found a difference of "
    ):
        Detector(bundle).verify()


def test_a_bundle_made_for_another_preprocessing_is_refused(manifest, tmp_path):
    other = replace(manifest, preprocessing_version=99)
    bundle = save_bundle(tmp_path / "b.zip", other, b"network", {"films": np.zeros(1)}, permissive_guard(2))
    with pytest.raises(BundleError, match="expected a bundle made for version 2 of the preprocessing, found 99"):
        Detector(bundle)


def test_what_is_no_network_is_refused(tmp_path, manifest):
    bundle = save_bundle(tmp_path / "b.zip", manifest, b"no network", {"films": np.zeros(1)}, permissive_guard(2))
    with pytest.raises(BundleError, match="expected an ONNX network that this runtime reads"):
        Detector(bundle)


def test_a_detector_that_does_not_ship_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("pneumoscope.bundle.archive.files", lambda _: tmp_path)
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


def test_one_image_as_path_bytes_and_array_gives_one_answer(phantoms, phantom_bundle, phantom_dataset):
    detector = load_detector(phantom_bundle)
    file = phantoms / phantom_dataset.index.rows[0].path
    named = detector.predict(file)
    by_bytes, by_array = detector.predict(file.read_bytes()), detector.predict(read_grey(file))
    assert named.file == str(file)
    assert by_bytes.file == by_array.file == ""
    assert named.class_probability == by_bytes.class_probability == by_array.class_probability
    assert named.sha256 == by_bytes.sha256 == phantom_dataset.index.rows[0].sha256 != by_array.sha256


def test_probabilities_and_decision_follow_the_manifest(phantoms, phantom_bundle, phantom_dataset):
    detector = load_detector(phantom_bundle)
    files = [phantoms / row.path for row in phantom_dataset.index.rows[:20]]
    predictions = list(detector.predict_many(files))
    expected = detector.class_probabilities(np.array(phantom_dataset.images[:20]))
    point = detector.bundle.manifest.operating_points["balanced"]
    for prediction, probabilities in zip(predictions, expected, strict=True):
        np.testing.assert_allclose(list(prediction.class_probability.values()), probabilities, atol=1e-5)
        positive = probabilities[1:].sum()
        assert prediction.pneumonia_probability == pytest.approx(positive, abs=1e-5)
        refer = point.refer_from <= positive < point.refer_to
        assert prediction.decision == ("refer" if refer else "pneumonia" if positive >= point.threshold else "normal")
        assert prediction.reasons == (("near_threshold",) if refer else ())
        assert prediction.evidence_map is None
    assert len({prediction.decision for prediction in predictions}) > 1


def test_prevalence_moves_the_probabilities_and_no_decision(phantoms, phantom_bundle, phantom_dataset):
    detector = load_detector(phantom_bundle)
    file = phantoms / phantom_dataset.index.rows[0].path
    usual, rare = detector.predict(file), detector.predict(file, prevalence=0.02)
    assert rare.decision == usual.decision
    assert rare.pneumonia_probability < usual.pneumonia_probability
    odds = [p / (1 - p) for p in (rare.pneumonia_probability, usual.pneumonia_probability)]
    assert odds[0] / odds[1] == pytest.approx(0.02 / 0.98)
    edge = [p.operating_point.threshold for p in (rare, usual)]
    assert edge[1] == pytest.approx(0.5)
    assert edge[0] == pytest.approx(0.02)
    for wrong in (0, 1, -1):
        with pytest.raises(InputError, match="expected a prevalence above 0 and below 1"):
            detector.predict(file, prevalence=wrong)


def test_evidence_is_that_for_pneumonia_less_that_for_normal(phantoms, phantom_bundle, phantom_dataset):
    detector = load_detector(phantom_bundle)
    image = np.array(phantom_dataset.images[:1])
    prediction = detector.predict(phantoms / phantom_dataset.index.rows[0].path, evidence=True)
    normal, bacterial, viral = detector.evidence(image)[0]
    weight = detector.class_probabilities(image)[0][1:]
    expected = (weight[0] * bacterial + weight[1] * viral) / weight.sum() - normal
    np.testing.assert_allclose(prediction.evidence_map, expected, rtol=1e-3, atol=1e-3)
    assert prediction.frame == (0, 0, 1, 1)


def test_unusable_images_are_rejected_with_a_reason_and_all_others_predicted(phantoms, phantom_bundle, tmp_path):
    detector = load_detector(phantom_bundle)
    good = next(iter(sorted(phantoms.rglob("*.jpeg"))))
    (tmp_path / "text.jpeg").write_text("no image")
    (tmp_path / "cut.jpeg").write_bytes(good.read_bytes()[:900])
    given = [
        (tmp_path / "text.jpeg", "unreadable"),
        (tmp_path / "cut.jpeg", "unreadable"),
        (tmp_path / "missing.jpeg", "unreadable"),
        (np.full((63, 200), 7, np.uint8), "too_small"),
        (np.tile(np.arange(200, dtype=np.uint8), (900, 1)), "not_a_radiograph"),
        (np.full((224, 224), 100, np.uint8), "poor_exposure"),
    ]
    images = [image for image, _ in given]
    predictions = list(detector.predict_many([good, *images, good]))
    assert [p.reasons for p in predictions[1:-1]] == [(reason,) for _, reason in given]
    for prediction in predictions[1:-1]:
        assert prediction.decision == "rejected"
        assert prediction.pneumonia_probability is None
        assert prediction.class_probability is None
        assert prediction.detail.startswith("expected")
    assert predictions[0].decision != "rejected"
    assert replace(predictions[0]) == predictions[-1]


def test_an_unknown_operating_point_is_refused(phantom_bundle):
    with pytest.raises(InputError, match="expected an operating point out of balanced, found 'best'"):
        load_detector(phantom_bundle).predict(np.zeros((100, 100), np.uint8), "best")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 5), st.integers(0, 20_000), st.binary(max_size=6), st.integers(0, 40))
def test_a_changed_image_is_predicted_or_rejected(phantom_bundle, drawn_radiographs, one, position, piece, dropped):
    content = bytearray(sorted(drawn_radiographs.iterdir())[one].read_bytes())
    if one % 2:
        with Image.open(io.BytesIO(content)) as picture, io.BytesIO() as buffer:
            picture.save(buffer, "JPEG")
            content = bytearray(buffer.getvalue())
    position %= len(content)
    content[position : position + dropped] = piece
    prediction = _detector_of(phantom_bundle).predict(bytes(content))
    assert (prediction.pneumonia_probability is None) == (prediction.decision == "rejected")


@lru_cache
def _detector_of(path):
    return load_detector(path, 1)


def test_a_guard_may_have_a_network_of_its_own(nano, images, tmp_path, manifest):
    model, path = nano
    own = Preprocessing(fit="chest")
    other = lively_nano(images[::-1].copy(), input_side=96, mirrored=True)
    guard_model, guard = export_onnx(other, 224, 224), permissive_guard(112)
    with_own = replace(manifest, guard_preprocessing=own)
    bundle = save_bundle(
        tmp_path / "b.zip", with_own, load_bundle(path).model, golden_outputs(model, images[:2]), guard, guard_model
    )
    alone = save_bundle(
        tmp_path / "c.zip",
        replace(manifest, preprocessing=own),
        guard_model,
        golden_outputs(other, images[:2]),
        guard,
    )
    expected = [p.statistics.distance for p in Detector(alone).predict_many(images)]
    predictions = list(Detector(bundle).predict_many(images, evidence=True))
    plain = list(load_detector(path).predict_many(images, evidence=True))
    np.testing.assert_allclose([p.statistics.distance for p in predictions], expected, rtol=1e-5)
    assert np.std(expected) > 0
    assert not np.allclose([p.statistics.distance for p in plain], expected, rtol=1e-3)
    for found, without in zip(predictions, plain, strict=True):
        assert found.class_probability == without.class_probability
        np.testing.assert_array_equal(found.evidence_map, without.evidence_map)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        archive.extractall(tmp_path / "folder")
    (tmp_path / "folder" / GUARD_MODEL).unlink()
    with pytest.raises(BundleError, match=r"guard\.npz"):
        load_bundle(tmp_path / "folder")
