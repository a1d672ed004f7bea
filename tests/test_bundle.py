import io
import json
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pneumoscope.bundle import GOLDEN, GUARD, MANIFEST, MODEL, load_bundle, save_bundle
from pneumoscope.errors import BundleError

GUARD_ARRAYS = {"features_mean": np.zeros(3, np.float32)}
LIMITS = {
    "feature_weight": 0.5,
    "outside": 1,
    "not_frontal_chest": 2,
    "not_a_radiograph": 3,
    "suspicious_similarity": 0,
}


@pytest.fixture
def bundle_file(manifest, tmp_path):
    save_bundle(tmp_path / "b.zip", manifest, b"network", {"films": np.zeros((2, 64, 64), np.uint8)}, GUARD_ARRAYS)
    return tmp_path / "b.zip"


def unpacked(file, folder):
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
    return folder


def test_bundle_survives_a_round_trip_as_file_and_as_folder(bundle_file, manifest, tmp_path):
    one, two = load_bundle(bundle_file), load_bundle(unpacked(bundle_file, tmp_path / "folder"))
    assert one.sha256 == two.sha256
    assert one.model == two.model == b"network"
    assert one.manifest == two.manifest
    for name in ("classes", "preprocessing", "calibration", "operating_points", "conformal", "notice"):
        assert getattr(one.manifest, name) == getattr(manifest, name)
    assert set(one.manifest.parts) == {MODEL, GOLDEN, GUARD}
    assert one.golden["films"].shape == (2, 64, 64)


def test_same_content_gives_same_bytes(bundle_file, manifest, tmp_path):
    save_bundle(tmp_path / "c.zip", manifest, b"network", {"films": np.zeros((2, 64, 64), np.uint8)}, GUARD_ARRAYS)
    assert (tmp_path / "c.zip").read_bytes() == bundle_file.read_bytes()


@pytest.mark.parametrize("part", [MODEL, GOLDEN, GUARD])
def test_altered_part_is_refused(bundle_file, tmp_path, part):
    folder = unpacked(bundle_file, tmp_path / "folder")
    (folder / part).write_bytes((folder / part).read_bytes() + b" ")
    with pytest.raises(BundleError, match=rf"expected {part} in .* with SHA-256 .*: get the bundle again"):
        load_bundle(folder)


@pytest.mark.parametrize("length", [0, 10, 400, -30])
def test_truncated_bundle_is_refused(bundle_file, length):
    bundle_file.write_bytes(bundle_file.read_bytes()[:length])
    with pytest.raises(BundleError, match=r"expected a bundle .*: name another or get it again"):
        load_bundle(bundle_file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, "expected a bundle of format 2 .* found 3: update pneumoscope"),
        ({"prevalence": ...}, "expected a whole manifest"),
        ({"surprise": 1}, "expected a whole manifest .* unexpected keyword argument 'surprise'"),
        ({"preprocessing": {"height": 1}}, r"expected a whole manifest .* expected preprocessing.height in 8-4096"),
        ({"preprocessing": {"hight": 64}}, "expected a whole manifest .* did you mean height"),
        ({"operating_points": {"balanced": {"threshold": 1}}}, "expected a whole manifest"),
        ({"calibration": {"temperature": 0, "bias": []}}, "expected a whole manifest"),
    ],
)
def test_manifest_that_is_not_one_is_refused(bundle_file, tmp_path, change, message):
    folder = unpacked(bundle_file, tmp_path / "folder")
    table = json.loads((folder / MANIFEST).read_text()) | change
    (folder / MANIFEST).write_text(json.dumps({k: v for k, v in table.items() if v is not ...}))
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


def test_missing_bundle_is_one_line(tmp_path):
    with pytest.raises(BundleError, match="found No such file or directory: name another"):
        load_bundle(tmp_path / "none.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="found No such file or directory"):
        load_bundle(tmp_path / "empty")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(BundleError, match=r"There is no item named 'manifest.json'"):
        load_bundle(tmp_path / "other.zip")


def test_arrays_with_code_in_them_are_not_loaded(bundle_file, manifest, tmp_path):
    """A pickle in golden.npz is refused even with the right hash."""
    import hashlib

    folder = unpacked(bundle_file, tmp_path / "folder")
    buffer = io.BytesIO()
    np.savez(buffer, images=np.array([{"a": 1}], dtype=object))
    (folder / GOLDEN).write_bytes(buffer.getvalue())
    table = json.loads((folder / MANIFEST).read_text())
    table["parts"][GOLDEN] = hashlib.sha256(buffer.getvalue()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(table))
    with pytest.raises(BundleError, match=r"expected plain arrays in golden.npz"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("guard", 1.5),  # found by experiments/fuzz.py
        ("guard", LIMITS | {"outside": "x"}),
        ("guard", LIMITS | {"outside": 0}),
        ("guard", LIMITS | {"feature_weight": 2}),
        ("guard", LIMITS | {"surprise": 1}),
        ("scope", {"ages": [5, 1], "views": []}),
        ("scope", {"ages": [1], "views": []}),
        ("scope", {"ages": None, "views": [3]}),
        ("scope", 5),
        ("scope", {"ages": [1.5, 5], "views": []}),
        ("scope", {"ages": None, "views": "AP"}),
        ("scope", {"ages": None, "views": [""]}),
        ("scope", {"ages": None, "views": ["pa"]}),
        ("guard", LIMITS | {"not_frontal_chest": 0.5}),
        ("guard", LIMITS | {"not_a_radiograph": 1.5}),
        ("guard", LIMITS | {"suspicious_similarity": 99}),
        ("operating_points", []),
        ("operating_points", {"balanced": {"threshold": "x"}}),
        ("operating_points", {}),
        ("calibration", {"temperature": float("nan"), "bias": []}),
        ("calibration", {"temperature": 1, "bias": [1]}),
        ("classes", ["a", "b", "c"]),
        ("classes", [1, 2]),
        ("prevalence", 0),
        ("prevalence", None),
        ("conformal", {"0.9": ["x"]}),
        ("parts", 3),
        ("name", None),
    ],
)
def test_a_manifest_that_no_detector_can_use_is_refused(bundle_file, tmp_path, key, value):
    folder = unpacked(bundle_file, tmp_path / "folder")
    table = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(table | {key: value}))
    with pytest.raises(BundleError, match="expected a whole manifest in") as raised:
        load_bundle(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"[1]", b"3", b"null", b"[" * 100_000])
def test_a_manifest_that_is_not_a_table_is_refused(bundle_file, tmp_path, content):
    folder = unpacked(bundle_file, tmp_path / "folder")
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match="expected a"):
        load_bundle(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_a_changed_file_is_a_bundle_error_or_the_same_bundle(manifest, tmp_path_factory, position, piece):
    folder = tmp_path_factory.mktemp("changed")
    whole = save_bundle(folder / "b.zip", manifest, b"network", {"films": np.zeros((2, 8, 8), np.uint8)}, GUARD_ARRAYS)
    content = bytearray((folder / "b.zip").read_bytes())
    position %= len(content)
    content[position : position + len(piece)] = piece
    (folder / "b.zip").write_bytes(content)
    with suppress(BundleError):
        assert load_bundle(folder / "b.zip").manifest.parts == whole.manifest.parts
