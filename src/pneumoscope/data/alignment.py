"""Alignment of chest radiographs: the stretches and shifts that bring a chest into the frame of the mean chest.

An image shows more or less of the neck, the arms and the abdomen, and a file squashed to a square stretches the chest by the
aspect ratio of the image; both differ between the classes of the public training images (see the data card). The atlas is the
mean of many chests, each aligned to the mean of all of them (congealing); no organ is outlined by hand.

Search. A frame has a scale and a shift along each axis. The one sought has the largest correlation with the atlas, at
32 x 32, less a penalty for unusual frames. The axes are searched in turn (coordinate ascent): three sweeps over a grid of
19 scales x 21 shifts, then two refinements over 5 x 5 within three quarters of a grid step.

Correlation. A warp along one axis is an interpolation matrix W (32 x 32) with two neighbouring entries 1 - w and w in a row.
With H the image warped along the other axis already, and T the atlas (mean 0, length 1), a candidate W has the correlation
    <T, W H> / sqrt(|W H|^2 - sum(W H)^2 / 32^2)
whose terms follow, for all 399 candidates at once, from products of rows that do not depend on W:
    <T, W H>   = sum over r of (1 - w_r) <T_r, H_i(r)> + w_r <T_r, H_i(r)+1>    from the matrix T H'
    sum(W H)   = sum over i of (column sum of W)_i sum(H_i)
    |W H|^2    = sum over i of (column sum of W^2)_i |H_i|^2 + 2 sum over i of (sum over r of W_ri W_r,i+1) <H_i, H_i+1>
so that no candidate is warped.

Source: Learned-Miller, Data driven image models through continuous joint alignment, IEEE TPAMI 2006,
doi 10.1109/TPAMI.2006.34.
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

_SIZE = 32
# Side of the grid of a layout: cells of 2 x 2, few enough that anatomy counts and not its details.
_LAYOUT_SIZE = 16
LAYOUT_LENGTH = _LAYOUT_SIZE**2
# Grid of frame sizes, as fractions of the image, and of centres, in half images: the range that occurs, with a margin.
_SCALES = np.exp(np.linspace(np.log(0.52), np.log(1.25), 19))
_SHIFTS = np.linspace(-0.4, 0.4, 21)
# Scale at which the search starts and mean scale of the atlas: smaller than the chest in most images, so that even an image
# that ends at the ribs contains the whole frame.
_MEAN_SCALE = 0.84
# Penalties on the correlation for unusual frames, small enough to decide only where the image shows little.
_SCALE_PENALTY, _SHIFT_PENALTY = 0.02 / 0.3**2, 0.01 / 0.25**2
_SWEEPS = 3
_REFINEMENTS = 2
# Length below which a map counts as blank: it has no direction to correlate.
_BLANK = 1e-6


@dataclass(frozen=True)
class ChestFrame:
    """Frame around the chest in an image.

    Attributes:
        scale_y: Height of the frame, as a fraction of the image's height.
        shift_y: Offset of its centre from the image's centre, in half heights of the image, positive downwards.
        scale_x: Width of the frame, as a fraction of the image's width.
        shift_x: Offset of its centre, in half widths of the image, positive to the right.
        similarity: Correlation of the frame's content with the atlas, in [-1, 1]; low for anything but a frontal chest image.
    """

    scale_y: float
    shift_y: float
    scale_x: float
    shift_x: float
    similarity: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Top, left, bottom and right, as fractions of the image's height and width."""
        centre_y, centre_x = (1 + self.shift_y) / 2, (1 + self.shift_x) / 2
        return (
            centre_y - self.scale_y / 2,
            centre_x - self.scale_x / 2,
            centre_y + self.scale_y / 2,
            centre_x + self.scale_x / 2,
        )


