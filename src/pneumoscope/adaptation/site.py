"""A site's labelled images, described: what the bundle's networks, the files and the headers say of each.

Descriptions are kept beside the new bundle, some images a file, until it is made: after a kill, the same command goes on with
the next image.
"""

import io
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.assessment.acceptance import with_table
from pneumoscope.config import Preprocessing
from pneumoscope.data.export_variants import EXPORT_VARIANTS
from pneumoscope.data.index import measure
from pneumoscope.data.patients import patients_of
from pneumoscope.data.sources import Source, SourceImage
from pneumoscope.errors import DataError, UnreadableImage, listed
from pneumoscope.evaluation.metrics import Floats, Ints
from pneumoscope.files import as_json, atomic_write, sha256_or_empty, write_text
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.inference.population import Descriptions
from pneumoscope.inference.tasks import Each, Task
from pneumoscope.progress import Progress
from pneumoscope.types import STATISTICS, Etiology, Finding, ImageHeader, ImageStatistics, NamedImage

if TYPE_CHECKING:
    from pneumoscope.inference.detector import Detector

# Images and patients of a class below which nothing that is measured means anything.
FEWEST_IMAGES, FEWEST_PATIENTS = 20, 5
# Images of a task: a kill costs no more descriptions than these.
_TASK = 16
# Images of a site, variants included, below which each gets more variants, and the largest number of these.
_DESCRIBED, _MOST_VARIANTS = 400, 4
# Adaptive equalisation needs a package that the base installation has not.
_VARIANTS = [vary for name, vary in EXPORT_VARIANTS.items() if name != "adaptively equalised"]
# Properties of a file and its grey levels, each of which could tell the label.
FILE_PROPERTIES = (
    *("width", "height", "aspect ratio", "bytes per pixel"),
    *("JPEG quantisation", "sharpness", "contrast", "brightness"),
)


@dataclass(frozen=True)
class RejectedImage:
    """Labelled image that is rejected.

    Attributes:
        positive: Whether its label is the positive class.
        patient: Its patient.
        header: Age, sex and view, from the table or the header.
        reason: Reason of the rejection.
    """

    positive: bool
    patient: str
    header: ImageHeader
    reason: str


