"""The Python client, on services that really run."""

import http.server
import pickle
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from bundles import own_classes_bundle
from pneumoscope import client as module
from pneumoscope.client import Client
from pneumoscope.data.reading import read_grey
from pneumoscope.errors import ConfigError, DataError, InputError, ServiceError, UnreadableImage
from pneumoscope.inference.detector import load_detector
from pneumoscope.serving.keys import new_key
from pneumoscope.types import Decision, Reason
from serving.conftest import running


@pytest.fixture
def client(service):
    with Client(str(service.base_url)) as opened:
        yield opened


@pytest.fixture(scope="module")
def detector(phantom_bundle):
    return load_detector(phantom_bundle)


def records(predictions):
    """Plain data, which is all that the service sends: it leaves out the band that is referred."""
    return [prediction.to_dict() for prediction in predictions]


def code_of(call):
    with pytest.raises(ServiceError) as caught:
        call()
    return caught.value.code


def answered_with(service, status):
    """Number of predictions that the service answered with a status so far."""
    lines = service.get("/metrics").text.splitlines()
    found = [line for line in lines if f'status="{status}"' in line and 'route="/v1/predict"' in line]
    return sum(int(float(line.split()[-1])) for line in found if line.startswith("pneumoscope_requests_total"))


def test_a_prediction_is_that_of_the_detector(client, detector, films):
    for film in films[:3]:
        for settings in ({}, {"operating_point": "balanced", "prevalence": 0.1, "evidence": True}):
            expected, found = detector.predict(film, **settings), client.predict(film, **settings)
            assert found.to_dict() == expected.to_dict()
            assert found.scheme == expected.scheme
            assert found.image == film
            if expected.evidence_map is None:
                assert found.evidence_map is None
            else:
                assert np.array_equal(found.evidence_map, expected.evidence_map)
                assert found.frame == expected.frame
    assert "data:image/png" in found._repr_html_()


@pytest.mark.parametrize("bits", [8, 16])
def test_images_are_taken_as_the_detector_takes_them(client, detector, films, bits):
    content, pixels = films[0].read_bytes(), read_grey(films[0])
    pixels = pixels if bits == 8 else pixels.astype(np.uint16) * 257
    expected = detector.predict(pixels)
    images = [pixels, Image.fromarray(pixels), np.stack([pixels] * 3, axis=2)]
    for image in images:
        assert client.predict(image).to_dict() | {"sha256": expected.sha256} == expected.to_dict()
    assert client.predict(content).to_dict() == detector.predict(content).to_dict()
    with films[0].open("rb") as stream:
        assert client.predict(stream).file == str(films[0])
    with pytest.raises(InputError, match="expected the path of a JPEG"):
        client.predict(object())
    with pytest.raises(UnreadableImage, match="none"):
        client.predict("none.png")


def test_an_image_that_cannot_be_assessed_is_rejected(client, detector):
    found = client.predict(b"no image")
    assert found.to_dict() == detector.predict(b"no image").to_dict()
    assert (found.decision, found.reasons) == (Decision.REJECTED, (Reason.UNREADABLE,))


def test_many_images_come_in_their_order_though_the_service_is_busy(phantom_bundle, detector, phantoms):
    files = sorted(phantoms.rglob("*.jpeg"))[:20]
    with running(bundle=str(phantom_bundle), queue=1, images=1) as narrow, Client(str(narrow.base_url)) as client:
        found = client.predict_many(files, prevalence=0.2)
        assert records(found) == records(detector.predict_many(files, prevalence=0.2))
        assert answered_with(narrow, 503) > 0
        assert answered_with(narrow, 200) == len(files)


def test_a_folder_is_predicted(client, detector, phantoms):
    folder = str(phantoms / "test")
    assert records(client.predict_many(folder)) == records(detector.predict_many(folder))
    with pytest.raises(DataError, match="none"):
        client.predict_many("none")
    with pytest.raises(InputError, match="use predict"):
        client.predict_many(b"one image")


def test_a_service_that_stays_busy_is_told(phantom_bundle, films, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.0)
    with running(bundle=str(phantom_bundle), queue=1, images=1) as narrow, Client(str(narrow.base_url)) as client:
        assert code_of(lambda: list(client.predict_many([films[0]] * 40))) == "busy"


def test_images_that_nobody_takes_are_not_sent(client, service, films):
    before, taken = answered_with(service, 200), []

    def images():
        for _ in range(100):
            taken.append(1)
            yield films[0]

    predictions = client.predict_many(images())
    assert len(list(islice(predictions, 3))) == 3
    predictions.close()
    assert len(taken) < 10
    assert answered_with(service, 200) - before <= len(taken)


def test_several_threads_share_a_client(client, detector, films):
    with ThreadPoolExecutor(4) as pool:
        assert records(pool.map(client.predict, films[:4])) == records(map(detector.predict, films[:4]))


