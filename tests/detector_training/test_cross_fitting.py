"""Cross-fitting of a small detector on phantoms, and the evaluation of its bundle."""

import csv
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from pneumoscope.assessment.bundles import evaluate_bundle
from pneumoscope.assessment.evaluation import Evaluation
from pneumoscope.bundle import SHIPPED, Scope, load_bundle
from pneumoscope.config import DetectorConfig, ModelConfig, Preprocessing, RunConfig, SplitConfig, TrainingConfig
from pneumoscope.configs import shipped_config
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import Location
from pneumoscope.decision import softmax
from pneumoscope.detector_training import cross_fitting
from pneumoscope.detector_training.bundling import normal_batches, texts_for
from pneumoscope.detector_training.cross_fitting import detector_members, held_out_predictions, make_detector
from pneumoscope.detector_training.stress_validation import join_members, load_stress_validation, stress_set
from pneumoscope.errors import ConfigError, InputError, RunError
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.evaluation.policy_fitting import fit_policy
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.models.evidence import ExplainedClassifier, set_reference
from pneumoscope.progress import silent
from pneumoscope.training.batches import as_network_input
from pneumoscope.training.callbacks import Callbacks
from pneumoscope.training.jobs import Workers
from pneumoscope.training.networks import load_network
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.types import Split

CONFIG = RunConfig(
    "small",
    ModelConfig("nano", 3, freeze_base=False),
    Preprocessing(64, 64),
    training=TrainingConfig(
        epochs=2, patience=9, optimiser="adamw", learning_rate=1e-3, average=0.9, precision="fp32", batch_size=16
    ),
    detector=DetectorConfig("small", "7", folds=2, members=2),
)


