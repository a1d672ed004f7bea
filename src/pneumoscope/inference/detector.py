"""The one detector behind every way of asking: an image in; a decision, its reasons and its evidence out."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle import EVIDENCE, FEATURES, INPUT, LOGITS, OUTPUTS, Bundle, NamedOperatingPoint, find_bundle
from pneumoscope.config import Preprocessing
from pneumoscope.data.alignment import load_atlas
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION, PreparedFilm, check_image, prepare_placed
from pneumoscope.data.reading import read_bytes, read_grey
from pneumoscope.decision import Floats, at_prevalence, pneumonia_probability
from pneumoscope.errors import BundleError, UnreadableImage, UnsupportedDicom
from pneumoscope.inference.guard import Guard, examine_image
from pneumoscope.inference.network import Network
from pneumoscope.types import (
    BundleUsed,
    Decision,
    FilmStatistics,
    NamedImage,
    OperatingPointUsed,
    Prediction,
    Reason,
    Unread,
)

Film = Path | str | bytes | NamedImage | Unread | NDArray[np.uint8] | NDArray[np.uint16]
# Of the outputs between one processor or version of the runtime and another.
_GOLDEN_TOLERANCE = 1e-3
_WHITE = 255


class Detector:
    """Runs a bundle.

    Attributes:
        bundle: What it runs.
    """

    def __init__(self, bundle: Bundle, threads: int = 0, device: str = "cpu") -> None:
        """Prepares a bundle's network.

        Args:
            bundle: Loaded and so checked.
            threads: For one film or batch; 0 for as many as there are cores.
            device: `cpu`, or `cuda` for a GPU, which rounds otherwise: probabilities may differ in the last digits.

        Raises:
            ConfigError: The runtime that is installed has no such device.
            BundleError: The runtime cannot read the network, or this version prepares films otherwise.
        """
        manifest = bundle.manifest
        if (made_for := manifest.preprocessing_version) != PREPROCESSING_VERSION:
            raise BundleError(
                f"expected a bundle made for version {PREPROCESSING_VERSION} of the preprocessing, found {made_for}: take the "
                "version of pneumoscope that made it, or make it anew"
            )
        self.bundle = bundle
        self._network = Network(
            bundle.model, manifest.preprocessing.height, manifest.preprocessing.width, threads, device
        )
        self._guard = Guard.of(bundle)
        own = manifest.guard_preprocessing
        self._guard_network = (
            Network(bundle.guard_model, own.height, own.width, threads, device) if own else self._network
        )
        self._used = BundleUsed(manifest.name, manifest.version, bundle.sha256)

    def predict(
        self, film: Film, operating_point: str = "balanced", prevalence: float | None = None, evidence: bool = False
    ) -> Prediction:
        """What the detector says of one image.

        Args:
            film: Path of a JPEG, PNG or DICOM file, its bytes, with a name or without, or an array (height, width) of uint8,
                or of uint16 with its full range in use; or an image that could not be had, which is rejected.
            operating_point: A name in the manifest.
            prevalence: Share of pneumonia where the film was taken, in (0, 1); the probabilities are shown for it, and the
                decision stays. The manifest's where None.
            evidence: Whether to give the evidence map.

        Returns:
            The prediction. An image that cannot be read or judged is rejected by it, with the reason; nothing is raised.

        Raises:
            InputError: No such operating point, a prevalence outside (0, 1), or an array of another shape or type.
        """
        return next(self.predict_many([film], operating_point, prevalence, evidence))

    def predict_many(
        self,
        films: Iterable[Film],
        operating_point: str = "balanced",
        prevalence: float | None = None,
        evidence: bool = False,
    ) -> Iterator[Prediction]:
        """The same for any number of images, in their order; no more than a batch of them is in memory.

        Args:
            films: As for `predict`.
            operating_point: Likewise.
            prevalence: Likewise.
            evidence: Likewise.

        Raises:
            InputError: Likewise.
        """
        asked = self._asked(operating_point, prevalence, evidence)
        left = iter(films)
        while batch := list(islice(left, self._network.batch)):
            yield from self._predict_batch(batch, asked)

    def logits(self, films: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes) float32 of prepared films (n, height, width) uint8.

        Raises:
            InputError: Films of another size or type than the manifest's preprocessing gives.
        """
        return self._network.run(films, LOGITS)[0]

    def evidence(self, films: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes, rows, columns) float32: what each place of each film adds to the logits; their mean, but for biases.

        Raises:
            InputError: Films of another size or type.
        """
        return self._network.run(films, EVIDENCE)[0]

    def class_probabilities(self, films: NDArray[np.uint8]) -> Floats:
        """(n, classes) float64 in [0, 1], calibrated, rows summing to 1, of prepared films (n, height, width) uint8."""
        return self.bundle.manifest.calibration.probabilities(self.logits(films))

    @property
    def guard_preprocessing(self) -> Preprocessing:
        """How a film becomes what the guard looks at."""
        return self.bundle.manifest.guard_preprocessing or self.bundle.manifest.preprocessing

    def distances(self, films: NDArray[np.uint8]) -> Floats:
        """(n,) how far films (n, height, width) uint8 lie from chest films, as the guard sees it; up to 1 passes.

        Args:
            films: Prepared as `guard_preprocessing` says.
        """
        return self._guard.distance(self._guard_network.run(films, FEATURES)[0])

    def unlike(self, films: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(n,) bool, which prepared films (n, height, width) uint8 are too unlike those that the network learnt from.

        Only a film's outlines count here, so a film that passes may still be of another age or country.
        """
        least = self.bundle.manifest.least_similarity
        if least <= -1:
            return np.zeros(len(films), dtype=np.bool_)
        return np.array([load_atlas().similarity(film) < least for film in films], dtype=np.bool_)

    def verify(self) -> float:
        """Runs the golden films; gives the largest difference of their outputs from what they must be.

        Raises:
            BundleError: It is more than rounding.
        """
        golden = self.bundle.golden
        found = self._network.run(golden[INPUT], *OUTPUTS)
        difference = max(
            float(np.abs(value - golden[name]).max()) / max(1.0, float(np.abs(golden[name]).max()))
            for name, value in zip(OUTPUTS, found, strict=True)
        )
        if not difference <= _GOLDEN_TOLERANCE:
            raise BundleError(
                f"expected the golden outputs within {_GOLDEN_TOLERANCE:g}, found a difference of {difference:g}: "
                "get the bundle anew, or report processor and onnxruntime version"
            )
        return difference

    def _asked(self, operating_point: str, prevalence: float | None, evidence: bool) -> "_Asked":
        rule, told = self.bundle.manifest.at(operating_point, prevalence)
        wanted = self.bundle.manifest.prevalence if prevalence is None else prevalence
        features = () if self.bundle.manifest.guard_preprocessing else (FEATURES,)
        return _Asked(rule, told, wanted, (LOGITS, *features, *((EVIDENCE,) if evidence else ())))

    def _predict_batch(self, films: Sequence[Film], asked: "_Asked") -> list[Prediction]:
        looks = [self._look(film) for film in films]
        seen = [look for look in looks if isinstance(look, _Seen)]
        judged = iter(self._judge(seen, asked) if seen else [])
        answers = [next(judged) if isinstance(look, _Seen) else look for look in looks]
        return [self._rejected(answer, asked) if isinstance(answer, _Refused) else answer for answer in answers]

    def _look(self, film: Film) -> "_Seen | _Refused":
        """Reads and prepares one image, as far as it goes."""
        if isinstance(film, Unread):
            detail = f"expected a whole JPEG, PNG or DICOM image, found {film.name} ({film.found}): replace it"
            return _Refused(film.name, "", Reason.UNREADABLE, detail)
        name = film.name if isinstance(film, NamedImage) else str(film) if isinstance(film, Path | str) else ""
        digest = ""
        try:
            if isinstance(film, np.ndarray):
                image = film
                digest = hashlib.sha256(np.ascontiguousarray(film).data).hexdigest()
            else:
                content = _content(film)
                digest = hashlib.sha256(content).hexdigest()
                image = read_grey(Path(name or "the bytes given"), content)
        except UnreadableImage as error:
            unsupported = isinstance(error, UnsupportedDicom)
            return _Refused(name, digest, Reason.UNSUPPORTED_DICOM if unsupported else Reason.UNREADABLE, str(error))
        check_image(image)
        if reason := examine_image(image):
            return _Refused(name, digest, reason, _in_words(reason, image))
        manifest = self.bundle.manifest
        prepared = prepare_placed(image, manifest.preprocessing)
        own = manifest.guard_preprocessing
        return _Seen(name, digest, image, prepared, prepare_placed(image, own) if own else prepared)

    def _judge(self, films: Sequence["_Seen"], asked: "_Asked") -> Iterator["Prediction | _Refused"]:
        manifest = self.bundle.manifest
        found = self._network.run(np.stack([film.prepared.film for film in films]), *asked.outputs)
        outputs = dict(zip(asked.outputs, found, strict=True))
        calibrated = manifest.calibration.probabilities(outputs[LOGITS])
        shown = at_prevalence(calibrated, manifest.prevalence, asked.prevalence)
        shown_chance, chance = pneumonia_probability(shown), pneumonia_probability(calibrated)
        decisions = asked.rule.decide(chance)
        if FEATURES in outputs:
            distances = self._guard.distance(outputs[FEATURES])
        else:
            distances = self.distances(np.stack([film.guarded.film for film in films]))
        for place, film in enumerate(films):
            if reason := self._guard.examine(film.image, film.guarded.similarity, float(distances[place])):
                yield _Refused(film.name, film.sha256, reason, _in_words(reason, film.image))
                continue
            decision, reasons = decisions[place], []
            if decision is Decision.REFER:
                reasons.append(Reason.NEAR_THRESHOLD)
            if self.unlike(film.prepared.film[None])[0]:
                decision = Decision.REFER
                reasons.append(Reason.UNLIKE_TRAINING)
            yield Prediction(
                file=film.name,
                sha256=film.sha256,
                decision=decision,
                reasons=tuple(reasons),
                detail="",
                pneumonia_probability=float(shown_chance[place]),
                class_probability=dict(zip(manifest.classes, shown[place].tolist(), strict=True)),
                operating_point=asked.told,
                evidence=None,
                bundle=self._used,
                notice=manifest.notice,
                evidence_map=_for_pneumonia(outputs[EVIDENCE][place], calibrated[place])
                if EVIDENCE in outputs
                else None,
                frame=film.prepared.frame,
                statistics=FilmStatistics(
                    probability=float(chance[place]),
                    brightness=float(film.prepared.film.mean()) / _WHITE,
                    contrast=float(film.prepared.film.std()) / _WHITE,
                    similarity=film.prepared.similarity,
                    distance=float(distances[place]),
                ),
            )

    def _rejected(self, refused: "_Refused", asked: "_Asked") -> Prediction:
        return Prediction(
            file=refused.name,
            sha256=refused.sha256,
            decision=Decision.REJECTED,
            reasons=(refused.reason,),
            detail=refused.detail,
            pneumonia_probability=None,
            class_probability=None,
            operating_point=asked.told,
            evidence=None,
            bundle=self._used,
            notice=self.bundle.manifest.notice,
        )


