"""A bundle: everything that detecting needs, in a folder or one zip file, and nothing that could run by itself.

manifest.json   what the network is, what it takes, what its answers mean, how far they can be trusted, the hashes of the parts
model.onnx      films in; logits, evidence map and features out
golden.npz      a few inputs with the outputs they must give
guard.npz       what the features of chest films are like, so that other images are not answered for
guard.onnx      the network whose features these are, where it is another one than that which answers

The manifest is the only source of preprocessing, class names, calibration and operating points on the detecting side.
"""

import hashlib
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.config import Preprocessing, from_table
from pneumoscope.decision import Calibration, DecisionRule, at_prevalence, pneumonia_probability
from pneumoscope.errors import BundleError, InputError, PneumoscopeError
from pneumoscope.evaluation.drift import Histogram, Reference
from pneumoscope.files import as_json, whole_or_nothing
from pneumoscope.types import NOTICE, SCHEMES, STATISTICS, OperatingPointUsed

FORMAT = 1
# The detectors that come with the package.
SHIPPED = ("default", "nano")
# What the network takes and gives, in the ONNX graph and in golden.npz.
INPUT = "films"
OUTPUTS = LOGITS, EVIDENCE, FEATURES = ("logits", "evidence", "features")
MODEL, MANIFEST, GOLDEN, GUARD = "model.onnx", "manifest.json", "golden.npz", "guard.npz"
GUARD_MODEL = "guard.onnx"
# Array of golden.npz: what the bundle remembers of the films it learnt from.
LEARNT = "learnt"


# A part is read into memory whole.
_LARGEST_PART = 2_000_000_000
# What json, zipfile and numpy raise on damaged files.
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
class NamedOperatingPoint(DecisionRule):
    """A rule for calibrated probabilities, and what it gave on validation films.

    Attributes:
        sensitivity: On the films it was fitted on, in [0, 1], referred films counted by the threshold.
        specificity: Likewise.
    """

    sensitivity: float
    specificity: float


