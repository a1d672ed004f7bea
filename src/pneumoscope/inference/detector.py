"""Detector behind every interface: image in; decision, reasons and evidence out.

read -> screen the pixels -> prepare -> network -> compare with the population -> decide
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle import EVIDENCE, FEATURES, INPUT, LOGITS, OUTPUTS, Bundle, find_bundle
from pneumoscope.data.exposure import mean_and_deviation
from pneumoscope.data.grey_levels import grey_levels
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION, PreparedImage, prepare_with_frame
from pneumoscope.data.reading import image_bytes, image_name, read_image
from pneumoscope.decision import Floats, pneumonia_probability
from pneumoscope.errors import BundleError, InputError, UnreadableImage, UnsupportedDicom
from pneumoscope.inference.decide import Decider, ImageDescription, ImageScore
from pneumoscope.inference.guard import MIN_EDGE, Guard, screen_pixels
from pneumoscope.inference.inputs import several_images
from pneumoscope.inference.network import Network
from pneumoscope.inference.population import Descriptions
from pneumoscope.inference.prediction import Prediction
from pneumoscope.inference.scope import HeaderRemarks, compare_header
from pneumoscope.inference.zones import lung_zones
from pneumoscope.types import ImageStatistics, PredictionRequest, Reason, UnreadImage

# Path, bytes, open binary file, Pillow image, array or tensor, as `predict` documents; or an image of another process.
Image = Any
# Largest relative difference of outputs between processors and versions of the runtime.
_GOLDEN_TOLERANCE = 1e-3
# Slopes jump where a unit is near zero, so that the evidence of noise images differs by more between processors.
_EVIDENCE_TOLERANCE = 0.05
_WHITE = 255


class Detector:
    """A bundle, ready to predict.

    Attributes:
        bundle: Loaded bundle: manifest, networks and input guard.
    """

    def __init__(self, bundle: Bundle, threads: int = 0, device: str = "cpu") -> None:
        """Prepares a bundle's networks.

        Args:
            bundle: Loaded bundle.
            threads: Threads for one image or batch; 0 for as many as there are cores.
            device: `cpu`, or `cuda` for a GPU, whose rounding differs: probabilities may differ in the last digits.

        Raises:
            ConfigError: The installed runtime has no such device.
            BundleError: The runtime cannot read the network, or this version of pneumoscope preprocesses differently.
        """
        manifest = bundle.manifest
        if (made_for := manifest.preprocessing_version) != PREPROCESSING_VERSION:
            raise BundleError(
                f"expected a bundle made for version {PREPROCESSING_VERSION} of the preprocessing, found {made_for}: use the "
                "version of pneumoscope that made it, or make it again"
            )
        self.bundle = bundle
        settings, own = manifest.preprocessing, manifest.guard_preprocessing
        self._network = Network(bundle.model, settings.height, settings.width, threads, device, bundle.head)
        self._guard = Guard.from_bundle(bundle)
        self._guard_network = (
            Network(bundle.guard_model, own.height, own.width, threads, device) if own else self._network
        )

    def __repr__(self) -> str:
        manifest = self.bundle.manifest
        return f"Detector({manifest.name} {manifest.version}: {', '.join(manifest.classes)})"

    def predict(
        self,
        image: Image,
        operating_point: str = "balanced",
        prevalence: float | None = None,
        evidence: bool = False,
        accept: tuple[str, ...] = (),
    ) -> Prediction:
        """Prediction for one image.

        Args:
            image: Path of a JPEG, PNG or DICOM file, its bytes, or an open binary file; a Pillow image; or a NumPy array or
                PyTorch tensor of shape (h, w), (h, w, 1), (h, w, 3), (1, h, w) or (3, h, w), integers in 0-65535 or floating-point
                numbers in [0, 1]. Grey levels follow one rule for all: `data/grey_levels.py`.
            operating_point: Name of an operating point in the manifest.
            prevalence: Prevalence of pneumonia, in (0, 1), for which probabilities are shown; it does not change the
                decision. The manifest's where None.
            evidence: Whether to compute the evidence map.
            accept: Reasons that begin with `outside_` for which the image is not referred, such as `outside_age`.

        Returns:
            The prediction. A file that cannot be read, or an image that cannot be assessed, is rejected with the reason.

        Raises:
            InputError: No such operating point, a prevalence outside (0, 1), another reason to accept, or an image of another
                type, shape or range.
        """
        decide = Decider(self.bundle, PredictionRequest(operating_point, prevalence, evidence, accept))
        [score] = self._score_batch([self._prepare(image)], evidence, rejected_too=False, described=False)
        return replace(decide(score), image=image)

    def predict_many(
        self,
        images: Iterable[Image] | Path | str,
        operating_point: str = "balanced",
        prevalence: float | None = None,
        evidence: bool = False,
        accept: tuple[str, ...] = (),
    ) -> Iterator[Prediction]:
        """Predictions for any number of images, in their order; no more than a batch of them is in memory.

        Args:
            images: Images as for `predict`, of which one that cannot be taken is rejected as unreadable; or one path of a folder,
                a pattern, a table or an image, as on the command line.
            operating_point: Name of an operating point in the manifest.
            prevalence: Prevalence of pneumonia, in (0, 1), for which probabilities are shown; the manifest's where None.
            evidence: Whether to compute evidence maps.
            accept: Reasons that begin with `outside_` for which images are not referred, such as `outside_age`.

        Returns:
            One prediction per image, each computed when its batch is reached.

        Raises:
            InputError: No such operating point, a prevalence outside (0, 1), another reason to accept, or a single image.
            DataError: Nothing at the path.
        """
        decide = Decider(self.bundle, PredictionRequest(operating_point, prevalence, evidence, accept))
        return map(decide, self.score_many(several_images(images), evidence))

    def score_many(
        self, images: Iterable[Image], evidence: bool = False, rejected_too: bool = False, described: bool = False
    ) -> Iterator[ImageScore]:
        """Scores of images, in their order: probabilities, screening result and statistics, before any decision.

        Args:
            images: Images as for `predict`.
            evidence: Whether to compute evidence maps.
            rejected_too: Whether images that are rejected for their pixels alone get probabilities as well, to measure what
                the network predicts for them.
            described: Whether scores hold the descriptions of their images.

        Returns:
            One score per image, each computed when its batch is reached.
        """
        prepared = map(self._prepare_or_reject, images)
        while batch := list(islice(prepared, self._network.batch)):
            yield from self._score_batch(batch, evidence, rejected_too, described)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes) float32 logits of prepared images (n, height, width) uint8.

        Raises:
            InputError: Images of another size or dtype than the manifest's preprocessing gives.
        """
        return self._network.run(images, LOGITS)[0]

    def evidence(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, classes, rows, columns) float32 evidence maps of prepared images (n, height, width) uint8.

        Their mean over rows and columns is about the logits less those of normal training images; of networks without such a
        reference, the logits less the biases (`models/evidence.py`).

        Raises:
            InputError: Images of another size or dtype.
        """
        return self._network.run(images, EVIDENCE)[0]

    def class_probabilities(self, images: NDArray[np.uint8]) -> Floats:
        """(n, classes) float64 in [0, 1], calibrated, rows summing to 1, of prepared images (n, height, width) uint8.

        Raises:
            InputError: Images of another size or dtype.
        """
        return self.bundle.manifest.calibration.probabilities(self.logits(images))

    def verify(self) -> float:
        """Run the golden inputs and return the largest relative difference of logits and features from the stored ones.

        Raises:
            BundleError: The difference is more than rounding.
        """
        golden = self.bundle.golden
        found = self._network.run(golden[INPUT], *OUTPUTS)
        differences = {
            name: float(np.abs(value - golden[name]).max()) / max(1.0, float(np.abs(golden[name]).max()))
            for name, value in zip(OUTPUTS, found, strict=True)
        }
        for name, difference in differences.items():
            tolerance = _EVIDENCE_TOLERANCE if name == EVIDENCE else _GOLDEN_TOLERANCE
            if not difference <= tolerance:
                raise BundleError(
                    f"expected the golden {name} within {tolerance:g}, found a difference of {difference:g}: "
                    "get the bundle again, or report processor and onnxruntime version"
                )
        return max(difference for name, difference in differences.items() if name != EVIDENCE)

    def _prepare_or_reject(self, image: Image) -> "_Prepared | ImageScore":
        """Prepares one image of many; a score where it cannot be taken, so that it does not end the rest."""
        try:
            return self._prepare(image)
        except InputError as error:
            return ImageScore("", "", Reason.UNREADABLE, str(error))

    def _prepare(self, image: Image) -> "_Prepared | ImageScore":
        """Reads, screens and prepares one image; a score where its file cannot be read.

        Raises:
            InputError: An image of another type, shape or range.
        """
        if isinstance(image, UnreadImage):
            detail = f"expected a whole JPEG, PNG or DICOM image, found {image.name} ({image.cause}): replace it"
            return ImageScore(image.name, "", Reason.UNREADABLE, detail)
        name, digest, header = image_name(image), "", None
        try:
            if (content := image_bytes(image)) is None:
                pixels = grey_levels(image)
                digest = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
            else:
                digest = hashlib.sha256(content).hexdigest()
                pixels, header = read_image(Path(name or "the bytes given"), content)
        except UnreadableImage as error:
            unsupported = isinstance(error, UnsupportedDicom)
            reason = Reason.UNSUPPORTED_DICOM if unsupported else Reason.UNREADABLE
            return ImageScore(name, digest, reason, str(error))
        return _Prepared(
            name, digest, pixels, screen_pixels(pixels), compare_header(header, self.bundle.manifest.scope)
        )

    def _score_batch(
        self, batch: Sequence["_Prepared | ImageScore"], evidence: bool, rejected_too: bool, described: bool
    ) -> Iterator[ImageScore]:
        usable = [image for image in batch if isinstance(image, _Prepared) and image.rejection is None]
        scores = iter(self._score(usable, evidence, described) if usable else [])
        for image in batch:
            if isinstance(image, ImageScore):
                yield image
            elif image.rejection is None:
                yield next(scores)
            elif rejected_too:
                yield from self._score([image], evidence, described)
            else:
                words = _in_words(image.rejection, image.pixels)
                yield ImageScore(image.name, image.sha256, image.rejection, words, header=image.header.header)

    def _score(self, images: Sequence["_Prepared"], evidence: bool, described: bool) -> Iterator[ImageScore]:
        """Scores of readable images, which are one batch of the network."""
        manifest, own = self.bundle.manifest, self.bundle.manifest.guard_preprocessing
        inputs = [prepare_with_frame(image.pixels, manifest.preprocessing) for image in images]
        guarded = [prepare_with_frame(image.pixels, own) for image in images] if own else inputs
        network_input = np.stack([each.image for each in inputs])
        # In the chest frame the lungs lie alike in all radiographs.
        aligned = manifest.preprocessing.fit == "chest"
        names = (LOGITS, *((FEATURES,) if described or not own else ()), *((EVIDENCE,) if evidence else ()))
        outputs = dict(zip(names, self._network.run(network_input, *names), strict=True))
        calibrated = manifest.calibration.probabilities(outputs[LOGITS])
        if own:
            features = self._guard_network.run(np.stack([each.image for each in guarded]), FEATURES)[0]
        else:
            features = outputs[FEATURES]
        layout = np.stack([each.layout for each in guarded])
        exposure = np.stack([each.exposure for each in guarded])
        population, descriptions = self._guard.population, Descriptions(features, layout, exposure)
        distances = population.distance(descriptions)
        outside_population = population.outside(descriptions, distances)
        for i, image in enumerate(images):
            distance = float(distances[i])
            reason = image.rejection or self._guard.screen(image.pixels, guarded[i].similarity, distance)
            outside = (*([Reason.OUTSIDE_POPULATION] if outside_population[i] else []), *image.header.outside)
            words = population.exposure.describe(exposure[i])
            explanation = _for_pneumonia(outputs[EVIDENCE][i], calibrated[i]) if evidence else None
            yield ImageScore(
                image.name,
                image.sha256,
                reason,
                _in_words(reason, image.pixels) if reason else _remarks(distance, words, image.header),
                class_probability=calibrated[i],
                outside=outside,
                evidence_map=explanation,
                frame=inputs[i].frame,
                statistics=_statistics(calibrated[i], inputs[i], distance),
                header=image.header.header,
                description=ImageDescription(outputs[FEATURES][i], features[i], layout[i], exposure[i])
                if described
                else None,
                zones=lung_zones(explanation, inputs[i].similarity) if explanation is not None and aligned else None,
            )


@dataclass(frozen=True)
class _Prepared:
    """A readable image, with the reason to reject it for its pixels alone, if any, and what its header tells."""

    name: str
    sha256: str
    pixels: NDArray[Any]
    rejection: Reason | None
    header: HeaderRemarks


def _statistics(calibrated: Floats, prepared: PreparedImage, distance: float) -> ImageStatistics:
    brightness, contrast = mean_and_deviation(prepared.image)
    return ImageStatistics(
        probability=float(pneumonia_probability(calibrated[None])[0]),
        brightness=brightness / _WHITE,
        contrast=contrast / _WHITE,
        similarity=prepared.similarity,
        distance=distance,
    )


def _for_pneumonia(evidence: NDArray[np.float32], probability: Floats) -> NDArray[np.float32]:
    """(rows, columns) evidence for pneumonia against normal, of (classes, rows, columns); etiologies weighted by probability."""
    weight = probability[1:] / max(float(probability[1:].sum()), 1e-12)
    return np.asarray(np.tensordot(weight, evidence[1:], axes=1) - evidence[0], dtype=np.float32)


def _remarks(distance: float, exposure: str, header: HeaderRemarks) -> str:
    """Explanation of being outside, by distance, exposure or header, and of what could not be checked."""
    unlike = []
    if distance > 1:
        unlike.append(
            f"unlike the radiographs that the detector was validated on (distance {distance:.2f}, inside up to 1)"
        )
    if exposure:
        unlike.append(f"{exposure} than the radiographs that the detector was validated on")
    says = [f"{' and '.join(unlike)}: its figures say nothing about this image"] if unlike else []
    return "; ".join([*says, *header.remarks])


def _in_words(reason: Reason, pixels: NDArray[Any]) -> str:
    """Explanation of a rejection."""
    height, width = pixels.shape
    return {
        Reason.TOO_SMALL: f"expected at least {MIN_EDGE} pixels a side, found {width} x {height}: take the original",
        Reason.POOR_EXPOSURE: "expected a film with light and dark, found one grey nearly everywhere: expose it anew",
        Reason.INVERTED: "expected bone bright and air dark, found the opposite: invert the image",
        Reason.NOT_A_RADIOGRAPH: "expected a frontal chest radiograph, found nothing like one",
        Reason.NOT_FRONTAL_CHEST: "expected an upright frontal chest radiograph, found another view or part of the body",
    }[reason]


def load_detector(bundle: Path | str | Bundle = "default", threads: int = 0, device: str = "cpu") -> Detector:
    """Detector of a bundle, by name (shipped with the package) or by path.

    Args:
        bundle: `default`, `nano`, `best`, the path of a bundle, or a loaded one.
        threads: Threads for one image or batch; 0 for as many as there are cores.
        device: `cpu`, or `cuda` for a GPU.

    Raises:
        ConfigError: The installed runtime has no such device.
        BundleError: Missing, damaged, altered, or of a newer format.
    """
    return Detector(find_bundle(bundle), threads, device)