@pytest.fixture(scope="module")
def made(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector") / "run"
    messages = []
    record = make_detector(
        CONFIG, Location(phantoms, "test", synthetic=True), folder, Callbacks(message=messages.append)
    )
    return folder, record, messages


def evaluated(path, phantoms, split, tmp_path):
    bundle = load_bundle(path)
    evaluation = Evaluation(split, "a test", tmp_path / "ledger")
    with WorkerPool(bundle, 1) as pool:
        return evaluate_bundle(bundle, pool, Location(phantoms, "test"), evaluation, silent, tmp_path / "report")


def test_bundle_holds_the_policy_fitted_on_out_of_fold_predictions(made):
    folder, _, messages = made
    manifest = load_detector(folder / "bundle.zip").bundle.manifest
    record = json.loads((folder / "decision.json").read_text())
    decision = record["decision"]
    assert record["sha256"] == load_detector(folder / "bundle.zip").bundle.sha256
    seconds = [
        float(row["seconds"]) for f in folder.rglob("metrics.csv") for row in csv.DictReader(f.read_text().splitlines())
    ]
    assert len(seconds) == 6 * 2, "three networks of two members, two epochs each"
    assert manifest.training["training_seconds"] == record["training_seconds"] == pytest.approx(sum(seconds))
    used = sum(member["weight"] > 0 for member in record["members"])
    assert (manifest.name, manifest.version, manifest.architecture) == ("small", "7", " + ".join(used * ["nano"]))
    assert set(manifest.operating_points) == {"balanced", "sensitive", "specific"}
    assert manifest.calibration.temperature == decision["calibration"]["temperature"]
    assert manifest.training["config_hash"] == CONFIG.hash
    assert decision["films"] == 60, "every training film is held out once"
    # It says what it was trained on, and nothing of the images that the shipped detectors were.
    use = "Research on images like the 60 of phantoms that it was trained on: normal, bacterial, viral."
    assert (manifest.intended_use, manifest.licence, manifest.citation) == (use, "not stated", "Images: phantoms")
    assert manifest.scope == Scope()
    folds = ["fold 1 of 2", "fold 2 of 2"]
    members = ["small, seed 0", "small, seed 1"]
    assert messages == [members[0], *folds, members[1], *folds, "the final network, on all training films", *members]


def test_seeds_predict_together_with_weights_fitted_on_the_folds(made, phantoms):
    folder, record, _ = made
    models = [load_network(RunFolder(folder / "final" / f"seed-{seed}")).eval() for seed in (0, 1)]
    weights = [member["weight"] for member in record["members"]]
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0
    detector = load_detector(folder / "bundle.zip")
    images = as_network_input(detector.bundle.golden["films"])
    with torch.no_grad():
        logits = sum(weight * model(images).numpy() for weight, model in zip(weights, models, strict=True))
    assert np.abs(detector.logits(detector.bundle.golden["films"]) - logits).max() < 2e-3
    dataset = load_dataset(Location(phantoms, "test"), CONFIG.preprocessing, cross_fitting._FINAL_SPLIT)
    for model in models:
        set_reference(model, normal_batches(dataset))
    with torch.no_grad():
        evidence = sum(w * ExplainedClassifier(model)(images)[1] for w, model in zip(weights, models, strict=True))
    found = detector.evidence(detector.bundle.golden["films"])
    # Weights in half precision move units that are near zero across it, and slopes jump there.
    assert found.shape == evidence.shape
    assert np.corrcoef(found.ravel(), evidence.numpy().ravel())[0, 1] > 0.99
    for model in models:
        model.base.reference = None
    with torch.no_grad():
        without = ExplainedClassifier(models[0])(images)[1]
    assert without.shape != evidence.shape
    folds = [[load_stress_validation(folder / f"folds/fold-{k}/hard-{seed}.npz") for k in (0, 1)] for seed in (0, 1)]
    together = stress_set([join_members(each, weights) for each in zip(*folds, strict=True)])
    refitted = fit_policy(together.logit, together.label, CONFIG.detector, together.weight)
    assert refitted.auc == pytest.approx(record["decision"]["auc"])


def member_file(folder, name, architecture="nano", side=64):
    file = folder / f"{name}.toml"
    file.write_text(
        f'name = "{name}"\n[model]\narchitecture = "{architecture}"\nfreeze_base = false\ninput_side = 48\n'
        f"[preprocessing]\nheight = {side}\nwidth = {side}\n"
        '[training]\nepochs = 9\noptimiser = "adamw"\nlearning_rate = 1e-3\nprecision = "fp32"\nbatch_size = 16\n'
    )
    return str(file)


@pytest.fixture(scope="module")
def ensemble(phantoms, tmp_path_factory):
    """An ensemble of two architectures, trained by two processes."""
    folder = tmp_path_factory.mktemp("ensemble")
    names = (member_file(folder, "fine"), member_file(folder, "coarse", "mid"))
    config = RunConfig("both", detector=DetectorConfig("both", folds=2, ensemble=names))
    location = Location(phantoms, "test", synthetic=True)
    record = make_detector(config, location, folder / "run", Callbacks(), workers=Workers(2), epochs=1)
    return folder / "run", config, record


def test_an_ensemble_of_configurations_is_one_network(ensemble):
    folder, config, record = ensemble
    assert {file.parent.name for file in folder.glob("members/*/final")} == {"fine", "coarse"}
    assert len(list(folder.rglob("metrics.csv"))) == 6
    assert {len(file.read_text().splitlines()) for file in folder.rglob("metrics.csv")} == {2}, "one epoch each"
    bundle = load_bundle(folder / "bundle.zip")
    manifest = bundle.manifest
    used = [member["config"]["model"]["architecture"] for member in record["members"] if member["weight"] > 0]
    assert (manifest.name, manifest.architecture) == ("both", " + ".join(used))
    assert (manifest.preprocessing, manifest.training["config_hash"]) == (Preprocessing(64, 64), config.hash)
    members = manifest.training["members"]
    assert [member["name"] for member in members] == ["fine, seed 0", "coarse, seed 0"]
    assert set(manifest.training["config"]) == {"name", "detector"}, "its members have the other settings"
    assert members == json.loads(json.dumps(record["members"]))
    detector = load_detector(bundle)
    assert detector.verify() < 1e-5
    assert detector.evidence(bundle.golden["films"]).shape[2:] == (6, 6)
    stored = {each.data_type for each in onnx.load_from_string(bundle.model).graph.initializer if len(each.dims) == 4}
    # Networks of one epoch know little, and the fit may leave one of them out; that bundle is the other network.
    assert (TensorProto.FLOAT16 in stored) == (len(used) == 2)


def test_an_ensemble_is_evaluated_and_resumed(ensemble, phantoms, tmp_path):
    folder, config, record = ensemble
    assert evaluated(folder / "bundle.zip", phantoms, Split.TEST, tmp_path)["films"] == 12
    location = Location(phantoms, "test", synthetic=True)
    stamps = {f: f.stat().st_mtime_ns for f in folder.rglob("model.safetensors")}
    again = make_detector(config, location, folder, Callbacks(), resume=True, epochs=1)
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("model.safetensors")} == stamps
    assert again["decision"] == record["decision"]
    with pytest.raises(RunError, match="found different ones"):
        make_detector(config, location, folder, Callbacks(), resume=True, epochs=2)


def test_predictions_of_another_training_are_not_taken(made, phantoms):
    split = SplitConfig(seed=0, folds=2, fold=0, by="style")
    location, folder = Location(phantoms, "test", synthetic=True), made[0] / "folds/fold-0"
    taken = replace(CONFIG, name="other name", split=split)
    assert len(held_out_predictions(taken, location, folder, Callbacks()).label) > 10
    with pytest.raises(RunError, match=r"expected a training of these settings in .*seed-0, found one of others"):
        held_out_predictions(taken.with_training(epochs=3), location, folder, Callbacks())