@dataclass(frozen=True)
class SiteImages:
    """Labelled images of a site that the parent bundle does not reject.

    Attributes:
        label: (n,) int, 0 for the negative class; with `etiologies` 1 for bacterial and 2 for viral, else 1 for positive.
        etiologies: Whether the labels distinguish bacterial and viral.
        paths: (n,) path of each image in its source.
        sha256: (n,) hashes of the files.
        patients: (n,) patient of each image; images of one file content have one patient.
        known_patients: Whether a table, file names or headers say whose the images are.
        headers: (n,) age, sex and view of each image, from the table or the header.
        parent_probability: (n, classes) probabilities as the parent calibrates them.
        features: (n, channels) features of the parent's network.
        guard: (n,) descriptions by which the guard compares images with a population.
        variants: Descriptions of export variants of the images.
        origin: (variants,) int, position of the image that each variant is made of.
        statistics: (n,) statistics of the images.
        file_properties: (n, 8) values of `FILE_PROPERTIES`; NaN where unknown.
        style: (n, 33) acquisition features: spectrum, grey levels, corner markers.
        rejected_images: Further images, which the parent rejected.
    """

    label: Ints
    etiologies: bool
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    patients: tuple[str, ...]
    known_patients: bool
    headers: tuple[ImageHeader, ...]
    parent_probability: Floats
    features: NDArray[np.float32]
    guard: Descriptions
    variants: Descriptions
    origin: Ints
    statistics: tuple[ImageStatistics, ...]
    file_properties: Floats
    style: Floats
    rejected_images: tuple[RejectedImage, ...]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(n,) bool, images of the positive class."""
        return np.asarray(self.label > 0)

    @property
    def rejected(self) -> dict[str, int]:
        """Reason to number of rejected images, the most frequent first."""
        return dict(Counter(each.reason for each in self.rejected_images).most_common())


@dataclass(frozen=True)
class _Described:
    """One image as a worker describes it; `row` is empty for a rejected image.

    Attributes:
        sha256: Hash of the file.
        reason: Reason of a rejection; empty for none.
        header: Header of a DICOM object; None for another file.
        row: Name to (k,) values.
    """

    sha256: str
    reason: str
    header: ImageHeader | None
    row: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class DescribeImages(Task[_Described]):
    """Descriptions of image files.

    Attributes:
        variants: Number of export variants of each image that are described as well.
        rejected_too: Whether images that are rejected for their pixels are described as well.
    """

    variants: int = 1
    rejected_too: bool = False

    def run(self, detector: "Detector", each: Each) -> list[_Described]:
        """Describes all images."""
        return [_describe(detector, str(image), self) for image in each(self.images)]

    def reject(self, detector: "Detector", cause: str) -> list[_Described]:
        """Rejects all images as unreadable."""
        return [_Described("", "unreadable", None, {}) for _ in self.images]


def _describe(detector: "Detector", path: str, wanted: DescribeImages) -> _Described:
    from pneumoscope.data.acquisition_clusters import acquisition_features
    from pneumoscope.data.preprocessing import prepare
    from pneumoscope.data.reading import read_bytes, read_grey

    try:
        content = read_bytes(Path(path))
    except UnreadableImage:
        return _Described("", "unreadable", None, {})
    [score] = detector.score_many([NamedImage(path, content)], rejected_too=wanted.rejected_too, described=True)
    rejected = score.rejection is not None and not wanted.rejected_too
    if score.description is None or score.statistics is None or rejected:
        return _Described(score.sha256, score.rejection.value if score.rejection else "", score.header, {})
    pixels = read_grey(Path(path), content)
    found, (height, width) = measure(pixels, content), pixels.shape
    square = prepare(pixels, Preprocessing())
    properties = (width, height, width / height, found.bytes_per_pixel, found.quantisation)
    return _Described(
        score.sha256,
        "",
        score.header,
        {
            "probability": np.asarray(score.class_probability),
            "features": score.description.features,
            "guard_features": score.description.guard_features,
            "layout": score.description.layout,
            "exposure": score.description.exposure,
            "statistics": np.array([getattr(score.statistics, name) for name in STATISTICS]),
            "properties": np.array([*properties, found.sharpness, found.contrast, found.brightness]),
            "style": acquisition_features(square[None])[0],
            **(_describe_variants(detector, square, score.sha256, wanted.variants) if wanted.variants else {}),
        },
    )


def _describe_variants(
    detector: "Detector", square: NDArray[np.uint8], sha256: str, count: int
) -> dict[str, NDArray[np.floating]]:
    """Descriptions of export variants, chosen by the hash of the file, so that they depend on nothing else."""
    rng = np.random.default_rng(int(sha256[:16], 16))
    varied = [_VARIANTS[i](square, rng) for i in rng.permutation(len(_VARIANTS))[:count]]
    found = [score.description for score in detector.score_many(varied, rejected_too=True, described=True)]
    return {
        "variant_features": np.stack([each.guard_features for each in found if each]),
        "variant_layout": np.stack([each.layout for each in found if each]),
        "variant_exposure": np.stack([each.exposure for each in found if each]),
    }


class Resumable:
    """Descriptions of a site's images on disk, which survive a kill.

    Attributes:
        folder: Folder of the descriptions.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Opens the descriptions of an interrupted command with the same settings, else begins new ones."""
        self.folder = folder
        self._header = as_json(dict(settings))
        header = folder / "settings.json"
        try:
            known = header.read_text(encoding="utf-8") == self._header
        except OSError:
            known = False
        if not known:
            self.discard()
            write_text(header, self._header)

    def load(self, number: int, files: Sequence[Path]) -> list[_Described] | None:
        """Descriptions of some files; None where there are none, or the files have changed."""
        try:
            content = (self.folder / f"{number:06}.npz").read_bytes()
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                arrays = dict(stored)
            facts = json.loads(str(arrays.pop("facts")))
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None
        described = [
            _Described(
                fact["sha256"],
                fact["reason"],
                ImageHeader(**fact["header"]) if fact["header"] else None,
                {name.split("/")[1]: values for name, values in arrays.items() if name.split("/")[0] == str(i)},
            )
            for i, fact in enumerate(facts)
        ]
        same = len(described) == len(files) and all(
            each.sha256 and each.sha256 == sha256_or_empty(file) for each, file in zip(described, files, strict=True)
        )
        return described if same else None

    def save(self, number: int, described: Sequence[_Described]) -> None:
        """Stores descriptions."""
        facts = [
            {"sha256": each.sha256, "reason": each.reason, "header": vars(each.header) if each.header else None}
            for each in described
        ]
        arrays: dict[str, Any] = {
            f"{i}/{name}": values for i, each in enumerate(described) for name, values in each.row.items()
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, facts=np.array(json.dumps(facts)))
        with atomic_write(self.folder / f"{number:06}.npz") as temporary:
            temporary.write_bytes(buffer.getvalue())

    def discard(self) -> None:
        """Removes the descriptions."""
        shutil.rmtree(self.folder, ignore_errors=True)


def describe_site(
    pool: WorkerPool, source: Source, stored: Resumable, progress: Progress, rejected_too: bool = False
) -> SiteImages:
    """Describe a site's labelled images.

    Args:
        pool: Worker processes.
        source: Labelled images.
        stored: Descriptions of an interrupted command, and those that follow.
        progress: Callback with the number of images done and their total.
        rejected_too: Whether images that the bundle of the pool rejects for their pixels are described like the others.

    Raises:
        DataError: The images lie in an archive, or all are rejected.
    """
    if source.layout == "medmnist":
        raise DataError(
            f"expected each image in a file of its own, found the archive {source.root}: unpack it into a folder"
        )
    described: list[_Described] = []
    for batch in _described(pool, source, stored, rejected_too):
        described += batch
        progress(len(described), len(source.images))
    return _joined(source, described)


def in_tasks(files: Sequence[Path]) -> list[Sequence[Path]]:
    """Files of each task, in their order."""
    return [files[start : start + _TASK] for start in range(0, len(files), _TASK)]


def _described(pool: WorkerPool, source: Source, stored: Resumable, rejected_too: bool) -> Iterator[list[_Described]]:
    """Descriptions of the images of a source, in their order."""
    files = in_tasks([source.file_of(image.path) for image in source.images])
    earlier = [stored.load(number, batch) for number, batch in enumerate(files)]
    variants = min(_MOST_VARIANTS, 1 + _DESCRIBED // len(source.images))
    fresh = pool.run(
        DescribeImages([str(file) for file in batch], variants, rejected_too)
        for batch, found in zip(files, earlier, strict=True)
        if found is None
    )
    for number, found in enumerate(earlier):
        if found is None:
            found = next(fresh)
            stored.save(number, found)
        yield found


def _joined(source: Source, described: Sequence[_Described]) -> SiteImages:
    pairs = _once(list(zip(source.images, described, strict=True)))
    patient_of, known_of = patients_of(
        [image for image, _ in pairs], [each.header for _, each in pairs], [each.sha256 for _, each in pairs]
    )
    rejected = tuple(
        RejectedImage(
            image.finding is Finding.PNEUMONIA,
            patient,
            with_table(each.header, image.groups),
            each.reason or "unreadable",
        )
        for (image, each), patient in zip(pairs, patient_of, strict=True)
        if not each.row
    )
    is_usable = [bool(each.row) for _, each in pairs]
    usable = list(compress(pairs, is_usable))
    if not usable:
        reasons = Counter(each.reason for each in rejected).most_common()
        raise DataError(
            f"expected frontal chest radiographs in {source.root}, found none: {len(described)} images are rejected "
            f"({listed(f'{count} {reason}' for reason, count in reasons)})"
        )
    images, found = [image for image, _ in usable], [each for _, each in usable]
    patients, known = list(compress(patient_of, is_usable)), list(compress(known_of, is_usable))
    etiologies = _tells_etiologies(images, patients)
    rows = {name: np.stack([each.row[name] for each in found]) for name in found[0].row}
    return SiteImages(
        np.array([_label(image, etiologies) for image in images], dtype=np.int64),
        etiologies,
        tuple(image.path for image in images),
        tuple(each.sha256 for each in found),
        tuple(patients),
        all(known),
        tuple(with_table(each.header, image.groups) for image, each in usable),
        rows["probability"].astype(np.float64),
        rows["features"],
        Descriptions(rows["guard_features"], rows["layout"], rows["exposure"]),
        Descriptions(*(np.concatenate(rows[f"variant_{name}"]) for name in ("features", "layout", "exposure"))),
        np.repeat(np.arange(len(images)), rows["variant_features"].shape[1]),
        tuple(ImageStatistics(*map(float, values)) for values in rows["statistics"]),
        rows["properties"],
        rows["style"],
        rejected,
    )


def _tells_etiologies(images: Sequence[SourceImage], patients: Sequence[str]) -> bool:
    """Whether the etiology of every pneumonia is known, and each has enough images and patients to be learnt."""
    of = {
        etiology: [patient for image, patient in zip(images, patients, strict=True) if image.etiology is etiology]
        for etiology in Etiology
    }
    return not of[Etiology.UNKNOWN] and all(
        len(of[each]) >= FEWEST_IMAGES and len(set(of[each])) >= FEWEST_PATIENTS
        for each in (Etiology.BACTERIAL, Etiology.VIRAL)
    )


def _once(pairs: list[tuple[SourceImage, _Described]]) -> list[tuple[SourceImage, _Described]]:
    """Images without copies of the same bytes; those that could not be read have none."""
    first: dict[str, tuple[SourceImage, _Described]] = {}
    for image, each in pairs:
        first.setdefault(each.sha256 or image.path, (image, each))
    return list(first.values())


def _label(image: SourceImage, etiologies: bool) -> int:
    if image.finding is Finding.NORMAL:
        return 0
    return 2 if etiologies and image.etiology is Etiology.VIRAL else 1
