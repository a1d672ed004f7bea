"""Whatever Python holds an image in, the detector gives the file's answer, or says what it can take."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pneumoscope.data.grey_levels import grey_levels
from pneumoscope.data.reading import read_grey
from pneumoscope.errors import DataError, InputError, PneumoscopeError
from pneumoscope.inference.detector import load_detector
from pneumoscope.types import Decision, Reason


@pytest.fixture(scope="module")
def detector(phantom_bundle):
    return load_detector(phantom_bundle)


@pytest.fixture(scope="module")
def film(phantoms):
    return sorted(phantoms.rglob("*.jpeg"))[0]


@pytest.fixture(scope="module")
def expected(detector, film):
    return detector.predict(film)


def opened(film):
    return film.open("rb")


SAME = {
    "str": str,
    "bytes": Path.read_bytes,
    "bytearray": lambda film: bytearray(film.read_bytes()),
    "memoryview": lambda film: memoryview(film.read_bytes()),
    "file": opened,
    "stream": lambda film: io.BytesIO(film.read_bytes()),
    "Pillow": Image.open,
    "array": read_grey,
    "array with one colour": lambda film: read_grey(film)[:, :, None],
    "array with three colours": lambda film: np.repeat(read_grey(film)[:, :, None], 3, axis=2),
    "array with alpha": lambda film: np.dstack(
        [np.repeat(read_grey(film)[:, :, None], 3, axis=2), read_grey(film) // 2]
    ),
    "channels first": lambda film: np.repeat(read_grey(film)[None], 3, axis=0),
    "strided": lambda film: np.asfortranarray(read_grey(film)),
    "int64": lambda film: read_grey(film).astype(np.int64),
    "eight bits in uint16": lambda film: read_grey(film).astype(np.uint16),
    "float": lambda film: read_grey(film) / 255,
    "float32 with colours": lambda film: np.repeat(read_grey(film)[:, :, None], 3, axis=2).astype(np.float32) / 255,
    "tensor": lambda film: torch.from_numpy(read_grey(film).copy()),
    "tensor (1, h, w) of floats": lambda film: torch.from_numpy(read_grey(film).copy())[None] / 255,
    "tensor that wants a gradient": lambda film: (torch.from_numpy(read_grey(film).copy()) / 255).requires_grad_(),
}


@pytest.mark.parametrize("kind", SAME)
def test_the_same_film_gives_the_same_answer(detector, film, expected, kind):
    image = SAME[kind](film)
    found = detector.predict(image)
    assert found.decision is expected.decision
    assert found.pneumonia_probability == pytest.approx(expected.pneumonia_probability, abs=5e-3)
    if hasattr(image, "close"):
        image.close()


def test_twelve_bits_in_sixteen_are_the_same_as_file_array_and_pillow_image(detector, film, tmp_path, expected):
    twelve = read_grey(film).astype(np.uint16) * 16 + 7
    Image.fromarray(twelve).save(tmp_path / "deep.png")
    as_file, as_array = detector.predict(tmp_path / "deep.png"), detector.predict(twelve)
    with Image.open(tmp_path / "deep.png") as image:
        as_pillow = detector.predict(image)
    assert as_file.pneumonia_probability == as_array.pneumonia_probability == as_pillow.pneumonia_probability
    assert as_file.decision is expected.decision
    np.testing.assert_array_equal(grey_levels(twelve), read_grey(tmp_path / "deep.png"))
    np.testing.assert_array_equal(grey_levels(grey_levels(twelve)), grey_levels(twelve))


def test_an_array_is_left_as_it_is(detector, film):
    twelve = read_grey(film).astype(np.uint16) * 16
    before = twelve.copy()
    detector.predict(twelve)
    np.testing.assert_array_equal(twelve, before)


def test_a_turned_photograph_is_upright_as_its_file_is(film, tmp_path):
    with Image.open(film) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        np.testing.assert_array_equal(grey_levels(image), read_grey(tmp_path / "turned.png"))


WRONG = {
    "None": (None, "found NoneType"),
    "number": (3, "found int"),
    "list": ([[1, 2]], "found list"),
    "vector": (np.zeros(5, np.uint8), r"found an array \(5,\) of uint8"),
    "batch": (np.zeros((2, 9, 9, 3), np.uint8), "use predict_many"),
    "five colours": (np.zeros((9, 9, 5), np.uint8), r"found an array \(9, 9, 5\)|found an array \(9, 5, 9\)"),
    "empty": (np.zeros((0, 9), np.uint8), "found an array"),
    "floats to 255": (np.full((9, 9), 255.0), r"of float64 in \[255, 255\]: scale it to \[0, 1\]"),
    "not a number": (np.full((9, 9), np.nan), r"scale it to \[0, 1\]"),
    "negative": (np.full((9, 9), -1), r"of int64 in \[-1, -1\]: scale it to 0-65535"),
    "truth": (np.zeros((9, 9), bool), "of bool"),
    "text file": (io.StringIO("text"), "open it with mode 'rb'"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_it_cannot_take_it_says_in_one_line(detector, kind):
    image, words = WRONG[kind]
    with pytest.raises(InputError, match=words) as caught:
        detector.predict(image)
    assert isinstance(caught.value, PneumoscopeError)
    assert str(caught.value).startswith("expected the path of a JPEG, PNG or DICOM file, its bytes")
    assert "\n" not in str(caught.value)


def test_one_bad_item_does_not_end_the_rest(detector, film, expected):
    found = list(detector.predict_many([film, None, np.zeros(3), film.with_name("gone.jpeg"), film]))
    assert [one.decision for one in found] == [expected.decision, *[Decision.REJECTED] * 3, expected.decision]
    assert all(one.reasons == (Reason.UNREADABLE,) for one in found[1:4])
    assert "found NoneType" in found[1].detail


def test_a_path_stands_for_the_images_behind_it(detector, film, tmp_path):
    folder = film.parent
    names = [str(path) for path in sorted(folder.glob("*.jpeg"))]
    (tmp_path / "films.csv").write_text(f"path\n{film}\n")
    for path, files in (
        (folder, names),
        (str(film), [str(film)]),
        (f"{folder}/*.jpeg", names),
        (tmp_path / "films.csv", [str(film)]),
    ):
        assert [one.file for one in detector.predict_many(path)] == files
    with pytest.raises(DataError, match="expected an image, a folder, a pattern or a table"):
        detector.predict_many(tmp_path / "gone")


@pytest.mark.parametrize("one", [b"bytes", np.zeros((9, 9), np.uint8), 3, None])
def test_one_image_is_not_taken_for_many(detector, one):
    with pytest.raises(InputError, match="expected several images, found one"):
        detector.predict_many(one)


def test_an_array_of_images_is_many(detector, phantom_dataset):
    assert len(list(detector.predict_many(np.array(phantom_dataset.images[:3])))) == 3
