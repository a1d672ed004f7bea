"""Battery of a stress test: the trials that a model goes through."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pneumoscope.stress.alterations import ALTERATIONS, Alteration
from pneumoscope.stress.corruptions import CORRUPTIONS, Corruption
from pneumoscope.stress.radiographs import Pixels, Radiographs
from pneumoscope.stress.transplants import TRANSPLANTS, Transplant, storage

UNALTERED = "unaltered"
# Images of a corruption at a strength: each costs as much as an alteration, and there are 115.
CORRUPTED = 120


@dataclass(frozen=True)
class Trial:
    """Images that are shown to the model: radiographs of a set, altered in one way.

    Attributes:
        name: Name, one of its own.
        alter: Radiograph at a position of the set, and a generator, to its image.
        most: Number of radiographs, of which half are of each class; None for all.
    """

    name: str
    alter: Alteration
    most: int | None = None

    def positions(self, radiographs: Radiographs) -> NDArray[np.int64]:
        """Positions of the radiographs that are shown."""
        return np.arange(len(radiographs)) if self.most is None else radiographs.sample(self.most)

    def image(self, radiographs: Radiographs, position: int) -> Pixels:
        """Image of the radiograph at a position; the same at every call."""
        return self.alter(radiographs, position, np.random.default_rng([zlib.crc32(self.name.encode()), position]))


def same_class(what: str) -> str:
    """Name of the trial in which a property is that of another radiograph of the same class."""
    return f"{what} of its class"


def other_class(what: str) -> str:
    """Name of the trial in which a property is that of a radiograph of the other class."""
    return f"{what} of the other class"


def at_strength(corruption: str, strength: int) -> str:
    """Name of a corruption's trial at a strength, 1 to 5."""
    return f"{corruption} {strength}"


def battery(corrupted: int = CORRUPTED) -> tuple[Trial, ...]:
    """Trials in the order in which they are run.

    Args:
        corrupted: Number of radiographs for each corruption and strength; 0 for none.
    """
    shortcuts = [Trial(UNALTERED, _unaltered), *_transplants(), *(Trial(*each) for each in ALTERATIONS.items())]
    return (*shortcuts, *(_corruptions(corrupted) if corrupted else ()))


def _unaltered(radiographs: Radiographs, position: int, rng: np.random.Generator) -> Pixels:
    return np.asarray(radiographs.images[position])


def _transplants() -> Iterator[Trial]:
    for what, transplant in TRANSPLANTS.items():
        yield Trial(same_class(what), partial(_of_same_class, transplant))
        yield Trial(other_class(what), partial(_of_other_class, transplant))


def _of_other_class(
    transplant: Transplant, radiographs: Radiographs, position: int, rng: np.random.Generator
) -> Pixels:
    return transplant(radiographs[position], radiographs[int(radiographs.donors[False][position])])


def _of_same_class(transplant: Transplant, radiographs: Radiographs, position: int, rng: np.random.Generator) -> Pixels:
    donor = radiographs[int(radiographs.donors[True][position])]
    if transplant is TRANSPLANTS["lungs"]:
        # Lungs come with traces of how their image was stored, which cannot all be taken away: here they have the same, so that
        # the two trials differ in the lungs alone.
        other = radiographs[int(radiographs.donors[False][position])]
        donor = replace(donor, image=storage(donor, other))
    return transplant(radiographs[position], donor)


def _corruptions(count: int) -> Iterator[Trial]:
    for name, (corruption, strengths) in CORRUPTIONS.items():
        for number, strength in enumerate(strengths, 1):
            yield Trial(at_strength(name, number), partial(_corrupted, corruption, strength), count)


def _corrupted(
    corruption: Corruption, strength: float, radiographs: Radiographs, position: int, rng: np.random.Generator
) -> Pixels:
    return corruption(radiographs.images[position], strength, rng)