@dataclass(frozen=True)
class ChestAtlas:
    """Mean chest.

    Attributes:
        template: (32, 32) float64, mean 0 and length 1.
    """

    template: Map

    def locate_chest(self, image: Pixels) -> ChestFrame:
        """Frame of an image, (height, width) uint8, whose content is most similar to the atlas."""
        return self.align(image)[0]

    def align(self, image: Pixels) -> tuple[ChestFrame, Map]:
        """Frame of an image, (height, width) uint8, most similar to the atlas, and its content, (32, 32) float64."""
        reduced = _reduce(image)
        maps, templates = (reduced, reduced.T), (self.template, self.template.T)
        warps = [_AxisWarp.default(), _AxisWarp.default()]

        def best(grid: _WarpGrid, axis: int) -> _AxisWarp:
            return grid.best(maps[axis] @ warps[1 - axis].matrix.T, templates[axis])

        for step, axis in enumerate((0, 1) * _SWEEPS):
            found = best(_full_grid(), axis)
            # Where the warp of an axis stays, so does that of the other, which followed from it.
            if step > 0 and found == warps[axis]:
                break
            warps[axis] = found
        for axis in (0, 1) * _REFINEMENTS:
            warps[axis] = best(warps[axis].neighbours(), axis)
        y, x = warps
        content: Map = y.matrix @ reduced @ x.matrix.T
        return ChestFrame(y.scale, y.shift, x.scale, x.shift, self._correlation(content)), content

    def similarity(self, image: Pixels) -> float:
        """Correlation with the atlas, in [-1, 1], of an aligned image, (height, width) uint8."""
        return self._correlation(_reduce(image))

    def _correlation(self, warped: Map) -> float:
        return float((_normalise(warped) * self.template).sum())


def resample_frame(image: Pixels, frame: ChestFrame, height: int, width: int) -> Pixels:
    """Content of a frame as (height, width) uint8, bilinear; pixels beyond the image repeat its edge.

    Each pixel is a sum of two products in a fixed order, so that every machine gives the same bytes.
    """
    row, row_weight = _sample_positions(frame.scale_y, frame.shift_y, height, image.shape[0])
    column, column_weight = _sample_positions(frame.scale_x, frame.shift_x, width, image.shape[1])
    # Transposed after the first axis, so that both are gathered as whole rows.
    upper, lower = (image[each].T.astype(np.float32, order="C") for each in (row, row + 1))
    columns = _interpolate(upper, lower, row_weight.astype(np.float32))
    result = _interpolate(columns[column], columns[column + 1], column_weight.astype(np.float32)[:, None])
    return np.ascontiguousarray(np.rint(result, out=result).astype(np.uint8).T)


