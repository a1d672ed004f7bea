"""Bundle: a network with everything that inference needs, as a folder or zip file of data without executable code.

manifest.json   description of the network, its preprocessing, calibration and limits, and the hashes of the parts
model.onnx      images in; logits, evidence map and features out
golden.npz      inputs with the outputs they must give, and hashes of the training images
guard.npz       distribution of the features of chest radiographs, for the input guard
guard.onnx      network that computes these features, where it is not model.onnx
head.npz        linear head from features to logits, where it replaces the network's own
"""

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle.manifest import FORMAT, Manifest, manifest_from_dict
from pneumoscope.errors import BundleError, PneumoscopeError, did_you_mean
from pneumoscope.files import as_json, atomic_write

# The detectors that come with the package.
SHIPPED = ("default", "nano", "best")
# Names of the network's input and outputs, in the ONNX graph and in golden.npz.
INPUT = "films"
# Name of a further input, the positions of the images whose evidence is wanted; none where it is left out.
EXPLAINED = "explained"
OUTPUTS = LOGITS, EVIDENCE, FEATURES = ("logits", "evidence", "features")
# Name of a further output, the maps whose means are the features.
FEATURE_MAPS = "feature_maps"
MODEL, MANIFEST, GOLDEN, GUARD = "model.onnx", "manifest.json", "golden.npz", "guard.npz"
GUARD_MODEL, HEAD = "guard.onnx", "head.npz"
# Name of the array of training image hashes in golden.npz.
TRAINING_HASHES = "learnt"
# Largest part in bytes, since parts are read into memory whole.
_LARGEST_PART = 2_000_000_000
# Fraction of a part's size below which its deflated form is stored instead.
_WORTH_DEFLATING = 0.9
# Exceptions of json, zipfile and numpy on damaged files.
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Bundle:
    """Bundle whose parts match their hashes.

    Attributes:
        manifest: Description of the bundle.
        sha256: SHA-256 of the manifest's bytes, which hold the hashes of the parts: the identity of the whole.
        model: Bytes of the ONNX file.
        golden: Name to array: the input `films` and the outputs it must give.
        guard: Name to array, for `inference.guard.Guard`.
        guard_model: Bytes of the ONNX file of the guard's own network; empty where it uses the features of `model`.
        head: `weight` (classes, channels) and `bias` (classes,), float32, of a linear head; None for the network's own.
    """

    manifest: Manifest
    sha256: str
    model: bytes
    golden: dict[str, NDArray[Any]]
    guard: dict[str, NDArray[Any]]
    guard_model: bytes = b""
    head: dict[str, NDArray[Any]] | None = None

    def count_training_images(self, sha256: Iterable[str]) -> int:
        """Number of images, given by the SHA-256 of their files, that the network was trained on."""
        return int(np.isin(training_hashes(sha256), self.golden.get(TRAINING_HASHES, np.zeros(0, np.uint64))).sum())

    def was_trained_on(self, sha256: str) -> bool:
        """Whether the network was trained on an image, given by the SHA-256 of its file; False where that is empty."""
        if not sha256:
            return False
        # For every image that is predicted: a comparison takes a hundredth of the time of `np.isin`.
        [wanted] = training_hashes([sha256])
        return bool((self.golden.get(TRAINING_HASHES, np.zeros(0, np.uint64)) == wanted).any())


def training_hashes(sha256: Iterable[str]) -> NDArray[np.uint64]:
    """Hashes of training images as a bundle stores them: the first 64 bits of each SHA-256, sorted."""
    return np.sort(np.array([int(digest[:16], 16) for digest in sha256], dtype=np.uint64))


def save_bundle(
    path: Path,
    manifest: Manifest,
    model: bytes,
    golden: dict[str, NDArray[Any]],
    guard: dict[str, NDArray[Any]],
    guard_model: bytes = b"",
    head: dict[str, NDArray[Any]] | None = None,
) -> Bundle:
    """Write a bundle as a zip file, atomically; equal content gives equal bytes.

    Args:
        path: File to write, ending in `.zip`.
        manifest: Description; its `parts` are filled in here.
        model: Bytes of the ONNX file.
        golden: Name to array: inputs and the outputs they must give.
        guard: Name to array of the input guard.
        guard_model: Bytes of the ONNX file of the guard's own network; empty for none.
        head: Arrays of a linear head; None for the network's own.
    """
    parts = {MODEL: model, GOLDEN: _npz(golden), GUARD: _npz(guard)}
    parts |= {GUARD_MODEL: guard_model} if guard_model else {}
    parts |= {HEAD: _npz(head)} if head else {}
    table = manifest.to_dict() | {"parts": {name: _hash(content) for name, content in parts.items()}}
    with atomic_write(path) as temporary:
        temporary.write_bytes(_zip({MANIFEST: as_json(table).encode(), **parts}, deflate=True))
    return load_bundle(path)


