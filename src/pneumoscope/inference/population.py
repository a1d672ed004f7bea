"""Population: how far an image lies from the radiographs that a bundle was validated on.

Two descriptions of an image are compared with those of reference radiographs:

    features   the network's features, pooled: texture, tone, sharpness, what is seen          (channels,)
    layout     ranks of the grey levels of the aligned chest: what is bright and dark where    (256,)

Distance of a description x: standardised, z = (x - mean) / scale; the principal components V of the radiographs' z give
y = (V'z, |z - VV'z|), the last entry being the residual outside of them; y is divided by its standard deviations and
multiplied by (D + r I)^(-1/2), where D is the mean outer product of the changes of y between a radiograph and its export
variants: directions in which storing it otherwise moves a radiograph count less. The distance is that to the K-th nearest
reference. The two distances d_f, d_l are joined as

    distance = d_f^w d_l^(1 - w) / limit

with w inversely proportional to the standard deviation of ln d, and `limit` the quantile over held-out radiographs that
leaves the wanted fraction above 1. Beside it, limits of the exposure (`inference/exposure.py`). No image of another population or subject is needed for the fit.

Source: distance to the K-th nearest neighbour in a network's features, Sun et al., ICML 2022, arXiv 2204.06507; metric from
within-class scatter (here: within a radiograph's variants), Bar-Hillel et al., JMLR 2005, "Learning a Mahalanobis metric from
equivalence constraints".
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pneumoscope.decision import Floats
from pneumoscope.errors import DataError
from pneumoscope.inference.exposure import ExposureLimits, fit_exposure_limits

# Neighbour whose distance counts: a single odd reference makes nothing near.
_NEIGHBOUR = 5
# Principal components that are kept of features and of layouts.
FEATURE_COMPONENTS, LAYOUT_COMPONENTS = 80, 12
# r: weight of directions in which variants do not differ, in units of the radiographs' variance.
_RIDGE = 0.5
_MIN_DEVIATION = 1e-3


@dataclass(frozen=True)
class NeighbourDistance:
    """Distance of a description to the nearest references.

    Attributes:
        mean: (channels,) mean of the radiographs' descriptions.
        scale: (channels,) standard deviation of the descriptions; ones where all channels have one unit.
        components: (channels, k) principal components of the standardised descriptions.
        offset: (k + 1,) mean of components and residual.
        projection: (k + 1, k + 1) matrix to the space in which distances are Euclidean.
        references: (n, k + 1) references in that space.
    """

    mean: Floats
    scale: Floats
    components: Floats
    offset: Floats
    projection: Floats
    references: Floats

    @property
    def channels(self) -> int:
        """Length of a description."""
        return len(self.mean)

    def project(self, descriptions: NDArray[np.floating]) -> Floats:
        """(n, k + 1) positions of descriptions (n, channels)."""
        standard = (descriptions - self.mean) / self.scale
        return np.asarray((_with_residual(standard, self.components) - self.offset) @ self.projection)

    def __call__(self, descriptions: NDArray[np.floating]) -> Floats:
        """(n,) distances, above 0, of descriptions (n, channels) to the K-th nearest reference."""
        return _kth_smallest(self._squared(descriptions))

    def among(self, descriptions: NDArray[np.floating], allowed: NDArray[np.bool_]) -> Floats:
        """(n,) distances of descriptions (n, channels) to the K-th nearest of the references that each may have.

        Args:
            descriptions: (n, channels) float.
            allowed: (n, references) bool, with at least K references for each description.
        """
        return _kth_smallest(np.where(allowed, self._squared(descriptions), np.inf))

    def _squared(self, descriptions: NDArray[np.floating]) -> Floats:
        """(n, references) squared distances of descriptions (n, channels)."""
        points = self.project(descriptions)
        return np.asarray((points**2).sum(axis=1)[:, None] + self._reference_lengths - 2 * points @ self.references.T)

    @cached_property
    def _reference_lengths(self) -> Floats:
        return np.asarray((self.references**2).sum(axis=1))

    def arrays(self, prefix: str) -> dict[str, NDArray[np.floating]]:
        """Arrays for a bundle; the large ones in half precision."""
        halved = ("components", "references")
        return {
            f"{prefix}_{each.name}": getattr(self, each.name).astype(np.float16 if each.name in halved else np.float32)
            for each in fields(self)
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[np.floating]], prefix: str) -> "NeighbourDistance":
        """Distance from the arrays of a bundle.

        Raises:
            KeyError: An array is missing.
            ValueError: Shapes that do not fit each other.
        """
        named = {each.name: arrays[f"{prefix}_{each.name}"] for each in fields(NeighbourDistance)}
        if any(array.dtype.kind != "f" for array in named.values()):
            raise ValueError("values that are no distances")
        found = NeighbourDistance(**{name: array.astype(np.float64) for name, array in named.items()})
        channels, kept = found.components.shape
        expected = {
            "mean": (channels,),
            "scale": (channels,),
            "offset": (kept + 1,),
            "projection": (kept + 1, kept + 1),
            "references": (len(found.references), kept + 1),
        }
        if any(getattr(found, name).shape != shape for name, shape in expected.items()):
            raise ValueError("arrays of different shapes")
        if not found.scale.min() > 0:
            raise ValueError("standard deviations that are not above 0")
        if len(found.references) < _NEIGHBOUR or not all(
            np.isfinite(getattr(found, e.name)).all() for e in fields(found)
        ):
            raise ValueError("too few references, or values that are not finite")
        return found


def _with_residual(standard: Floats, components: Floats) -> Floats:
    inside = standard @ components
    outside = np.sqrt(np.maximum((standard**2).sum(axis=1) - (inside**2).sum(axis=1), 0))
    return np.concatenate([inside, outside[:, None]], axis=1)


def _kth_smallest(squared: Floats) -> Floats:
    nearest = np.partition(squared, _NEIGHBOUR - 1, axis=1)[:, _NEIGHBOUR - 1]
    return np.sqrt(np.maximum(nearest, 1e-12))


@dataclass(frozen=True)
class Descriptions:
    """Descriptions of some images.

    Attributes:
        features: (n, channels) pooled features.
        layout: (n, 256) ranks of the aligned chest's grey levels.
        exposure: (n, 3) brightness, contrast and noise (`inference/exposure.py`).
    """

    features: NDArray[np.floating]
    layout: NDArray[np.floating]
    exposure: Floats

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, which: NDArray[np.generic] | slice) -> "Descriptions":
        return Descriptions(self.features[which], self.layout[which], self.exposure[which])


@dataclass(frozen=True)
class Population:
    """Radiographs that a bundle was validated on.

    Attributes:
        features: Distance in features.
        layout: Distance in layouts.
        exposure: Limits of brightness, contrast and noise.
        feature_weight: w, in [0, 1].
        limit: Joint distance above which an image is outside.
    """

    features: NeighbourDistance
    layout: NeighbourDistance
    exposure: ExposureLimits
    feature_weight: float
    limit: float

    def distance(self, images: Descriptions) -> Floats:
        """(n,) distances, above 0; an image is inside up to 1, if its exposure is."""
        near, alike = self.features(images.features), self.layout(images.layout)
        return _weighted_product(near, alike, self.feature_weight) / self.limit

    def outside(self, images: Descriptions, distance: Floats) -> NDArray[np.bool_]:
        """(n,) bool, whether images with these distances lie outside, by distance or exposure."""
        return np.asarray((distance > 1) | self.exposure.outside(images.exposure))


def _weighted_product(near: Floats, alike: Floats, feature_weight: float) -> Floats:
    """(n,) joint distances of (n,) distances in features and in layouts."""
    return np.asarray(near**feature_weight * alike ** (1 - feature_weight))


def fit_population(
    radiographs: Descriptions,
    variants: Descriptions,
    origin: NDArray[np.integer],
    held_out: Descriptions,
    outside: float,
    references: int,
    rng: np.random.Generator,
) -> Population:
    """Fit the population of a bundle.

    Args:
        radiographs: Radiographs of the population, n of them.
        variants: Export variants of these.
        origin: (variants,) int, position in `radiographs` of the image that each variant is made of.
        held_out: Radiographs of other patients of the population, as they are stored.
        outside: Fraction of `held_out` that may lie outside, in (0, 1).
        references: Largest number of references that are kept, two fifths of them radiographs as they are.
        rng: Random generator for the choice of the references.

    Raises:
        DataError: Too few radiographs for limits, or all alike.
    """
    kept = _choose(len(radiographs), len(variants), references, rng)
    features, layout, exposure = _fit_parts(radiographs, variants, origin, kept)
    if len(radiographs) + len(variants) < _NEIGHBOUR:
        raise DataError(
            f"expected at least {_NEIGHBOUR} radiographs, to fit the population of a bundle, found {len(radiographs)}: "
            "add images"
        )
    return _joined(features, layout, exposure, features(held_out.features), layout(held_out.layout), outside)


def fit_population_by_patient(
    radiographs: Descriptions,
    variants: Descriptions,
    origin: NDArray[np.integer],
    patients: NDArray[np.integer],
    outside: float,
    references: int,
    rng: np.random.Generator,
) -> tuple[Population, Floats, NDArray[np.bool_]]:
    """Fit the population of a bundle to few radiographs, each held out from the references that it is compared with.

    Args:
        radiographs: Radiographs of the population, n of them.
        variants: Export variants of these.
        origin: (variants,) int, position in `radiographs` of the image that each variant is made of.
        patients: (n,) int, patient of each radiograph; no patient has all but a few of the images.
        outside: Fraction of the radiographs that may lie outside, in (0, 1).
        references: Largest number of references that are kept, two fifths of them radiographs as they are.
        rng: Random generator for the choice of the references.

    Returns:
        Population; the (n,) distances of the radiographs to references of other patients; and (n,) bool, those that lie outside
        by this distance, or by limits of exposure of other patients.

    Raises:
        DataError: Radiographs that are all alike.
    """
    kept = _choose(len(radiographs), len(variants), references, rng)
    features, layout, exposure = _fit_parts(radiographs, variants, origin, kept)
    others = patients[:, None] != np.concatenate([patients[kept[0]], patients[origin[kept[1]]]])
    near = features.among(radiographs.features, others)
    alike = layout.among(radiographs.layout, others)
    population = _joined(features, layout, exposure, near, alike, outside)
    distance = _weighted_product(near, alike, population.feature_weight) / population.limit
    return population, distance, (distance > 1) | _outside_exposures_of_others(radiographs, variants, origin, patients)


def _outside_exposures_of_others(
    radiographs: Descriptions, variants: Descriptions, origin: NDArray[np.integer], patients: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """(n,) bool, whether each radiograph lies beyond limits that are fitted to those of other patients and their variants."""
    every = np.concatenate([radiographs.exposure, variants.exposure])
    owner = np.concatenate([patients, patients[origin]])
    outside = np.zeros(len(radiographs), dtype=np.bool_)
    for patient in np.unique(patients):
        own = patients == patient
        outside[own] = fit_exposure_limits(every[owner != patient]).outside(radiographs.exposure[own])
    return outside


def _joined(
    features: NeighbourDistance,
    layout: NeighbourDistance,
    exposure: ExposureLimits,
    near: Floats,
    alike: Floats,
    outside: float,
) -> Population:
    """Population from its two distances, limits of exposure, and the distances of held-out radiographs.

    Raises:
        DataError: Radiographs that are all alike.
    """
    spreads = [float(np.log(distance).std()) for distance in (near, alike)]
    if not (min(spreads) > 0 and np.isfinite(spreads).all()):
        raise DataError(
            f"expected radiographs that differ, to fit the population of a bundle, found {len(near)} alike: add images"
        )
    weight = spreads[1] / (spreads[0] + spreads[1])
    limit = float(np.quantile(_weighted_product(near, alike, weight), 1 - outside))
    return Population(features, layout, exposure, weight, limit)


def _choose(
    radiographs: int, variants: int, references: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the radiographs and of the variants that become references."""
    plain = min(radiographs, max(references - variants, 2 * references // 5))
    return rng.permutation(radiographs)[:plain], rng.permutation(variants)[: references - plain]


def _fit_parts(
    radiographs: Descriptions,
    variants: Descriptions,
    origin: NDArray[np.integer],
    kept: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[NeighbourDistance, NeighbourDistance, ExposureLimits]:
    """Distances in features and in layouts, to the same references, and limits of exposure."""
    return (
        _fit_distance(radiographs.features, variants.features, origin, FEATURE_COMPONENTS, True, kept),
        _fit_distance(radiographs.layout, variants.layout, origin, LAYOUT_COMPONENTS, False, kept),
        fit_exposure_limits(np.concatenate([radiographs.exposure, variants.exposure])),
    )


def _fit_distance(
    radiographs: NDArray[np.floating],
    variants: NDArray[np.floating],
    origin: NDArray[np.integer],
    components: int,
    standardise: bool,
    kept: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NeighbourDistance:
    # Fewer components than radiographs, or the metric would be fitted to directions in which none of them differ.
    components = min(components, max(1, len(radiographs) // 3))
    mean = radiographs.mean(axis=0, dtype=np.float64)
    scale = radiographs.std(axis=0, dtype=np.float64) + _MIN_DEVIATION if standardise else np.ones(len(mean))
    plain, changed = (radiographs - mean) / scale, (variants - mean) / scale
    axes = np.linalg.eigh(plain.T @ plain / len(plain))[1][:, ::-1][:, :components]
    # Rounded as a bundle stores it, so that limits hold for what is stored.
    axes = axes.astype(np.float16).astype(np.float64)
    plain, changed = _with_residual(plain, axes), _with_residual(changed, axes)
    offset, deviation = plain.mean(axis=0), plain.std(axis=0) + 1e-9
    change = (changed - plain[origin]) / deviation
    scatter = change.T @ change / max(1, len(change)) + _RIDGE * np.eye(len(deviation))
    variance, vectors = np.linalg.eigh(scatter)
    projection = (vectors / np.sqrt(variance)) / deviation[:, None]
    chosen = np.concatenate([plain[kept[0]], changed[kept[1]]])
    references = ((chosen - offset) @ projection).astype(np.float16).astype(np.float64)
    return NeighbourDistance(mean, scale, axes, offset, projection, references)