@dataclass(frozen=True)
class GuardLimits:
    """Where an image stops being taken for a chest film; `inference/guard.py` says how it is measured.

    Attributes:
        usual: Mean of the two parts of the distance, logarithms, over chest films the network did not learn from.
        spread: Their standard deviations.
        farthest: Distance beyond the usual that is still accepted, in these.
        suspicious_similarity: Agreement with the mean chest, in [-1, 1], below which a film is looked at turned over too.
    """

    usual: tuple[float, ...]
    spread: tuple[float, ...]
    farthest: float
    suspicious_similarity: float


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        name: Of the detector.
        version: Of these weights.
        architecture: As in `pneumoscope models`.
        classes: In the order of the logits; normal first.
        preprocessing: How a film becomes the network's input.
        preprocessing_version: Of the code that does it: another may give other pixels for the same settings.
        calibration: How logits become probabilities.
        prevalence: Share of pneumonia that the probabilities assume, in (0, 1); both kinds of it equally frequent.
        operating_points: By name; `balanced` is always there.
        fitted_on: Which films calibration and operating points come from.
        guard: Limits of the input guard.
        guard_preprocessing: How a film becomes the input of the guard's own network; None where it has none.
        conformal: Coverage to the lowest probability per class that belongs to the set.
        least_similarity: Correlation with the mean chest, in [-1, 1], below which a film is unlike those learnt from and a
            person should read it; -1 where the preprocessing does not look for the chest.
        intended_use: In words.
        training: Configuration, hashes, commit, date.
        metrics: Measures with their intervals, by the films they were measured on.
        reference: What films were like, for seeing later whether they have changed; None in bundles that did not keep it.
        licence: Of the weights.
        citation: Of the data and the method.
        parts: File name to SHA-256, 64 hex digits.
        parent: SHA-256 of the manifest this one was made from, if any.
        notice: On every output.
        format: Of this manifest.
    """

    name: str
    version: str
    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    calibration: Calibration
    prevalence: float
    operating_points: dict[str, NamedOperatingPoint]
    fitted_on: str
    guard: GuardLimits
    intended_use: str
    licence: str
    citation: str
    conformal: dict[str, tuple[float, ...]] = field(default_factory=dict)
    reference: Reference | None = None
    guard_preprocessing: Preprocessing | None = None
    least_similarity: float = -1.0
    preprocessing_version: int = 1
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    parent: str = ""
    notice: str = NOTICE
    format: int = FORMAT

    def at(
        self, operating_point: str, prevalence: float | None = None
    ) -> tuple[NamedOperatingPoint, OperatingPointUsed]:
        """An operating point: the rule for calibrated probabilities, and how it shows at a prevalence.

        Args:
            operating_point: Its name.
            prevalence: For which probabilities are shown, in (0, 1); the manifest's where None.

        Raises:
            InputError: No such operating point, or a prevalence outside (0, 1).
        """
        if operating_point not in self.operating_points:
            raise InputError(
                f"expected an operating point out of {', '.join(self.operating_points)}, found {operating_point!r}: "
                "name one of these"
            )
        rule = self.operating_points[operating_point]
        edge = np.array([[1 - rule.threshold, rule.threshold]])
        shown = at_prevalence(edge, self.prevalence, self.prevalence if prevalence is None else prevalence)
        threshold = float(pneumonia_probability(shown)[0])
        told = OperatingPointUsed(operating_point, threshold, rule.sensitivity, rule.specificity, self.fitted_on)
        return rule, told


@dataclass(frozen=True)
class Bundle:
    """A bundle whose parts were found whole.

    Attributes:
        manifest: What it says.
        sha256: Of the manifest's bytes, which hold the hashes of the parts: the identity of the whole.
        model: The ONNX file's bytes.
        golden: Name to array: `films` and the outputs they must give.
        guard: Name to array, for `inference.guard.Guard`.
        guard_model: The ONNX file of the network whose features the guard looks at; empty for those of `model`.
    """

    manifest: Manifest
    sha256: str
    model: bytes
    golden: dict[str, NDArray[Any]]
    guard: dict[str, NDArray[Any]]
    guard_model: bytes = b""

    def learnt_from(self, sha256: Iterable[str]) -> int:
        """How many of these films, by the hashes of their files, the network learnt from."""
        return int(np.isin(learnt_hashes(sha256), self.golden.get(LEARNT, np.zeros(0, np.uint64))).sum())


def learnt_hashes(sha256: Iterable[str]) -> NDArray[np.uint64]:
    """What a bundle remembers of the films it learnt from: 64 bits of the hash of each, sorted."""
    return np.sort(np.array([int(digest[:16], 16) for digest in sha256], dtype=np.uint64))


def save_bundle(
    path: Path,
    manifest: Manifest,
    model: bytes,
    golden: dict[str, NDArray[Any]],
    guard: dict[str, NDArray[Any]],
    guard_model: bytes = b"",
) -> Bundle:
    """Writes a bundle as a zip file, atomically; the same content always gives the same bytes.

    Args:
        path: Ending in `.zip`.
        manifest: Its `parts` are filled in here.
        model: ONNX.
        golden: Inputs and outputs.
        guard: Arrays of the input guard.
        guard_model: ONNX of its own network, if it has one.
    """
    parts = {MODEL: model, GOLDEN: _npz(golden), GUARD: _npz(guard)}
    parts |= {GUARD_MODEL: guard_model} if guard_model else {}
    told = asdict(manifest) | {"parts": {name: _hash(content) for name, content in parts.items()}}
    with whole_or_nothing(path) as temporary:
        temporary.write_bytes(_zip({MANIFEST: as_json(told).encode(), **parts}))
    return load_bundle(path)


def load_bundle(path: Path) -> Bundle:
    """Reads a bundle and checks every part against its hash.

    Args:
        path: Its zip file or folder.

    Raises:
        BundleError: Missing, cut short, altered, of a newer format, or not a bundle.
    """
    try:
        read = _folder_reader(path) if path.is_dir() else _zip_reader(path)
        raw = read(MANIFEST)
        manifest = _manifest(json.loads(raw), path)
        own = manifest.guard_preprocessing is not None
        parts = {name: read(name) for name in (MODEL, GOLDEN, GUARD, *([GUARD_MODEL] if own else []))}
    except _DAMAGE as error:
        raise BundleError(
            f"expected a bundle (folder or zip with {MANIFEST}, {MODEL}, {GOLDEN}, {GUARD}) at {path}, found {_reason(error)}: "
            "name another or get it anew"
        ) from error
    for name, content in parts.items():
        if (found := _hash(content)) != manifest.parts.get(name):
            raise BundleError(
                f"expected {name} in {path} with SHA-256 {manifest.parts.get(name)}, found {found}: get the bundle anew"
            )
    golden, guard = (_arrays(parts[name], name, path) for name in (GOLDEN, GUARD))
    return Bundle(manifest, _hash(raw), parts[MODEL], golden, guard, parts.get(GUARD_MODEL, b""))


def _arrays(content: bytes, name: str, path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            return {key: held[key] for key in held.files}
    except _DAMAGE as error:
        raise BundleError(f"expected plain arrays in {name} of {path}, found {error}: get the bundle anew") from error


def find_bundle(bundle: Path | str | Bundle = "default") -> Bundle:
    """A bundle that ships with the package, by name, or one of your own, by path; one that is loaded already as it is.

    Raises:
        BundleError: Missing, damaged, altered, or of a newer format.
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
    return load_bundle(Path(bundle))


