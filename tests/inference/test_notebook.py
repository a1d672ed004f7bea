"""What a notebook shows of a detector and its predictions."""

import base64
import io
import re
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

import pneumoscope
from pneumoscope.data.reading import read_grey
from pneumoscope.errors import ConfigError, InputError
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.overlay import overlay

matplotlib.use("agg")


@pytest.fixture(scope="module")
def detector(phantom_bundle):
    return load_detector(phantom_bundle)


@pytest.fixture(scope="module")
def film(phantoms):
    return sorted(phantoms.rglob("*.jpeg"))[0]


def pictures(html):
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")) for content in found]


def test_the_public_names_are_listed():
    assert dir(pneumoscope) == sorted(pneumoscope.__all__)
    for name in pneumoscope.__all__:
        assert getattr(pneumoscope, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'detector_of'"):
        pneumoscope.detector_of  # noqa: B018


def test_short_representations(detector, film):
    manifest = detector.bundle.manifest
    assert repr(detector) == f"Detector({manifest.name} {manifest.version}: {', '.join(manifest.classes)})"
    found = detector.predict(film)
    assert repr(found).startswith(f"Prediction({film}, {found.outcome}, probability {found.pneumonia_probability:.3f}")
    rejected = detector.predict(np.zeros((9, 9), np.uint8))
    assert repr(rejected) == "Prediction(image, rejected, too_small)"


def test_html_holds_image_evidence_decision_and_notice(detector, film):
    found = detector.predict(film, evidence=True)
    html = found._repr_html_()
    image, evidence = pictures(html)
    assert image.shape == evidence.shape
    assert max(image.shape) <= 300
    assert (image[:, :, 0] == image[:, :, 2]).all()
    assert (evidence[:, :, 0] != evidence[:, :, 2]).any()
    for words in (f">{found.outcome}</b>", f"{found.pneumonia_probability:.1%}", "Not a medical device", str(film)):
        assert words in html


def test_html_of_an_array_a_file_and_a_film_that_is_gone(detector, film, tmp_path):
    copy = tmp_path / "<b>film</b>.jpeg"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(film.read_bytes())
    by_array = detector.predict(read_grey(film))
    [by_file] = detector.predict_many([copy])
    assert len(pictures(by_array._repr_html_())) == len(pictures(by_file._repr_html_())) == 1
    assert "<b>film</b>" not in by_file._repr_html_()
    copy.unlink()
    assert pictures(by_file._repr_html_()) == []
    [kept_none] = detector.predict_many([read_grey(film)])
    assert kept_none.image is None
    assert pictures(kept_none._repr_html_()) == []
    rejected = detector.predict(copy)
    assert "rejected" in rejected._repr_html_()
    assert "unreadable" in rejected._repr_html_()


def test_plot_draws_image_evidence_and_title(detector, film):
    found = detector.predict(film, evidence=True)
    axes = found.plot()
    drawn = np.asarray(axes.images[0].get_array())
    np.testing.assert_array_equal(drawn, np.asarray(overlay(read_grey(film), found.evidence_map, found.frame)))
    assert axes.get_title().startswith(found.outcome)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "evidence for pneumonia",
        "evidence for normal",
    ]
    plain = detector.predict(film)
    assert plain.plot(axes=axes) is axes
    with pytest.raises(InputError, match="expected an image to draw"):
        next(detector.predict_many([read_grey(film)])).plot()
    next(detector.predict_many([read_grey(film)])).plot(read_grey(film))
    matplotlib.pyplot.close("all")


def test_plot_without_matplotlib_says_what_to_install(detector, film, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'pneumoscope\[evaluate\]'"):
        detector.predict(film).plot()


def test_predictions_become_a_frame(detector, film):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    rows = [one.to_row() for one in detector.predict_many([film, "gone.jpeg"])]
    by_pandas, by_polars = pandas.DataFrame(rows), polars.DataFrame(rows)
    assert list(by_pandas.columns) == by_polars.columns == list(rows[0])
    assert by_pandas.decision.tolist() == by_polars["decision"].to_list() == [row["decision"] for row in rows]
    assert by_pandas.pneumonia_probability.isna().tolist() == [False, True]
