"""Every chest brought into the same frame: stretched and shifted until it lies as the mean chest does.

An image shows more or less of the neck, the arms and the belly, and a file squashed to a square stretches the chest by the
aspect of the image; both go with the class in the public training images (see the data card). The atlas is the mean of many
chests, each moved to where it agrees best with the mean of the others: nobody drew a lung for it. An image is placed by the two
stretches and two shifts that make it most like the atlas.

Source of the idea: congealing, Learned-Miller, IEEE TPAMI 2006, doi 10.1109/TPAMI.2006.34.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.errors import InputError

Pixels = NDArray[np.uint8]
Map = NDArray[np.float64]
Levels = TypeVar("Levels", NDArray[np.float32], NDArray[np.float64])

SIDE = 32
# How much of an image's side the frame covers, and where its centre lies, in half sides: what was ever needed, and a bit more.
_SCALES = np.exp(np.linspace(np.log(0.52), np.log(1.25), 19))
_SHIFTS = np.linspace(-0.4, 0.4, 21)
# The frame is closer than most images, so that even an image that ends at the ribs holds it whole.
_USUAL_SCALE = 0.84
# Loss of similarity for unusual placements: decides only where the image says nothing.
_SCALE_COST, _SHIFT_COST = 0.02 / 0.3**2, 0.01 / 0.25**2
_SWEEPS = 3
# Shorter maps are blank: they have no direction.
_BLANK = 1e-6
_REFINEMENTS = 2


@dataclass(frozen=True)
class Placement:
    """Where the chest frame lies in an image.

    Attributes:
        scale_down: Share of the image's height that the frame covers.
        shift_down: Of its centre from the image's, in halves of the image's height, positive downwards.
        scale_across: Share of the width.
        shift_across: In halves of the width, positive to the right.
        similarity: Correlation of the placed image with the atlas, in [-1, 1]; low for what is no frontal chest image.
    """

    scale_down: float
    shift_down: float
    scale_across: float
    shift_across: float
    similarity: float

    @property
    def frame(self) -> tuple[float, float, float, float]:
        """Top, left, bottom and right as shares of the image's height and width."""
        down, across = (1 + self.shift_down) / 2, (1 + self.shift_across) / 2
        return (
            down - self.scale_down / 2,
            across - self.scale_across / 2,
            down + self.scale_down / 2,
            across + self.scale_across / 2,
        )


@dataclass(frozen=True)
class ChestAtlas:
    """The mean chest.

    Attributes:
        template: (SIDE, SIDE), mean 0 and length 1.
    """

    template: Map

    def place(self, image: Pixels) -> Placement:
        """The frame in which an image, (height, width) uint8, is most like the atlas."""
        small = _small(image)
        down = across = _Axis.usual()
        for _ in range(_SWEEPS):
            down = self._best(_every_axis(), small @ across.matrix.T, self.template)
            across = self._best(_every_axis(), small.T @ down.matrix.T, self.template.T)
        for _ in range(_REFINEMENTS):
            down = self._best(down.neighbours(), small @ across.matrix.T, self.template)
            across = self._best(across.neighbours(), small.T @ down.matrix.T, self.template.T)
        similarity = self._similarity(down.matrix @ small @ across.matrix.T)
        return Placement(down.scale, down.shift, across.scale, across.shift, similarity)

    def similarity(self, image: Pixels) -> float:
        """Correlation, in [-1, 1], of an image, (height, width) uint8, that is in its frame already."""
        return self._similarity(_small(image))

    def _similarity(self, placed: Map) -> float:
        return float((_normalised(placed) * self.template).sum())

    @staticmethod
    def _best(candidates: "_Axes", half_placed: Map, template: Map) -> "_Axis":
        """The candidate for one axis that makes a map, placed along the other axis already, most like the template.

        Each row of a placed map lies between two rows of the map, so that its correlation with the template follows from
        products of rows with rows: no candidate is carried out.
        """
        with_template = (template @ half_placed.T).ravel()
        agreement = _between(
            with_template[candidates.first], with_template[candidates.first + 1], candidates.share
        ).sum(axis=1)
        total = candidates.once @ half_placed.sum(axis=1)
        products = (half_placed[1:] * half_placed[:-1]).sum(axis=1)
        squares = candidates.squared @ np.square(half_placed).sum(axis=1) + candidates.twice @ products
        length = np.sqrt(np.maximum(squares - total**2 / SIDE**2, 0.0))
        return candidates.axis(int((agreement / np.maximum(length, _BLANK) - candidates.cost).argmax()))


