"""Index of a source: one row and one measurement per radiograph, sorted by path."""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.config import Preprocessing
from pneumoscope.data.acquisition_clusters import Features, acquisition_features
from pneumoscope.data.patients import patients_of
from pneumoscope.data.preprocessing import prepare
from pneumoscope.data.properties import Value, file_properties, header_properties, table_properties
from pneumoscope.data.sources import Source, SourceImage
from pneumoscope.errors import DataError, UnreadableImage
from pneumoscope.files import sha256_of_lines, write_text
from pneumoscope.progress import Progress
from pneumoscope.types import Etiology, Finding, ImageHeader, IndexRow, Split

# Decoding releases the interpreter lock; more threads are no faster on two cores.
_THREADS = 4
_HASH_SIZE = 16
_MEASURED_SIZE = 224


@dataclass(frozen=True)
class Measurement:
    """Properties of an image's file and grey levels that need no knowledge of the chest.

    Attributes:
        bytes_per_pixel: Size of the file over width times height; NaN for an array in an archive.
        quantisation: Mean of the JPEG luminance table (1-255, higher is coarser); NaN where there is none.
        sharpness: Variance of the second differences at 224 x 224, grey levels squared.
        contrast: Standard deviation of the grey levels at 224 x 224.
        brightness: Mean of the grey levels at 224 x 224.
        difference_hash: 256-bit perceptual hash, 64 hex digits.
    """

    bytes_per_pixel: float
    quantisation: float
    sharpness: float
    contrast: float
    brightness: float
    difference_hash: str