@dataclass(frozen=True)
class _Asked:
    """How a batch is to be answered."""

    rule: NamedOperatingPoint
    told: OperatingPointUsed
    prevalence: float
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    """An image that the network may look at."""

    name: str
    sha256: str
    image: NDArray[Any]
    prepared: PreparedFilm
    guarded: PreparedFilm


@dataclass(frozen=True)
class _Refused:
    """An image that is not answered for."""

    name: str
    sha256: str
    reason: Reason
    detail: str


def _content(film: Path | str | bytes | NamedImage) -> bytes:
    if isinstance(film, NamedImage):
        return film.content
    return film if isinstance(film, bytes) else read_bytes(Path(film))


def _for_pneumonia(evidence: NDArray[np.float32], probability: Floats) -> NDArray[np.float32]:
    """(rows, columns) of (classes, rows, columns): for pneumonia, its kinds as probable as found, less that for normal."""
    kinds = probability[1:] / max(float(probability[1:].sum()), 1e-12)
    return np.asarray(np.tensordot(kinds, evidence[1:], axes=1) - evidence[0], dtype=np.float32)


def _in_words(reason: Reason, image: NDArray[Any]) -> str:
    """A rejection in words."""
    height, width = image.shape
    return {
        Reason.TOO_SMALL: f"expected at least 64 pixels a side, found {width} x {height}: take the original",
        Reason.POOR_EXPOSURE: "expected a film with light and dark, found one grey nearly everywhere: expose it anew",
        Reason.INVERTED: "expected bone bright and air dark, found the opposite: invert the image",
        Reason.NOT_A_RADIOGRAPH: "expected a frontal chest radiograph, found nothing like one",
        Reason.NOT_FRONTAL_CHEST: "expected an upright frontal chest radiograph, found another view or part of the body",
    }[reason]


def load_detector(bundle: Path | str | Bundle = "default", threads: int = 0, device: str = "cpu") -> Detector:
    """A detector that ships with the package, by name, or one of your own, by path.

    Args:
        bundle: `default`, `nano`, the path of a bundle, or a loaded one.
        threads: For one film or batch; 0 for as many as there are cores.
        device: `cpu`, or `cuda` for a GPU.

    Raises:
        ConfigError: The runtime that is installed has no such device.
        BundleError: Missing, damaged, altered, or of a newer format.
    """
    return Detector(find_bundle(bundle), threads, device)
