from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.adaptation import fine_tuning
from pneumoscope.adaptation.fine_tuning import FineTune, fine_tune
from pneumoscope.adaptation.methods import LinearHeads
from pneumoscope.bundle import LOGITS, find_bundle
from pneumoscope.config import config_from_table
from pneumoscope.data.sources import open_source
from pneumoscope.decision import softmax
from pneumoscope.errors import BundleError
from pneumoscope.inference.network import Network
from pneumoscope.training.callbacks import SilentObserver
from pneumoscope.types import BINARY


@pytest.fixture
def method(site_images, phantoms, tmp_path, monkeypatch):
    """Fine-tuning of `nano` for one epoch on 24 phantom images."""
    monkeypatch.setattr(fine_tuning, "_EPOCHS", 1)
    source = open_source(phantoms)
    images = site_images(count=24)
    paths = tuple(image.path for image in source.images[::3])
    object.__setattr__(images, "paths", paths)
    prepared = []
    made = fine_tune(
        find_bundle("nano"),
        images,
        source,
        LinearHeads(BINARY, True),
        tmp_path / "trainings",
        SilentObserver(),
        lambda done, total: prepared.append(done),
    )
    assert prepared[-1] == 24
    return made, images


def test_a_network_is_trained_once_and_exported_as_it_is(method):
    made, images = method
    train, test = np.arange(16), np.arange(16, 24)
    [logit] = made.logits(images, train, test)
    assert logit.shape == (8, 2)
    stamps = {file: file.stat().st_mtime_ns for file in made.folder.rglob("*")}
    [again] = made.logits(images, train, test)
    np.testing.assert_array_equal(again, logit)
    assert {file: file.stat().st_mtime_ns for file in made.folder.rglob("*")} == stamps
    fitted = made.fitted(images)
    config = config_from_table(fitted.config, "manifest")
    assert (config.model.classes, config.model.architecture) == (2, "nano")
    [expected] = made.logits(images, np.arange(24), test)
    found = Network(fitted.model, 224, 224).run(made.pixels[test], LOGITS)[0]
    np.testing.assert_allclose(softmax(found.astype(float)), softmax(expected), atol=1e-4)


@pytest.mark.parametrize("name", ["default", "nano"])
def test_the_network_of_a_bundle_is_built_again_from_its_graph(name, rng):
    bundle = find_bundle(name)
    images = rng.integers(0, 256, (4, 224, 224), dtype=np.uint8)
    model = fine_tuning._with_weights_of(bundle, fine_tuning._config_of(bundle), images)
    fine_tuning._check_parity(bundle, model)
    next(model.head.parameters()).data.mul_(2)
    with pytest.raises(BundleError, match="use --method linear"):
        fine_tuning._check_parity(bundle, model)


def test_a_bundle_that_does_not_say_how_it_is_built_is_refused(phantom_bundle):
    from pneumoscope.bundle import load_bundle

    with pytest.raises(BundleError, match="expected the configuration of the network"):
        fine_tuning._config_of(load_bundle(phantom_bundle))
    assert FineTune.is_fast is False


def test_an_ensemble_is_refused():
    bundle = find_bundle("nano")
    members = bundle.manifest.training | {"members": [{"name": "one"}, {"name": "other"}]}
    ensemble = replace(bundle, manifest=replace(bundle.manifest, training=members))
    with pytest.raises(BundleError, match="found nano, an ensemble of 2: use --method linear"):
        fine_tuning._config_of(ensemble)
