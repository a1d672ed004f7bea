"""Radiographs of a stress test: labelled radiographs, where the chest lies in each, and who gives a property to whom."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pneumoscope.config import Preprocessing
from pneumoscope.data.acquisition_clusters import CLUSTER_COUNT, fit_clusters
from pneumoscope.data.alignment import ChestFrame, load_atlas
from pneumoscope.data.loading import LoadedRadiographs
from pneumoscope.data.patients import patients_of
from pneumoscope.data.preprocessing import prepare
from pneumoscope.data.sources import Source
from pneumoscope.errors import DataError, InputError, UnreadableImage
from pneumoscope.evaluation.intervals import patient_numbers
from pneumoscope.progress import Progress, ignored
from pneumoscope.types import Finding, Split

Pixels = NDArray[np.uint8]

# Images of a class below which figures say nothing.
FEWEST = 10
# Patients of a class below which intervals over patients say nothing.
FEWEST_PATIENTS = 5
# Side below which an image has too few blocks to tell how it is stored, pixels.
SMALLEST = 96
# Ways to hand out donors that are tried, for the one in which fewest images have a donor of their own patient.
_TURNS = 20
# Side of the images, pixels, and radiographs for each acquisition cluster among them.
SIDE = 224
_PER_CLUSTER = 25


@dataclass(frozen=True)
class Radiograph:
    """Radiograph with the frame of its chest.

    Attributes:
        image: (side, side) uint8.
        frame: Frame of the chest.
    """

    image: Pixels
    frame: ChestFrame


@dataclass(frozen=True, eq=False)
class Radiographs:
    """Labelled radiographs of one size.

    Attributes:
        images: (n, side, side) uint8, squashed to a square.
        positive: (n,) bool, whether each shows what the model detects.
        patients: (n,) patient of each image.
        names: (n,) name of each image.
        clusters: (n,) int, acquisition cluster of each image; None where these are unknown.
        file_sha256: SHA-256 of each image's file; empty where these are unknown.

    Raises:
        InputError: Other shapes or types, fewer than ten images or five patients of a class, or images that are too small.
    """

    images: Pixels
    positive: NDArray[np.bool_]
    patients: Sequence[str]
    names: Sequence[str]
    clusters: NDArray[np.int64] | None = None
    file_sha256: Sequence[str] = ()

    def __post_init__(self) -> None:
        count, shape = len(self.positive), self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 3 or shape[1] != shape[2] or shape[1] < SMALLEST:
            raise InputError(
                f"expected (n, side, side) uint8 images with a side of at least {SMALLEST}, found {shape} {self.images.dtype}: "
                "convert them to grey levels of 8 bits and resize them to squares"
            )
        if self.positive.dtype != np.bool_:
            raise InputError(f"expected bool labels, found {self.positive.dtype}: compare them with the positive class")
        lengths = {len(each) for each in (self.images, self.patients, self.names, self.clusters) if each is not None}
        if lengths != {count}:
            raise InputError(
                f"expected an image, a patient and a name for each of {count} labels, found {sorted(lengths)}"
            )
        smaller = min(int(self.positive.sum()), int((~self.positive).sum()))
        if smaller < FEWEST:
            raise InputError(f"expected at least {FEWEST} images of each class, found {smaller} of one: add images")
        of_class = [
            {patient for patient, own in zip(self.patients, self.positive, strict=True) if own == which}
            for which in (False, True)
        ]
        if (patients := min(map(len, of_class))) < FEWEST_PATIENTS:
            raise InputError(
                f"expected images of at least {FEWEST_PATIENTS} patients of each class, found {patients} of one: intervals are over patients"
            )

    @classmethod
    def of(cls, loaded: LoadedRadiographs, positions: NDArray[np.int64] | None = None) -> Self:
        """Radiographs from `pneumoscope.data.load`, with their acquisition clusters.

        Args:
            loaded: Loaded radiographs.
            positions: (n,) int, those that are wanted, such as the held-out ones of a fold; all where None.

        Raises:
            InputError: Fewer than ten images or five patients of a class, or images that are too small.
        """
        chosen = np.arange(len(loaded)) if positions is None else np.asarray(positions)
        patients, names, sha256 = (
            each[chosen].tolist() for each in (loaded.patients, loaded.names, loaded.file_sha256)
        )
        images, positive = np.asarray(loaded.images[chosen]), loaded.positive[chosen]
        return cls(images, positive, patients, names, loaded.clusters[chosen], sha256)

    def __len__(self) -> int:
        return len(self.positive)

    def __getitem__(self, position: int) -> Radiograph:
        return Radiograph(self.images[position], self.frames[position])

    @cached_property
    def frames(self) -> tuple[ChestFrame, ...]:
        """Frame of the chest in each image."""
        atlas = load_atlas()
        return tuple(atlas.locate_chest(image) for image in self.images)

    @cached_property
    def donors(self) -> dict[bool, NDArray[np.int64]]:
        """(n,) int, for each image another one: of its class (True), of the other (False); of another patient as far as there is one.

        Within a class every image gives once. Of the other class each gives as often as any other, as nearly as the sizes of the classes
        allow, so that the altered images have the property as the class has it.
        """
        rng = np.random.default_rng(0)
        patient = patient_numbers(self.patients)
        donors = {same: np.zeros(len(self), dtype=np.int64) for same in (True, False)}
        for which in (False, True):
            own, other = np.flatnonzero(self.positive == which), np.flatnonzero(self.positive != which)
            # By patient: the next patient's images begin at most as far away as the largest patient has images.
            own = own[np.lexsort((rng.random(len(own)), rng.permutation(patient.max() + 1)[patient[own]]))]
            donors[True][own] = np.roll(own, -int(np.bincount(patient[own]).max()))
            drawn = np.resize(rng.permutation(other), len(own))
            turned = [np.roll(drawn, turn) for turn in range(min(len(drawn), _TURNS))]
            donors[False][own] = min(turned, key=lambda each: int((patient[each] == patient[own]).sum()))
        return donors

    @cached_property
    def sha256(self) -> str:
        """Hash of the images, their labels and their donors."""
        digest = hashlib.sha256(np.packbits(self.positive).tobytes())
        digest.update(self.donors[True].tobytes() + self.donors[False].tobytes())
        for image in self.images:
            digest.update(np.ascontiguousarray(image).tobytes())
        return digest.hexdigest()

    def sample(self, count: int) -> NDArray[np.int64]:
        """Positions of at most so many radiographs, both classes by halves as far as they go, evenly over their order."""
        smaller, larger = sorted((np.flatnonzero(self.positive == which) for which in (False, True)), key=len)
        few = min(len(smaller), max(FEWEST, count // 2))
        many = min(len(larger), max(FEWEST, count - few))
        taken = [
            own[np.linspace(0, len(own) - 1, n).round().astype(int)] for own, n in ((smaller, few), (larger, many))
        ]
        return np.sort(np.concatenate(taken))


def read_radiographs(
    source: Source,
    split: Split | None,
    side: int = SIDE,
    progress: Progress = ignored,
    skip_unreadable: bool = False,
) -> Radiographs:
    """Radiographs of a data set, squashed to squares, with the acquisition clusters among them.

    Args:
        source: Labelled images.
        split: Split whose images are read; None for all.
        side: Side of the squares, pixels.
        progress: Callback with the number of images done and their total.
        skip_unreadable: Whether images that cannot be read are left out.

    Raises:
        DataError: No image of the split.
        UnreadableImage: Image that cannot be read.
        InputError: Fewer than ten images of a class.
    """
    listed = [image for image in source.images if split in (None, image.split)]
    if not listed:
        raise DataError(f"expected {split} images in {source.root}, found none: name another --split")
    settings = Preprocessing(side, side)
    chosen, images, digests = [], [], []
    for done, image in enumerate(listed, 1):
        try:
            content = source.bytes_of(image.path)
            images.append(prepare(source.read(image.path, content), settings))
            digests.append(hashlib.sha256(content).hexdigest())
            chosen.append(image)
        except (OSError, UnreadableImage):
            if not skip_unreadable:
                raise
        progress(done, len(listed))
    if not chosen:
        raise DataError(f"expected readable images in {source.root}, found none: check the files")
    pixels = np.stack(images)
    patients, _ = patients_of(chosen, [None] * len(chosen), digests)
    positive = np.array([image.finding is Finding.PNEUMONIA for image in chosen])
    count = min(CLUSTER_COUNT, len(chosen) // _PER_CLUSTER)
    clusters = fit_clusters(pixels, count).predict(pixels) if count > 1 else None
    return Radiographs(pixels, positive, patients, [image.path for image in chosen], clusters, digests)