@dataclass(frozen=True)
class Index:
    """All readable images of a source.

    Attributes:
        rows: Sorted by path.
        measurements: One per row; empty for an index that was read back from disk.
        unreadable: Path and reason of every image that could not be read.
        conflicts: Path and reason of every image whose name contradicts its folder.
        unknown_names: Paths whose names identify no patient; each counts as a patient of its own.
        properties: Properties by file, header and table of each image, by name; empty for an index that was read back from disk.
        acquisition: (rows, features) float64, acquisition features of the images; None where they were not wanted.
    """

    rows: tuple[IndexRow, ...]
    measurements: tuple[Measurement, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    conflicts: tuple[tuple[str, str], ...] = ()
    unknown_names: tuple[str, ...] = ()
    properties: tuple[Mapping[str, Value], ...] = ()
    acquisition: Features | None = None

    @property
    def hash(self) -> str:
        """SHA-256 over all rows without their sizes, 64 hex digits: the identity of the data."""
        return sha256_of_lines(
            [
                f"{row.path} {row.sha256} {row.finding} {row.etiology} {row.patient} {row.split}"
                + (f" {row.class_name}" if row.class_name else "")
                for row in self.rows
            ]
        )

    def positions(self, split: Split) -> NDArray[np.int64]:
        """(n,) int, positions in `rows` of the images of a split, ascending."""
        return np.array([i for i, row in enumerate(self.rows) if row.split is split], dtype=np.int64)


@dataclass(frozen=True)
class _Indexed:
    """One image as it was read.

    Attributes:
        row: Row of the index.
        measurement: Measurement.
        properties: Properties by file, header and table.
        header: Header of a DICOM object; None for another file.
        acquisition: (features,) acquisition features; None where they are not wanted.
    """

    row: IndexRow
    measurement: Measurement
    properties: Mapping[str, Value]
    header: ImageHeader | None
    acquisition: Features | None


def build_index(source: Source, progress: Progress | None = None, acquisition: bool = False) -> Index:
    """Read, hash and measure every image of a source.

    Args:
        source: Source, as `open_source` lists it.
        progress: Callback with the numbers of images done and of all; None for none.
        acquisition: Whether to compute the acquisition features of the images, which takes twice as long.

    Returns:
        Index with a measurement per row; images that could not be read are listed in `unreadable`. Patients are those of table, file
        name, DICOM header or folder, in this order.

    Raises:
        DataError: No readable image.
    """
    images, indexed, unreadable = [], [], []
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(lambda image: _index_image(source, image, acquisition), source.images)
        for done, (image, result) in enumerate(zip(source.images, results, strict=True), start=1):
            if isinstance(result, UnreadableImage):
                unreadable.append((image.path, str(result)))
            else:
                images.append(image)
                indexed.append(result)
            if progress is not None:
                progress(done, len(source.images))
    if not indexed:
        raise DataError(f"expected at least one whole image in {source.root}, found none: {unreadable[0][1]}")
    # Without hashes: copies that are of two patients by their names are a finding of the audit.
    patients, known = patients_of(images, [each.header for each in indexed], [""] * len(images))
    return Index(
        tuple(replace(each.row, patient=patient) for each, patient in zip(indexed, patients, strict=True)),
        tuple(each.measurement for each in indexed),
        tuple(unreadable),
        tuple((image.path, image.conflict) for image in images if image.conflict),
        tuple(image.path for image, is_known in zip(images, known, strict=True) if not is_known),
        tuple(each.properties for each in indexed),
        np.stack([each.acquisition for each in indexed if each.acquisition is not None]) if acquisition else None,
    )


def _index_image(source: Source, source_image: SourceImage, acquisition: bool) -> _Indexed | UnreadableImage:
    archived = source.layout == "medmnist"
    try:
        content = source.bytes_of(source_image.path)
    except OSError as error:
        return UnreadableImage(
            f"expected a readable file, found {source_image.path} ({error.strerror}): check the path"
        )
    try:
        image, header = source.read_image(source_image.path, content)
    except UnreadableImage as error:
        return error
    row = IndexRow(
        path=source_image.path,
        sha256=hashlib.sha256(content).hexdigest(),
        finding=source_image.finding,
        etiology=source_image.etiology,
        patient=source_image.patient,
        split=source_image.split,
        width=image.shape[1],
        height=image.shape[0],
        bytes=0 if archived else len(content),
        class_name=source_image.class_name if source.own_classes else "",
    )
    properties = {
        **({} if archived else file_properties(content)),
        **(header_properties(content, header) if header else {}),
        **table_properties(source_image),
    }
    features = acquisition_features(prepare(image, Preprocessing())[None])[0] if acquisition else None
    return _Indexed(row, measure(image, content, archived), properties, header, features)


def measure(image: NDArray[np.uint8] | NDArray[np.uint16], content: bytes, archived: bool = False) -> Measurement:
    """Measure an image and its file.

    Args:
        image: (height, width) uint8 or uint16.
        content: Bytes of the file.
        archived: Whether the image is an array in an archive, without a file of its own.
    """
    grey = Image.fromarray(np.ascontiguousarray(image if image.dtype == np.uint8 else (image // 257).astype(np.uint8)))
    resized = grey.resize((_MEASURED_SIZE, _MEASURED_SIZE), Image.Resampling.BILINEAR)
    levels = np.asarray(resized, dtype=np.float32)
    return Measurement(
        bytes_per_pixel=float("nan") if archived else len(content) / image.size,
        quantisation=float("nan") if archived else _quantisation(content),
        sharpness=sharpness(levels),
        contrast=float(levels.std()),
        brightness=float(levels.mean()),
        difference_hash=_difference_hash(grey),
    )


def sharpness(levels: NDArray[np.float32]) -> float:
    """Variance of the second differences of (height, width) grey levels, mean of both axes, in grey levels squared."""
    horizontal = levels[:, 2:] - 2 * levels[:, 1:-1] + levels[:, :-2]
    vertical = levels[2:] - 2 * levels[1:-1] + levels[:-2]
    return float((horizontal.var() + vertical.var()) / 2)


def _quantisation(content: bytes) -> float:
    """Mean of the first quantisation table of a JPEG; NaN for another format."""
    if not content.startswith(b"\xff\xd8"):
        return float("nan")
    with Image.open(io.BytesIO(content)) as image:
        tables: dict[int, list[int]] = getattr(image, "quantization", {})
    return float(np.mean(tables[min(tables)])) if tables else float("nan")


def _difference_hash(image: Image.Image) -> str:
    """Difference hash (dHash, Krawetz 2013): a bit for each of 16 x 16 cells brighter than its left neighbour; 64 hex digits."""
    cells = np.asarray(image.resize((_HASH_SIZE + 1, _HASH_SIZE), Image.Resampling.BOX), dtype=np.int16)
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()


def save_index(index: Index, path: Path) -> None:
    """Write `index.csv`, rows and measurements side by side, atomically."""
    text = io.StringIO()
    names = [field.name for field in fields(IndexRow)]
    measured = [field.name for field in fields(Measurement)] if index.measurements else []
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names + measured)
    for row, values in _rows_with_measurements(index):
        record = asdict(row) | values
        writer.writerow([f"{record[n]:.6g}" if isinstance(record[n], float) else record[n] for n in names + measured])
    write_text(path, text.getvalue())


def _rows_with_measurements(index: Index) -> Iterator[tuple[IndexRow, dict[str, float | str]]]:
    for position, row in enumerate(index.rows):
        yield row, asdict(index.measurements[position]) if index.measurements else {}


def load_index(path: Path) -> Index:
    """Read the rows of an `index.csv`, without the measurements.

    Raises:
        DataError: Missing file, or another table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = tuple(_row(record) for record in csv.DictReader(stream))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"expected an index.csv at {path}, found {error}: write it again with `data index`") from error
    return Index(rows)


def _row(record: dict[str, str]) -> IndexRow:
    return IndexRow(
        path=record["path"],
        sha256=record["sha256"],
        finding=Finding(record["finding"]),
        etiology=Etiology(record["etiology"]),
        patient=record["patient"],
        split=Split(record["split"]),
        width=int(record["width"]),
        height=int(record["height"]),
        bytes=int(record["bytes"]),
        class_name=record.get("class_name", ""),
    )