def aligned(image: Pixels, placement: Placement, height: int, width: int) -> Pixels:
    """The frame of an image as (height, width) uint8, bilinear; beyond the image its edge goes on.

    Sums of two products in a fixed order, so that every machine gives the same bytes.
    """
    down, down_share = _samples(placement.scale_down, placement.shift_down, height, image.shape[0])
    across, across_share = _samples(placement.scale_across, placement.shift_across, width, image.shape[1])
    levels = image.astype(np.float32)
    rows = _between(levels[down], levels[down + 1], down_share.astype(np.float32)[:, None])
    result = _between(rows[:, across], rows[:, across + 1], across_share.astype(np.float32))
    return np.ascontiguousarray(np.rint(result), dtype=np.uint8)


def learn_atlas(images: NDArray[np.uint8], rounds: int = 3) -> ChestAtlas:
    """The mean of images, each placed by the mean of all.

    Args:
        images: (n, height, width) uint8.
        rounds: Of placing and averaging.

    Raises:
        InputError: There is no image.
    """
    if len(images) == 0:
        raise InputError("expected films to learn the atlas from, found none: add films")
    smalls = [_small(image) for image in images]
    usual = _Axis.usual().matrix
    atlas = _mean([usual @ small @ usual.T for small in smalls])
    for _ in range(rounds):
        places = _centred([atlas.place(image) for image in images])
        atlas = _mean([_moved(small, place) for small, place in zip(smalls, places, strict=True)])
    return atlas


def _centred(places: list[Placement]) -> list[Placement]:
    """With the usual scale and no shift on average: otherwise the frame creeps from round to round."""
    scales = np.log([(p.scale_down, p.scale_across) for p in places])
    scales += np.log(_USUAL_SCALE) - scales.mean(axis=0)
    shifts = np.array([(p.shift_down, p.shift_across) for p in places])
    shifts -= shifts.mean(axis=0)
    moved = zip(np.exp(scales), shifts, strict=True)
    return [Placement(float(a), float(c), float(b), float(d), 0.0) for (a, b), (c, d) in moved]


@lru_cache
def load_atlas() -> ChestAtlas:
    """The atlas that ships with the package, learnt from training images by `scripts/learn_atlas.py`."""
    with files("pneumoscope.data").joinpath("chest_atlas.npy").open("rb") as stream:
        return ChestAtlas(np.load(stream, allow_pickle=False).astype(np.float64))


def _mean(maps: Sequence[NDArray[np.floating]]) -> ChestAtlas:
    return ChestAtlas(_normalised(np.mean([_normalised(m) for m in maps], axis=0)))


def _moved(small: Map, place: Placement) -> Map:
    down = _mover(place.scale_down, place.shift_down)
    across = _mover(place.scale_across, place.shift_across)
    return np.asarray(down @ small @ across.T)


def _small(image: Pixels) -> Map:
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float64)


def _normalised(maps: NDArray[np.floating]) -> Map:
    """Mean 0 and length 1 over the last two axes; a blank map stays 0."""
    centred = maps - maps.mean(axis=(-2, -1), keepdims=True)
    length = np.sqrt(np.square(centred).sum(axis=(-2, -1), keepdims=True))
    return np.asarray(centred / np.maximum(length, _BLANK))