def test_a_detector_is_not_resumed_on_images_prepared_otherwise(made, phantoms, monkeypatch):
    monkeypatch.setattr(cross_fitting, "PREPROCESSING_VERSION", 99)
    location = Location(phantoms, "test", synthetic=True)
    with pytest.raises(RunError, match=r"found different ones \(preprocessing_version\)"):
        make_detector(CONFIG, location, made[0], Callbacks(), resume=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"detector": {"ensemble": ("fine", "other")}}, "one preprocessing and 3 classes, found others in other"),
        ({"detector": {"ensemble": ("fine", "fine")}}, "to name each configuration once"),
        ({"detector": {"ensemble": ("fine", "nested")}}, "found the ensemble nested"),
        ({"detector": {"ensemble": ("fine",), "members": 3}}, "found other settings: leave them out"),
        ({"training": TrainingConfig(epochs=3)}, "found other settings: leave them out"),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused_before_anything_is_trained(tmp_path, change, words):
    files = {"fine": member_file(tmp_path, "fine"), "other": member_file(tmp_path, "other", side=80)}
    files["nested"] = str(tmp_path / "nested.toml")
    (tmp_path / "nested.toml").write_text('[detector]\nname = "nested"\nensemble = ["nano"]\n')
    settings = {"ensemble": ("fine",)} | change.get("detector", {})
    settings["ensemble"] = tuple(files[name] for name in settings["ensemble"])
    config = replace(
        RunConfig("x", detector=DetectorConfig("x", **settings)), training=change.get("training", TrainingConfig())
    )
    with pytest.raises(ConfigError, match=words):
        detector_members(config, tmp_path / "run")


def test_members_join_only_for_the_same_images(made):
    folder, _, _ = made
    one, other = (load_stress_validation(folder / f"folds/fold-{fold}/hard-0.npz") for fold in (0, 1))
    assert join_members([one], [1.0]).unchanged == pytest.approx(one.unchanged)
    with pytest.raises(InputError, match="for the same images"):
        join_members([one, other], [0.5, 0.5])


def test_bundle_is_evaluated_from_the_images(made, phantoms, tmp_path):
    folder, _, _ = made
    record = evaluated(folder / "bundle.zip", phantoms, Split.TEST, tmp_path)
    detector = load_detector(folder / "bundle.zip")
    point = detector.bundle.manifest.operating_points["balanced"]
    assert record["films"] == 12
    assert f"{point.threshold:.4f}" in record["threshold"]
    assert record["provenance"]["bundle"] == detector.bundle.sha256
    (line,) = [json.loads(text) for text in (tmp_path / "ledger").read_text().splitlines()]
    assert line["model"] == "small 7"
    assert (tmp_path / "report/report.html").is_file()


def test_a_bundle_is_not_evaluated_on_its_training_images(made, phantoms, tmp_path):
    with pytest.raises(
        RunError, match=r"expected images that the detector small was not trained on, found 5[0-9] of its"
    ):
        evaluated(made[0] / "bundle.zip", phantoms, Split.TRAIN, tmp_path)


def test_second_run_trains_nothing(made, phantoms):
    folder, record, _ = made
    stamps = {f: f.stat().st_mtime_ns for f in folder.rglob("model.safetensors")}
    assert len(stamps) == 6
    location = Location(phantoms, "test", synthetic=True)
    with pytest.raises(RunError, match=r"expected no run in .*, found one: go on with it by --resume"):
        make_detector(CONFIG, location, folder, Callbacks())
    again = make_detector(CONFIG, location, folder, Callbacks(), resume=True)
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("model.safetensors")} == stamps
    assert again["decision"] == record["decision"]


def test_fitted_policy_reaches_its_targets(rng):
    label = rng.integers(0, 3, 900)
    logit = rng.normal(size=(900, 3)) + 2 * np.eye(3)[label]
    weight = np.where(label == 0, 2.0, 1.0)
    fitted = fit_policy(logit, label, DetectorConfig(sensitivity=0.95, specificity=0.9), weight)
    points = fitted.policy.operating_points
    assert points["sensitive"].sensitivity >= 0.95
    assert points["specific"].specificity >= 0.9
    assert points["sensitive"].threshold < points["specific"].threshold
    for point in points.values():
        assert point.refer_from <= point.threshold <= point.refer_to
    assert fitted.auc == pytest.approx(roc_auc(-softmax(logit)[:, 0], label > 0), abs=0.01)
    assert set(fitted.policy.conformal) == {"0.9", "0.95"}


def test_the_texts_of_a_shipped_configuration_are_those_of_its_bundle_and_of_its_images_alone(phantom_dataset):
    for name in SHIPPED:
        settings, manifest = shipped_config(name).detector, load_detector(name).bundle.manifest
        texts = (settings.intended_use, settings.licence, settings.citation)
        assert texts == (manifest.intended_use, manifest.licence, manifest.citation)
        assert Scope(settings.age_range, settings.view_names) == manifest.scope
        assert settings.index_hash == manifest.training["index_hash"]
        of_these = replace(settings, index_hash=phantom_dataset.index.hash)
        assert texts_for(phantom_dataset, of_these) == of_these
        other = texts_for(phantom_dataset, settings)
        assert other.name == f"{name} ({phantom_dataset.source.root.name})"
        assert {other.intended_use, other.licence, other.citation, other.ages, other.views} == {""}