def chest_layout(content: Map) -> NDArray[np.float32]:
    """Layout of the chest: ranks of the mean grey levels of a 16 x 16 grid over its frame.

    Ranks stay the same whatever tone curve, window or noise a station applies.

    Args:
        content: (32, 32) content of the frame, as `ChestAtlas.align` gives it.

    Returns:
        (256,) float32 in (-0.5, 0.5), row by row; equal grey levels share their mean rank.
    """
    cells = content.reshape(_LAYOUT_SIZE, _SIZE // _LAYOUT_SIZE, _LAYOUT_SIZE, -1).mean(axis=(1, 3)).ravel()
    # Rounded, so that the last bits of a sum, which differ between processors, decide no rank.
    _, position, count = np.unique(np.rint(4 * cells), return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count + 1) / 2
    return np.asarray((rank[position] + 0.5) / len(cells) - 0.5, dtype=np.float32)


def fit_atlas(images: NDArray[np.uint8], rounds: int = 3) -> ChestAtlas:
    """Fit the mean chest: align every image to the mean, average the aligned images, repeat.

    Args:
        images: (n, height, width) uint8.
        rounds: Number of alternations of alignment and averaging.

    Raises:
        InputError: No image.
    """
    if len(images) == 0:
        raise InputError("expected films to learn the atlas from, found none: add films")
    reduced = [_reduce(image) for image in images]
    default = _AxisWarp.default().matrix
    atlas = _mean_atlas([default @ each @ default.T for each in reduced])
    for _ in range(rounds):
        frames = _recentre([atlas.locate_chest(image) for image in images])
        atlas = _mean_atlas([_warp(each, frame) for each, frame in zip(reduced, frames, strict=True)])
    return atlas


def _recentre(frames: list[ChestFrame]) -> list[ChestFrame]:
    """Frames with the default scale and no shift on average; without this they drift from round to round."""
    scales = np.log([(frame.scale_y, frame.scale_x) for frame in frames])
    scales += np.log(_MEAN_SCALE) - scales.mean(axis=0)
    shifts = np.array([(frame.shift_y, frame.shift_x) for frame in frames])
    shifts -= shifts.mean(axis=0)
    return [
        ChestFrame(float(scale_y), float(shift_y), float(scale_x), float(shift_x), 0.0)
        for (scale_y, scale_x), (shift_y, shift_x) in zip(np.exp(scales), shifts, strict=True)
    ]


@lru_cache
def load_atlas() -> ChestAtlas:
    """Load the atlas that ships with the package; `scripts/learn_atlas.py` fitted it to training images."""
    with files("pneumoscope.data").joinpath("chest_atlas.npy").open("rb") as stream:
        return ChestAtlas(np.load(stream, allow_pickle=False).astype(np.float64))


def _mean_atlas(maps: Sequence[NDArray[np.floating]]) -> ChestAtlas:
    return ChestAtlas(_normalise(np.mean([_normalise(m) for m in maps], axis=0)))


def _warp(reduced: Map, frame: ChestFrame) -> Map:
    """(32, 32) float64, content of a frame of a reduced image."""
    y = _interpolation_matrix(frame.scale_y, frame.shift_y)
    x = _interpolation_matrix(frame.scale_x, frame.shift_x)
    return np.asarray(y @ reduced @ x.T)


def _reduce(image: Pixels) -> Map:
    """(32, 32) float64, an image at the atlas' size."""
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((_SIZE, _SIZE), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float64)


def _normalise(maps: NDArray[np.floating]) -> Map:
    """Maps of mean 0 and length 1 over the last two axes; a blank map stays 0."""
    centred = maps - maps.mean(axis=(-2, -1), keepdims=True)
    length = np.sqrt(np.square(centred).sum(axis=(-2, -1), keepdims=True))
    return np.asarray(centred / np.maximum(length, _BLANK))


@dataclass(frozen=True)
class _AxisWarp:
    """Scale and shift of a frame along one axis."""

    scale: float
    shift: float

    @property
    def matrix(self) -> Map:
        """(32, 32) float64 interpolation matrix."""
        return _interpolation_matrix(self.scale, self.shift)

    @staticmethod
    def default() -> "_AxisWarp":
        return _AxisWarp(_MEAN_SCALE, 0.0)

    def neighbours(self) -> "_WarpGrid":
        """This warp and those within three quarters of a grid step around it."""
        return _neighbours(self.scale, self.shift)


@dataclass(frozen=True)
class _WarpGrid:
    """Candidate warps along one axis, with the sums over their matrices W that correlations follow from.

    Attributes:
        scale: (n,) scale of each candidate.
        shift: (n,) shift of each candidate.
        flat_index: (n, 32) int, 32 * r + i, where row r of the warped map lies between rows i and i + 1 of the map.
        upper_weight: (n, 32) weight w_r of row i + 1, in [0, 1]; row i has the weight 1 - w_r.
        column_sum: (n, 32) sum over r of W_ri.
        square_sum: (n, 32) sum over r of W_ri^2.
        cross_sum: (n, 31) twice the sum over r of W_ri W_r,i+1.
        penalty: (n,) reduction of the correlation for an unusual scale or shift.
    """

    scale: Map
    shift: Map
    flat_index: NDArray[np.int64]
    upper_weight: Map
    column_sum: Map
    square_sum: Map
    cross_sum: Map
    penalty: Map

    @staticmethod
    def product(scales: Map, shifts: Map) -> "_WarpGrid":
        """All combinations of scales and shifts."""
        scale, shift = (grid.ravel() for grid in np.meshgrid(scales, shifts, indexing="ij"))
        lower, upper_weight = _sample_positions(scale[:, None], shift[:, None], _SIZE, _SIZE)
        lower_weight, entry = 1 - upper_weight, lower + _SIZE * np.arange(len(scale))[:, None]
        # The two entries of each row, row by row, as (candidate, column) and their weights.
        entries = np.stack([entry, entry + 1], axis=-1)
        weights = np.stack([lower_weight, upper_weight], axis=-1)
        return _WarpGrid(
            scale,
            shift,
            lower + _SIZE * np.arange(_SIZE),
            upper_weight,
            column_sum=_sums_at(entries, weights, len(scale)),
            square_sum=_sums_at(entries, np.square(weights), len(scale)),
            cross_sum=2 * _sums_at(entry, upper_weight * lower_weight, len(scale))[:, :-1],
            penalty=_SCALE_PENALTY * np.log(scale / _MEAN_SCALE) ** 2 + _SHIFT_PENALTY * shift**2,
        )

    def best(self, half_warped: Map, template: Map) -> _AxisWarp:
        """Candidate with the largest penalised correlation; the formulas stand at the top of the module.

        Args:
            half_warped: (32, 32) H, the map warped along the other axis already.
            template: (32, 32) T, mean 0 and length 1, its rows along this axis.
        """
        row_products = (template @ half_warped.T).ravel()
        numerator = _interpolate(
            row_products[self.flat_index], row_products[self.flat_index + 1], self.upper_weight
        ).sum(axis=1)
        total = _weighted_sums(self.column_sum, half_warped.sum(axis=1))
        neighbour_products = (half_warped[1:] * half_warped[:-1]).sum(axis=1)
        square = _weighted_sums(self.square_sum, np.square(half_warped).sum(axis=1))
        square += _weighted_sums(self.cross_sum, neighbour_products)
        length = np.sqrt(np.maximum(square - total**2 / _SIZE**2, 0.0))
        best = int((numerator / np.maximum(length, _BLANK) - self.penalty).argmax())
        return _AxisWarp(float(self.scale[best]), float(self.shift[best]))


def _weighted_sums(weights: Map, values: Map) -> Map:
    """(n,) sums over r of weights (n, r) times values (r,)."""
    # Not by `@`, which starts threads for so many weights, and they wait for each other where several processes work.
    return np.asarray(np.einsum("nr,r->n", weights, values))


def _sums_at(entries: NDArray[np.int64], values: Map, candidates: int) -> Map:
    """(candidates, 32) sums of the values at each entry, added in their order."""
    sums = np.bincount(entries.ravel(), values.ravel(), candidates * _SIZE)
    return np.asarray(sums, dtype=np.float64).reshape(candidates, _SIZE)


@lru_cache
def _full_grid() -> _WarpGrid:
    return _WarpGrid.product(_SCALES, _SHIFTS)


# Chests lie alike in most images, so that a few grids and matrices serve most calls.
@lru_cache(maxsize=512)
def _neighbours(scale: float, shift: float) -> _WarpGrid:
    steps = np.linspace(-0.75, 0.75, 5)
    scales = scale * np.exp(steps * np.log(_SCALES[1] / _SCALES[0]))
    return _WarpGrid.product(scales, shift + steps * (_SHIFTS[1] - _SHIFTS[0]))


@lru_cache(maxsize=512)
def _interpolation_matrix(scale: float, shift: float) -> Map:
    lower, upper_weight = _sample_positions(scale, shift, _SIZE, _SIZE)
    matrix, row = np.zeros((_SIZE, _SIZE)), np.arange(_SIZE)
    matrix[row, lower], matrix[row, lower + 1] = 1 - upper_weight, upper_weight
    return matrix


def _interpolate(lower: Levels, upper: Levels, upper_weight: Levels) -> Levels:
    return np.asarray(lower * (1 - upper_weight) + upper * upper_weight)


def _sample_positions(
    scale: float | NDArray[np.float64], shift: float | NDArray[np.float64], count: int, size: int
) -> tuple[NDArray[np.int64], Map]:
    """Positions of `count` evenly spaced samples of a frame among `size` pixels: lower neighbour and weight of the upper."""
    centre = (np.arange(count) + 0.5) / count * 2 - 1
    position = np.clip((scale * centre + shift + 1) / 2 * size - 0.5, 0, size - 1)
    lower = np.minimum(position.astype(np.int64), size - 2)
    return lower, position - lower