def load_bundle(path: Path) -> Bundle:
    """Read a bundle and check every part against its hash.

    Args:
        path: Zip file or folder of the bundle.

    Raises:
        BundleError: File missing, cut short, altered, of a newer format, or not a bundle.
    """
    try:
        read = _folder_reader(path) if path.is_dir() else _zip_reader(path)
        raw = read(MANIFEST)
        manifest = _manifest(json.loads(raw), path)
        optional = {GUARD_MODEL: manifest.guard_preprocessing is not None, HEAD: HEAD in manifest.parts}
        parts = {
            name: read(name) for name in (MODEL, GOLDEN, GUARD, *(each for each, there in optional.items() if there))
        }
    except _DAMAGE as error:
        raise BundleError(
            f"expected a bundle (folder or zip with {MANIFEST}, {MODEL}, {GOLDEN}, {GUARD}) at {path}, found {_reason(error)}: "
            "name another or get it again"
        ) from error
    for name, content in parts.items():
        if (found := _hash(content)) != manifest.parts.get(name):
            raise BundleError(
                f"expected {name} in {path} with SHA-256 {manifest.parts.get(name)}, found {found}: get the bundle again"
            )
    golden, guard = (_arrays(parts[name], name, path) for name in (GOLDEN, GUARD))
    head = _head(_arrays(parts[HEAD], HEAD, path), manifest, path) if HEAD in parts else None
    return Bundle(manifest, _hash(raw), parts[MODEL], golden, guard, parts.get(GUARD_MODEL, b""), head)


def _head(arrays: dict[str, NDArray[Any]], manifest: Manifest, path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a linear head, checked."""
    weight, bias = arrays.get("weight"), arrays.get("bias")
    classes = len(manifest.classes)
    if (
        weight is None
        or bias is None
        or (weight.ndim, weight.shape[:1], bias.shape) != (2, (classes,), (classes,))
        or not all(array.dtype == np.float32 and np.isfinite(array).all() for array in (weight, bias))
    ):
        raise BundleError(
            f"expected a linear head for {classes} classes in {HEAD} of {path}, found another: get it again"
        )
    return arrays


def _arrays(content: bytes, name: str, path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except _DAMAGE as error:
        raise BundleError(f"expected plain arrays in {name} of {path}, found {error}: get the bundle again") from error


def find_bundle(bundle: Path | str | Bundle = "default") -> Bundle:
    """Load a bundle by its name, if shipped with the package, or by its path; a loaded bundle is returned unchanged.

    Raises:
        BundleError: File missing, damaged, altered, or of a newer format.
    """
    if isinstance(bundle, Bundle):
        return bundle
    if isinstance(bundle, str) and bundle in SHIPPED:
        with as_file(files("pneumoscope").joinpath("bundles", f"{bundle}.zip")) as path:
            if not path.is_file():
                raise BundleError(
                    f"expected the detector {bundle} in this version of pneumoscope, found none: name a bundle of your own"
                )
            return load_bundle(path)
    if isinstance(bundle, str) and not Path(bundle).suffix and not Path(bundle).exists():
        raise BundleError(
            f"expected {', '.join(SHIPPED)}, or the path of a bundle, found {bundle}{did_you_mean(bundle, SHIPPED)}: name one of these"
        )
    return load_bundle(Path(bundle))


def _manifest(table: Any, path: Path) -> Manifest:
    if not isinstance(table, dict):
        raise BundleError(f"expected a manifest in {path}, found {type(table).__name__}: get the bundle again")
    if (found := table.get("format")) != FORMAT:
        raise BundleError(
            f"expected a bundle of format {FORMAT} at {path}, found {found}: "
            "update pneumoscope, or take a bundle made for this version"
        )
    try:
        return manifest_from_dict(table, str(path))
    except (TypeError, KeyError, ValueError, AttributeError, PneumoscopeError) as error:
        raise BundleError(
            f"expected a whole manifest in {path}, found {_reason(error)}: get the bundle again"
        ) from error


def _folder_reader(path: Path) -> Callable[[str], bytes]:
    return lambda name: (path / name).read_bytes()


def _zip_reader(path: Path) -> Callable[[str], bytes]:
    content = io.BytesIO(path.read_bytes())

    def read(name: str) -> bytes:
        with zipfile.ZipFile(content) as archive:
            if (size := archive.getinfo(name).file_size) > _LARGEST_PART:
                raise ValueError(f"{name} of {size} bytes")
            return archive.read(name)

    return read


def _zip(parts: dict[str, bytes], deflate: bool = False) -> bytes:
    """Zip file of some parts; with `deflate`, those that get smaller by it are deflated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts.items():
            # Most weights do not compress, and inflating them for nothing would delay the start; a fixed date makes the
            # bytes deterministic.
            smaller = deflate and len(zlib.compress(content)) < _WORTH_DEFLATING * len(content)
            how = zipfile.ZIP_DEFLATED if smaller else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, how)
    return buffer.getvalue()


def _npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    parts = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, allow_pickle=False)
        parts[f"{name}.npy"] = buffer.getvalue()
    return _zip(parts)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__