@dataclass(frozen=True)
class _Axis:
    """One axis of a placement, with the matrix that carries it out."""

    scale: float
    shift: float

    @property
    def matrix(self) -> Map:
        return _mover(self.scale, self.shift)

    @staticmethod
    def usual() -> "_Axis":
        return _Axis(_USUAL_SCALE, 0.0)

    def neighbours(self) -> "_Axes":
        """Itself and what lies within a step of the grid around it."""
        return _neighbours(self.scale, self.shift)


@dataclass(frozen=True)
class _Axes:
    """Candidates for one axis; the row `r` of a map that one of them places lies between two rows of the map.

    Attributes:
        scale: (n,).
        shift: (n,).
        first: (n, SIDE) int, SIDE * r plus the first of the two.
        share: (n, SIDE) of the second.
        once: (n, SIDE), what each row of the map gives to all rows of the placed one together.
        squared: (n, SIDE), likewise, the shares squared.
        twice: (n, SIDE - 1), twice the products of the shares of neighbouring rows.
        cost: (n,), what is taken off their similarity.
    """

    scale: Map
    shift: Map
    first: NDArray[np.int64]
    share: Map
    once: Map
    squared: Map
    twice: Map
    cost: Map

    @staticmethod
    def grid(scales: Map, shifts: Map) -> "_Axes":
        scale, shift = (grid.ravel() for grid in np.meshgrid(scales, shifts, indexing="ij"))
        first, share = _samples(scale[:, None], shift[:, None], SIDE, SIDE)
        matrices = _movers(first, share)
        return _Axes(
            scale,
            shift,
            first + SIDE * np.arange(SIDE),
            share,
            once=matrices.sum(axis=1),
            squared=np.square(matrices).sum(axis=1),
            twice=2 * (matrices[:, :, 1:] * matrices[:, :, :-1]).sum(axis=1),
            cost=_SCALE_COST * np.log(scale / _USUAL_SCALE) ** 2 + _SHIFT_COST * shift**2,
        )

    def axis(self, position: int) -> _Axis:
        return _Axis(float(self.scale[position]), float(self.shift[position]))


@lru_cache
def _every_axis() -> _Axes:
    return _Axes.grid(_SCALES, _SHIFTS)


# Images are placed alike, so that few grids and matrices serve most of them.
@lru_cache(maxsize=512)
def _neighbours(scale: float, shift: float) -> _Axes:
    near = np.linspace(-0.75, 0.75, 5)
    scales = scale * np.exp(near * np.log(_SCALES[1] / _SCALES[0]))
    return _Axes.grid(scales, shift + near * (_SHIFTS[1] - _SHIFTS[0]))


@lru_cache(maxsize=512)
def _mover(scale: float, shift: float) -> Map:
    first, share = _samples(scale, shift, SIDE, SIDE)
    return np.asarray(_movers(first[None], share[None])[0])


def _movers(first: NDArray[np.int64], share: Map) -> Map:
    """(n, SIDE, SIDE), the matrices that carry candidates out."""
    matrices = np.zeros((*first.shape, SIDE))
    np.put_along_axis(matrices, first[..., None], 1 - share[..., None], axis=2)
    np.put_along_axis(matrices, first[..., None] + 1, share[..., None], axis=2)
    return matrices


def _between(one: Levels, other: Levels, share: Levels) -> Levels:
    return np.asarray(one * (1 - share) + other * share)


def _samples(
    scale: float | NDArray[np.float64], shift: float | NDArray[np.float64], count: int, size: int
) -> tuple[NDArray[np.int64], Map]:
    """For each of `count` pixels the first of the two of `size` that it lies between, and the share of the second."""
    place = (np.arange(count) + 0.5) / count * 2 - 1
    pixel = np.clip((scale * place + shift + 1) / 2 * size - 0.5, 0, size - 1)
    first = np.minimum(pixel.astype(np.int64), size - 2)
    return first, pixel - first