def test_evidence_is_a_picture(client, service, films):
    assert client.evidence(films[2]) == service.post("/v1/evidence", content=films[2].read_bytes()).content
    assert code_of(lambda: client.evidence(b"nothing")) == "unreadable"


def test_bundle_and_performance_are_those_of_the_service(client, service, phantom_bundle):
    assert client.bundle() == service.get("/v1/bundle").json()
    assert client.performance() == service.get("/v1/performance").json()
    assert client.ready()


def test_the_history_is_searched_page_by_page_and_deleted(client, films, monkeypatch):
    monkeypatch.setattr(module, "_PAGE", 2)
    client.delete_history()
    predictions = [client.predict(film) for film in films[:4]] + [client.predict(b"no image")]
    entries = list(client.history())
    assert [entry.prediction for entry in entries] == predictions[::-1]
    assert [entry.id for entry in entries] == sorted((entry.id for entry in entries), reverse=True)
    assert [entry.prediction for entry in client.history(text=films[1].name)] == [predictions[1]]
    [rejected] = client.history(decision=Decision.REJECTED)
    assert rejected.prediction == predictions[-1]
    assert client.delete_history(rejected.id) == 1
    assert code_of(lambda: client.delete_history(rejected.id)) == "not_found"
    assert client.delete_history() == 4
    assert list(client.history()) == []


def test_a_sites_own_classes_are_known(phantom_dataset, phantom_bundle, manifest, films, tmp_path):
    own = tmp_path / "own.zip"
    own_classes_bundle(np.array(phantom_dataset.images[:8]), own, manifest)
    history, bytes_ = tmp_path / "h.sqlite", [film.read_bytes() for film in films]
    for bundle in (own, phantom_bundle, own):
        with running(bundle=str(bundle), history=history) as service, Client(str(service.base_url)) as client:
            expected = [load_detector(bundle).predict(each) for each in (*bytes_, b"no image")]
            found = list(client.predict_many([*bytes_, b"no image"]))
            assert records(found) == records(expected)
            # With several requests at a time they are kept in the order in which they were predicted.
            kept = [entry.prediction.outcome for entry in islice(client.history(), len(found))]
            assert Counter(kept) == Counter(each.outcome for each in expected)
            # Decisions of a bundle that is no longer in use are read, too.
            outcomes = {entry.prediction.outcome for entry in client.history()}
    assert {"clear", "opacity", "normal", "pneumonia", "rejected"} <= outcomes


def test_problems_are_one_error_with_what_to_do(client, films):
    with pytest.raises(ServiceError, match="bold") as caught:
        client.predict(films[0], operating_point="bold")
    problem = caught.value
    assert problem.code == "unknown_operating_point"
    assert problem.title == "The bundle has no such operating point"
    assert "bold" in problem.detail
    assert "/v1/bundle" in problem.advice
    assert str(problem) == f"{problem.detail}: {problem.advice}"
    assert str(pickle.loads(pickle.dumps(problem))) == str(problem)
    assert code_of(lambda: client.predict(films[0], prevalence=2.0)) == "invalid_request"
    assert code_of(lambda: client.predict(bytes(3_000_000))) == "too_large"


def test_a_key_opens_and_a_history_that_is_off_is_told(phantom_bundle, films, tmp_path):
    key = new_key(tmp_path / "keys", "me")
    with running(bundle=str(phantom_bundle), keys=tmp_path / "keys") as service:
        with Client(str(service.base_url), key=key) as client:
            assert client.predict(films[0]).decision in Decision
            assert code_of(lambda: list(client.history())) == "history_off"
        with Client(str(service.base_url)) as client:
            assert code_of(lambda: client.predict(films[0])) == "unauthorised"
            assert client.ready()


def test_what_is_no_service_is_told(films):
    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/v1/bundle" else 502)
            self.end_headers()
            self.wfile.write(b"<html>Bad gateway</html>")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            with Client(url) as client:
                with pytest.raises(ServiceError, match="found HTTP 502 Bad Gateway: check the address") as caught:
                    client.performance()
                assert caught.value.code == "unexpected"
                assert code_of(client.bundle) == "unexpected"
                assert not client.ready()
        finally:
            server.shutdown()
    with Client(url) as client:
        with pytest.raises(ServiceError, match=r"expected an answer from .*refused.*: start it with") as caught:
            client.predict(films[0])
        assert caught.value.code == "unreachable"
        assert not client.ready()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://films", "http://", "http://[::1", "http://films:port"])
def test_an_address_is_checked(url):
    with pytest.raises(InputError, match="expected an address"):
        Client(url)


@pytest.mark.parametrize("key", ["clé", "pns_a\n"])
def test_a_key_is_checked(key):
    with pytest.raises(InputError, match="expected a key"):
        Client(key=key)


def test_the_package_needs_no_httpx_and_the_client_names_its_extra():
    code = "import sys; sys.modules['httpx'] = None; import pneumoscope.inference.detector\nimport pneumoscope.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"{ConfigError.__module__}.ConfigError: expected httpx for the client, found none: "
        "pip install 'pneumoscope[client]'"
    )
