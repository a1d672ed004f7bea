"""Cache of decoded images: a memory-mapped array on disk, keyed by the images' contents and the preprocessing."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.config import Preprocessing
from pneumoscope.data.index import Index
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION, prepare
from pneumoscope.data.sources import Source
from pneumoscope.errors import DataError
from pneumoscope.files import atomic_write, sha256_of_file, sha256_of_lines, write_json
from pneumoscope.progress import Report, silent

_THREADS = 4


def cached_images(
    source: Source, index: Index, settings: Preprocessing, folder: Path, report: Report = silent
) -> NDArray[np.uint8]:
    """Images of an index at the network's size, decoded at the first call and read from the cache later.

    A cache that is missing, truncated, altered, or of other images or settings is built again.

    Args:
        source: Source of the images.
        index: Index of the images, in the order of the result.
        settings: Size, fit and resampling filter.
        folder: Folder of the caches; created if missing.
        report: Progress of the decoding; not called where the cache is whole.

    Returns:
        (images, height, width) uint8, memory-mapped, read-only, in the index' order.

    Raises:
        DataError: Full disk, or an image that changed since it was indexed.
    """
    key = _key(index, settings)
    array_file = folder / f"films-{key[:20]}.npy"
    manifest_file = array_file.with_suffix(".json")
    if not _is_whole(array_file, manifest_file, key):
        manifest_file.unlink(missing_ok=True)
        _build(source, index, settings, array_file, report)
        write_json(
            manifest_file,
            {
                "key": key,
                "films": len(index.rows),
                "preprocessing": asdict(settings),
                "preprocessing_version": PREPROCESSING_VERSION,
                "sha256": sha256_of_file(array_file),
            },
        )
    images: NDArray[np.uint8] = np.load(array_file, mmap_mode="r", allow_pickle=False)
    return images


def _key(index: Index, settings: Preprocessing) -> str:
    recipe = json.dumps(asdict(settings), sort_keys=True)
    return sha256_of_lines([f"{PREPROCESSING_VERSION} {recipe}", *(row.sha256 for row in index.rows)])


def _is_whole(array_file: Path, manifest_file: Path, key: str) -> bool:
    try:
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
        return bool(manifest["key"] == key and manifest["sha256"] == sha256_of_file(array_file))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _build(source: Source, index: Index, settings: Preprocessing, array_file: Path, report: Report) -> None:
    shape = (len(index.rows), settings.height, settings.width)
    follow = report("films decoded")

    def decode(position: int) -> NDArray[np.uint8]:
        row = index.rows[position]
        content = source.bytes_of(row.path)
        if hashlib.sha256(content).hexdigest() != row.sha256:
            raise DataError(f"expected {row.path} as it was indexed, found other bytes: run the command again")
        return prepare(source.read(row.path, content), settings)

    # Written as a stream, not through a memory map: a full disk then raises an error instead of killing the process.
    with atomic_write(array_file) as temporary, temporary.open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        with ThreadPoolExecutor(_THREADS) as pool:
            for done, image in enumerate(pool.map(decode, range(shape[0])), start=1):
                stream.write(image.data)
                follow(done, shape[0])
