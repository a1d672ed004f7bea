"""A source becomes an index: one row per radiograph, in the order of the paths, and what was measured on it."""

import csv
import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.data.sources import Source, SourceImage
from pneumoscope.errors import DataError, UnreadableImage
from pneumoscope.files import sha256_of_lines, write_text
from pneumoscope.progress import Progress
from pneumoscope.types import Etiology, Finding, IndexRow, Split

# Decoding releases the interpreter lock; more threads than this only crowd two cores.
_THREADS = 4
_HASH_SIDE = 16
_MEASURED_SIDE = 224


@dataclass(frozen=True)
class Measurement:
    """What the file and its grey levels show without looking at the lung.

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
        unreadable: Path and reason of every image that is left out.
        conflicts: Path and reason of every image whose name contradicts its folder.
        unknown_names: Paths whose names tell no patient; each stands for a patient of its own.
    """

    rows: tuple[IndexRow, ...]
    measurements: tuple[Measurement, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    conflicts: tuple[tuple[str, str], ...] = ()
    unknown_names: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 over every row but its sizes, 64 hex digits: the identity of the data."""
        return sha256_of_lines(
            [f"{row.path} {row.sha256} {row.finding} {row.etiology} {row.patient} {row.split}" for row in self.rows]
        )

    def positions(self, split: Split) -> NDArray[np.int64]:
        """Positions in `rows` of the images of one split, ascending."""
        return np.array([i for i, row in enumerate(self.rows) if row.split is split], dtype=np.int64)


def build_index(source: Source, progress: Progress | None = None) -> Index:
    """Reads, hashes and measures every image of a source.

    Raises:
        DataError: No image can be read.
    """
    rows, measurements, unreadable = [], [], []
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(lambda image: _index_image(source, image), source.images)
        for done, (image, result) in enumerate(zip(source.images, results, strict=True), start=1):
            if isinstance(result, UnreadableImage):
                unreadable.append((image.path, str(result)))
            else:
                rows.append(result[0])
                measurements.append(result[1])
            if progress is not None:
                progress(done, len(source.images))
    if not rows:
        raise DataError(f"expected at least one whole image in {source.root}, found none: {unreadable[0][1]}")
    readable = {row.path for row in rows}
    return Index(
        tuple(rows),
        tuple(measurements),
        tuple(unreadable),
        tuple((image.path, image.conflict) for image in source.images if image.conflict and image.path in readable),
        tuple(image.path for image in source.images if not image.known_name and image.path in readable),
    )


def _index_image(source: Source, source_image: SourceImage) -> tuple[IndexRow, Measurement] | UnreadableImage:
    archived = source.kind == "medmnist"
    try:
        content = source.bytes_of(source_image.path)
    except OSError as error:
        return UnreadableImage(
            f"expected a readable file, found {source_image.path} ({error.strerror}): check the path"
        )
    try:
        image = source.read(source_image.path, content)
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
    )
    return row, _measure(image, content, archived)


def _measure(image: NDArray[np.uint8] | NDArray[np.uint16], content: bytes, archived: bool) -> Measurement:
    grey = image if image.dtype == np.uint8 else (image // 257).astype(np.uint8)
    source_image = Image.fromarray(np.ascontiguousarray(grey))
    small = np.asarray(
        source_image.resize((_MEASURED_SIDE, _MEASURED_SIDE), Image.Resampling.BILINEAR), dtype=np.float32
    )
    return Measurement(
        bytes_per_pixel=float("nan") if archived else len(content) / image.size,
        quantisation=float("nan") if archived else _quantisation(content),
        sharpness=sharpness(small),
        contrast=float(small.std()),
        brightness=float(small.mean()),
        difference_hash=_difference_hash(source_image),
    )


def sharpness(levels: NDArray[np.float32]) -> float:
    """Variance of the second differences of (height, width) grey levels, squared, mean of both directions."""
    across = levels[:, 2:] - 2 * levels[:, 1:-1] + levels[:, :-2]
    down = levels[2:] - 2 * levels[1:-1] + levels[:-2]
    return float((across.var() + down.var()) / 2)


def _quantisation(content: bytes) -> float:
    """Mean of the first quantisation table of a JPEG, NaN for another format."""
    if not content.startswith(b"\xff\xd8"):
        return float("nan")
    with Image.open(io.BytesIO(content)) as image:
        tables: dict[int, list[int]] = getattr(image, "quantization", {})
    return float(np.mean(tables[min(tables)])) if tables else float("nan")


def _difference_hash(image: Image.Image) -> str:
    """Whether each of 16 x 16 cells is brighter than its left neighbour (Krawetz' dHash), as hex."""
    cells = np.asarray(image.resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX), dtype=np.int16)
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()


def save_index(index: Index, path: Path) -> None:
    """Writes `index.csv`: the rows and, beside them, the measurements, atomically."""
    text = io.StringIO()
    names = [field.name for field in fields(IndexRow)]
    measured = [field.name for field in fields(Measurement)] if index.measurements else []
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names + measured)
    for row, values in _paired(index):
        record = asdict(row) | values
        writer.writerow([f"{record[n]:.6g}" if isinstance(record[n], float) else record[n] for n in names + measured])
    write_text(path, text.getvalue())


def _paired(index: Index) -> Iterator[tuple[IndexRow, dict[str, float | str]]]:
    for position, row in enumerate(index.rows):
        yield row, asdict(index.measurements[position]) if index.measurements else {}


def load_index(path: Path) -> Index:
    """Reads the rows of an `index.csv`; the measurements stay behind.

    Raises:
        DataError: The file is missing or is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = tuple(_row(record) for record in csv.DictReader(stream))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"expected an index.csv at {path}, found {error}: write it anew with `data index`") from error
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
    )