def _manifest(table: dict[str, Any], path: Path) -> Manifest:
    if not isinstance(table, dict):
        raise BundleError(f"expected a manifest in {path}, found {type(table).__name__}: get the bundle anew")
    if (found := table.get("format")) != FORMAT:
        raise BundleError(
            f"expected a bundle of format {FORMAT} at {path}, found {found}: "
            "update pneumoscope, or take a bundle made for this version"
        )
    try:
        return _checked(_typed(table, path))
    except (TypeError, KeyError, ValueError, AttributeError, PneumoscopeError) as error:
        raise BundleError(
            f"expected a whole manifest in {path}, found {_reason(error)}: get the bundle anew"
        ) from error


def _typed(table: dict[str, Any], path: Path) -> Manifest:
    told, own = dict(table["guard"]), table.get("guard_preprocessing")
    typed = {
        "classes": tuple(table["classes"]),
        "preprocessing": from_table(Preprocessing, table["preprocessing"], f"{path}: preprocessing"),
        "calibration": Calibration(table["calibration"]["temperature"], tuple(table["calibration"]["bias"])),
        "operating_points": {name: NamedOperatingPoint(**point) for name, point in table["operating_points"].items()},
        "conformal": {coverage: tuple(values) for coverage, values in table["conformal"].items()},
        "guard_preprocessing": None if own is None else from_table(Preprocessing, own, f"{path}: guard_preprocessing"),
        "reference": _reference(table.get("reference")),
        "guard": GuardLimits(tuple(told.pop("usual")), tuple(told.pop("spread")), **told),
    }
    return Manifest(**(table | typed))


def _reference(told: dict[str, Any] | None) -> Reference | None:
    if told is None:
        return None
    histograms = {
        name: Histogram(tuple(map(float, one["edges"])), tuple(map(float, one["share"])))
        for name, one in told["histograms"].items()
    }
    return Reference(int(told["films"]), float(told["rejected"]), histograms)


def _checked(manifest: Manifest) -> Manifest:
    """The manifest, if its values are such that a detector can go by them.

    Raises:
        ValueError: They are not.
    """
    words = [manifest.name, manifest.version, manifest.architecture, manifest.fitted_on, manifest.intended_use]
    words += [manifest.licence, manifest.citation, manifest.notice, manifest.parent, *manifest.classes]
    if not all(isinstance(word, str) for word in words):
        raise ValueError("a name that is no text")
    if len(manifest.classes) not in SCHEMES or manifest.classes != SCHEMES[len(manifest.classes)].names:
        raise ValueError(f"the classes {', '.join(manifest.classes)}")
    if len(manifest.calibration.bias) not in (0, len(manifest.classes)):
        raise ValueError("a calibration for other classes")
    limits, points = manifest.guard, manifest.operating_points.values()
    numbers = [*limits.usual, *limits.spread, limits.farthest, limits.suspicious_similarity]
    numbers += [manifest.least_similarity, *(v for values in manifest.conformal.values() for v in values)]
    numbers += [value for point in points for value in (point.sensitivity, point.specificity)]
    if not all(_is_number(value) for value in numbers) or len(limits.usual) != 2 or len(limits.spread) != 2:
        raise ValueError("a limit that is no number")
    if not (_is_number(manifest.prevalence) and 0 < manifest.prevalence < 1):
        raise ValueError(f"the prevalence {manifest.prevalence}")
    known = manifest.reference
    if known and (known.films < 1 or not 0 <= known.rejected <= 1 or set(known.histograms) != set(STATISTICS)):
        raise ValueError("a reference for other statistics")
    if "balanced" not in manifest.operating_points or not isinstance(manifest.parts, dict):
        raise ValueError("no balanced operating point, or no parts")
    return manifest


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _folder_reader(path: Path) -> Any:
    return lambda name: (path / name).read_bytes()


def _zip_reader(path: Path) -> Any:
    content = io.BytesIO(path.read_bytes())

    def read(name: str) -> bytes:
        with zipfile.ZipFile(content) as archive:
            if (size := archive.getinfo(name).file_size) > _LARGEST_PART:
                raise ValueError(f"{name} of {size} bytes")
            return archive.read(name)

    return read


def _zip(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts.items():
            # Stored, not deflated: weights do not shrink, and a fixed date keeps the bytes the same.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
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
    words = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(words.split()) or type(error).__name__
