"""A service as the model of a stress test: the probabilities of its bundle."""

import numpy as np
import pytest

from pneumoscope.data.phantom import phantom_image
from pneumoscope.data.preprocessing import chest_square
from pneumoscope.errors import PneumoscopeError, ServiceError
from pneumoscope.serving.keys import new_key
from pneumoscope.stress.models import open_model
from serving.conftest import running


@pytest.fixture(scope="module")
def images():
    words = ("normal", "virus", "bacteria")
    return np.stack(
        [chest_square(phantom_image(word, np.random.default_rng(i))) for i, word in enumerate(words)]
        + [np.zeros((224, 224), dtype=np.uint8)]
    )


def test_a_service_gives_the_probabilities_of_its_bundle_and_says_what_it_rejects(service, phantom_bundle, images):
    with open_model(str(phantom_bundle)) as bundle, open_model(str(service.base_url)) as model:
        found, expected = model.predict(images[:3]), bundle.predict(images[:3])
        assert np.abs(found - expected).max() < 1e-6
        assert np.ptp(found) > 0.01
        assert model.threshold == bundle.threshold
        assert model.name == f"test 1 at {service.base_url}"
        assert model.remark() == ""
        # The guard rejects an image of one grey level; the bundle alone would have given a probability.
        assert model.predict(images)[3] == 0.5
        assert bundle.predict(images)[3] != 0.5
        assert model.remark().startswith("the service rejected 1 of 7 images of this run")


@pytest.mark.integration
def test_the_command_tests_a_service(service, pneumoscope, phantoms, tmp_path):
    words = ("--data", phantoms / "train", "--side", "96", "--corrupted", "0", "--json")
    code, out, err = pneumoscope("stress", service.base_url, *words)
    assert code == 0, err
    assert f"test 1 at {service.base_url}" in out
    assert (tmp_path / "stress" / f"127.0.0.1-{service.base_url.port}" / "stress.html").is_file()
    assert ("the service rejected" in err) == ("the service rejected" in out)


def test_an_address_without_a_service_gets_one_line():
    with pytest.raises(ServiceError, match="start it with pneumoscope serve"), open_model("http://127.0.0.1:9"):
        pass


def test_a_service_with_keys_gets_that_of_the_environment(phantom_bundle, images, tmp_path, monkeypatch):
    key = new_key(tmp_path / "keys", "student")
    with running(bundle=str(phantom_bundle), keys=tmp_path / "keys") as service:
        with pytest.raises(PneumoscopeError, match="key"), open_model(str(service.base_url)):
            pass
        monkeypatch.setenv("PNEUMOSCOPE_SERVICE_KEY", key)
        with open_model(str(service.base_url)) as model:
            assert model.predict(images[:1]).shape == (1,)
