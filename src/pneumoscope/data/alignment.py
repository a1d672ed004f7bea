"""Every chest brought into the same frame: stretched and shifted until it lies as the mean chest does.

A film shows more or less of the neck, the arms and the belly, and a file squashed to a square stretches the chest by the
aspect of the film; both go with the class in the public training films (see the data card). The atlas is the mean of many
chests, each moved to where it agrees best with the mean of the others: nobody drew a lung for it. A film is placed by the two
stretches and two shifts that make it most like the atlas.

Source of the idea: congealing, Learned-Miller, IEEE TPAMI 2006, doi 10.1109/TPAMI.2006.34.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.errors import InputError

Film = NDArray[np.uint8]
Map = NDArray[np.float32]

SIDE = 32
# How much of a film's side the frame covers, and where its centre lies, in half sides: what was ever needed, and a bit more.
_SCALES = np.exp(np.linspace(np.log(0.52), np.log(1.25), 19))
_SHIFTS = np.linspace(-0.4, 0.4, 21)
# The frame is closer than most films, so that even a film that ends at the ribs holds it whole.
_USUAL_SCALE = 0.84
# Loss of similarity for unusual placements: decides only where the film says nothing.
_SCALE_COST, _SHIFT_COST = 0.02 / 0.3**2, 0.01 / 0.25**2
_SWEEPS = 3
_REFINEMENTS = 2


@dataclass(frozen=True)
class Placement:
    """Where the chest frame lies in a film.

    Attributes:
        scale_down: Share of the film's height that the frame covers.
        shift_down: Of its centre from the film's, in halves of the film's height, positive downwards.
        scale_across: Share of the width.
        shift_across: In halves of the width, positive to the right.
        similarity: Correlation of the placed film with the atlas, in [-1, 1]; low for what is no frontal chest film.
    """

    scale_down: float
    shift_down: float
    scale_across: float
    shift_across: float
    similarity: float


@dataclass(frozen=True)
class ChestAtlas:
    """The mean chest.

    Attributes:
        template: (SIDE, SIDE) float32, mean 0 and length 1.
    """

    template: Map

    def place(self, film: Film) -> Placement:
        """The frame in which a film, (height, width) uint8, is most like the atlas."""
        small = _small(film)
        down = across = _Axis.usual()
        for _ in range(_SWEEPS):
            down = self._best(_every_axis(), small @ across.matrix.T, self.template)
            across = self._best(_every_axis(), small.T @ down.matrix.T, self.template.T)
        for _ in range(_REFINEMENTS):
            down = self._best(down.neighbours(), small @ across.matrix.T, self.template)
            across = self._best(across.neighbours(), small.T @ down.matrix.T, self.template.T)
        similarity = self._similarity(down.matrix @ small @ across.matrix.T)
        return Placement(down.scale, down.shift, across.scale, across.shift, similarity)

    def similarity(self, film: Film) -> float:
        """Correlation, in [-1, 1], of a film, (height, width) uint8, that is in its frame already."""
        return self._similarity(_small(film))

    def _similarity(self, placed: NDArray[np.floating]) -> float:
        return float((_normalised(placed) * self.template).sum())

    @staticmethod
    def _best(candidates: "_Axes", half_placed: Map, template: Map) -> "_Axis":
        """The candidate for one axis that makes a map, placed along the other axis already, most like the template."""
        placed = _normalised(candidates.matrices @ half_placed)
        score = np.tensordot(placed, template, axes=2) - candidates.costs
        return candidates.axes[int(score.argmax())]


def aligned(film: Film, placement: Placement, height: int, width: int) -> Film:
    """The frame of a film as (height, width) uint8, bilinear; beyond the film its edge goes on.

    Sums of two products in a fixed order, so that every machine gives the same bytes.
    """
    down, down_share = _samples(placement.scale_down, placement.shift_down, height, film.shape[0])
    across, across_share = _samples(placement.scale_across, placement.shift_across, width, film.shape[1])
    levels = film.astype(np.float32)
    rows = levels[down] * (1 - down_share)[:, None] + levels[down + 1] * down_share[:, None]
    result = rows[:, across] * (1 - across_share) + rows[:, across + 1] * across_share
    return np.ascontiguousarray(np.rint(result), dtype=np.uint8)


def learn_atlas(films: NDArray[np.uint8], rounds: int = 3) -> ChestAtlas:
    """The mean of films, each placed by the mean of all.

    Args:
        films: (n, height, width) uint8.
        rounds: Of placing and averaging.

    Raises:
        InputError: There is no film.
    """
    if len(films) == 0:
        raise InputError("expected films to learn the atlas from, found none: add films")
    smalls = [_small(film) for film in films]
    usual = _Axis.usual().matrix
    atlas = _mean([usual @ small @ usual.T for small in smalls])
    for _ in range(rounds):
        places = _centred([atlas.place(film) for film in films])
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
    """The atlas that ships with the package, learnt from training films by `scripts/learn_atlas.py`."""
    with files("pneumoscope.data").joinpath("chest_atlas.npy").open("rb") as stream:
        return ChestAtlas(np.load(stream, allow_pickle=False))


def _mean(maps: Sequence[NDArray[np.floating]]) -> ChestAtlas:
    return ChestAtlas(_normalised(np.mean([_normalised(m) for m in maps], axis=0, dtype=np.float32)))


def _moved(small: Map, place: Placement) -> Map:
    down = _mover(place.scale_down, place.shift_down)
    across = _mover(place.scale_across, place.shift_across)
    return np.asarray(down @ small @ across.T)


def _small(film: Film) -> Map:
    resized = Image.fromarray(np.ascontiguousarray(film)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)


def _normalised(maps: NDArray[np.floating]) -> Map:
    """Mean 0 and length 1 over the last two axes; a blank map stays 0."""
    centred = maps - maps.mean(axis=(-2, -1), keepdims=True)
    length = np.sqrt(np.square(centred).sum(axis=(-2, -1), keepdims=True))
    return np.asarray(centred / np.maximum(length, 1e-6), dtype=np.float32)


@dataclass(frozen=True)
class _Axis:
    """One axis of a placement, with the matrix that carries it out."""

    scale: float
    shift: float

    @property
    def matrix(self) -> Map:
        return _mover(self.scale, self.shift)

    @property
    def cost(self) -> float:
        return float(_SCALE_COST * np.log(self.scale / _USUAL_SCALE) ** 2 + _SHIFT_COST * self.shift**2)

    @staticmethod
    def usual() -> "_Axis":
        return _Axis(_USUAL_SCALE, 0.0)

    def neighbours(self) -> "_Axes":
        """Itself and what lies within a step of the grid around it."""
        scale_step, shift_step = np.log(_SCALES[1] / _SCALES[0]), _SHIFTS[1] - _SHIFTS[0]
        near = np.linspace(-0.75, 0.75, 5)
        return _Axes.of(
            [
                _Axis(float(self.scale * np.exp(a * scale_step)), float(self.shift + b * shift_step))
                for a in near
                for b in near
            ]
        )


@dataclass(frozen=True)
class _Axes:
    """Candidates: themselves, their (n, SIDE, SIDE) matrices and (n,) costs."""

    axes: list[_Axis]
    matrices: Map
    costs: Map

    @staticmethod
    def of(axes: list[_Axis]) -> "_Axes":
        matrices = np.stack([axis.matrix for axis in axes])
        return _Axes(axes, matrices, np.array([axis.cost for axis in axes], dtype=np.float32))


@lru_cache
def _every_axis() -> _Axes:
    return _Axes.of([_Axis(float(scale), float(shift)) for scale in _SCALES for shift in _SHIFTS])


def _mover(scale: float, shift: float) -> Map:
    first, share = _samples(scale, shift, SIDE, SIDE)
    matrix = np.zeros((SIDE, SIDE), dtype=np.float32)
    matrix[np.arange(SIDE), first] = 1 - share
    matrix[np.arange(SIDE), first + 1] += share
    return matrix


def _samples(scale: float, shift: float, count: int, size: int) -> tuple[NDArray[np.int64], Map]:
    """For each of `count` pixels the first of the two of `size` that it lies between, and the share of the second."""
    place = (np.arange(count) + 0.5) / count * 2 - 1
    pixel = np.clip((scale * place + shift + 1) / 2 * size - 0.5, 0, size - 1)
    first = np.minimum(pixel.astype(np.int64), size - 2)
    return first, (pixel - first).astype(np.float32)
