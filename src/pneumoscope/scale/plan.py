"""Plan of a scoring: the files of each partition. Made once, and stored beside the results.

OUT/_plan.json                 archive, settings and hashes; exists once the plan is complete
OUT/_plan/NNNNN.parquet        addresses, one row group per partition
OUT/part-NNNNNN-HASH.parquet   results of a partition; HASH is the plan's
"""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as arrow
from pyarrow import parquet

import pneumoscope
from pneumoscope.errors import ConfigError, DataError
from pneumoscope.files import as_json
from pneumoscope.scale.manifest import is_archive, open_manifest
from pneumoscope.scale.storage import StoragePath
from pneumoscope.types import THREE_CLASS, PredictionRequest

FORMAT = 1
_PLAN, _ENTRIES = "_plan.json", "_plan"
# Addresses per file of the plan: some megabytes, whatever the archive's size.
_ENTRIES_PER_FILE = 200_000
_PART = re.compile(r"part-(\d{6,})-([0-9a-f]{12})\.parquet")
_LARGEST_PARTITION = 1_000_000


@dataclass(frozen=True)
class Terms:
    """Settings that determine the results, beside the files.

    Attributes:
        bundle: SHA-256 of the bundle's manifest, 64 hex digits.
        operating_point: Name of an operating point in the manifest.
        prevalence: Prevalence of pneumonia, in (0, 1), for which probabilities are shown; the manifest's where None.
        code_version: Version of the code that makes the predictions, from `code_version`.
        device: `cpu` or `cuda`, which round differently.
        accept: Reasons out of `types.OUTSIDE` for which images are not referred, sorted.
        classes: Class names of the bundle, which name the columns of the results.
    """

    bundle: str
    operating_point: str
    prevalence: float | None
    code_version: str
    device: str = "cpu"
    accept: tuple[str, ...] = ()
    classes: tuple[str, ...] = THREE_CLASS.names

    @property
    def request(self) -> PredictionRequest:
        """Settings of the predictions."""
        return PredictionRequest(self.operating_point, self.prevalence, accept=self.accept)


@dataclass(frozen=True)
class Plan:
    """Plan of a scoring.

    Attributes:
        out: Folder of plan and results.
        manifest: Address of the files to score.
        terms: Settings that determine the results.
        partition_size: Addresses per partition; an archive is a partition of its own.
        partitions: Number of partitions, which are numbered from 0.
        entries: Number of addresses.
        archives: Number of archives among them, which hold any number of images.
        manifest_hash: SHA-256 of the addresses in their order, 64 hex digits.
        format: Version of the format of plan and results.
    """

    out: str
    manifest: str
    terms: Terms
    partition_size: int
    partitions: int
    entries: int
    archives: int
    manifest_hash: str
    format: int = FORMAT

    @cached_property
    def hash(self) -> str:
        """SHA-256 of everything that determines the results, 64 hex digits; the addresses of manifest and `out` do not."""
        record = {key: value for key, value in asdict(self).items() if key not in ("out", "manifest")}
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

    @property
    def images(self) -> int | None:
        """Number of images; None where archives hold an unknown number."""
        return None if self.archives else self.entries

    def part(self, number: int) -> StoragePath:
        """Path of the results of a partition, whether they exist or not."""
        return StoragePath(self.out) / f"part-{number:06d}-{self.hash[:12]}.parquet"

    def done(self) -> set[int]:
        """Numbers of the partitions whose results exist.

        Raises:
            DataError: The folder has results of another plan.
            StorageError: The folder cannot be listed.
        """
        found = _parts(StoragePath(self.out))
        if others := {mark for _, mark in found} - {self.hash[:12]}:
            raise DataError(
                f"expected results of this run alone in {self.out}, found some of another ({', '.join(sorted(others))}): "
                "name another --out"
            )
        return {number for number, _ in found}

    def addresses(self, number: int) -> list[str]:
        """Addresses of a partition.

        Raises:
            DataError: The plan's file is missing.
            StorageError: The plan's file cannot be read.
        """
        per_file = _partitions_per_file(self.partition_size)
        path = _entries_file(StoragePath(self.out), number // per_file)
        try:
            with parquet.ParquetFile(io.BytesIO(path.read())) as file:
                column: list[str] = file.read_row_group(number % per_file).column(0).to_pylist()
                return column
        except FileNotFoundError as error:
            raise DataError(f"expected the plan's {path.address}, found none: name another --out") from error


def code_version() -> str:
    """Version of the package with a hash of its source: two that may predict differently have different ones."""
    home = Path(pneumoscope.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(home.rglob("*.py")):
        digest.update(f"{file.relative_to(home)}\n".encode() + file.read_bytes())
    return f"{pneumoscope.__version__}+{digest.hexdigest()[:12]}"


def open_plan(manifest: str, out: str, terms: Terms, partition_size: int) -> Plan:
    """Plan in a folder: made where none exists, otherwise checked against the present files and settings.

    Args:
        manifest: Address of the files to score.
        out: Folder of plan and results.
        terms: Settings that determine the results.
        partition_size: Addresses per partition.

    Raises:
        ConfigError: The partition size is out of range.
        DataError: No files; results without a plan; or a plan of other files or settings.
        StorageError: An address cannot be reached.
    """
    if not 1 <= partition_size <= _LARGEST_PARTITION:
        raise ConfigError(
            f"expected 1 to {_LARGEST_PARTITION:,} images per partition, found {partition_size}: change it"
        )
    walk, folder = open_manifest(manifest), StoragePath(out)
    file = folder / _PLAN
    found = _load(file, out) if file.exists() else None
    if found is None and _parts(folder):
        raise DataError(f"expected the plan {file.address} beside the results there, found none: name another --out")
    if found and found.partition_size != partition_size:
        raise _mismatch(out, "partition size", found.partition_size, partition_size)
    plan = _make(walk(), manifest, folder, terms, partition_size, write=found is None)
    if plan.entries == 0:
        raise DataError(f"expected images behind {manifest}, found none: check the address and the files' endings")
    if found is None:
        file.write(as_json({key: value for key, value in asdict(plan).items() if key != "out"}).encode())
        return plan
    _check_same(found, plan)
    return found


def _check_same(found: Plan, present: Plan) -> None:
    """Checks that a plan in a folder is of the present settings and files."""
    for name in (each.name for each in fields(Terms)):
        before, now = getattr(found.terms, name), getattr(present.terms, name)
        if before != now:
            raise _mismatch(found.out, name.replace("_", " "), before, now)
    if present.manifest_hash != found.manifest_hash:
        now = f"{present.entries:,} that are not all the same"
        raise _mismatch(found.out, "files", f"{found.entries:,} addresses", now)


def _mismatch(out: str, name: str, before: object, now: object) -> DataError:
    return DataError(
        f"expected the {name} that the run in {out} was begun with ({before}), found {now}: "
        "finish it as it was begun, or name another --out"
    )


def _make(
    addresses: Iterator[str], manifest: str, folder: StoragePath, terms: Terms, partition_size: int, write: bool
) -> Plan:
    """Walks through all addresses; with `write` writes the plan's files, of which at most one is in memory."""
    digest = hashlib.sha256()
    partitions = entries = archives = 0
    per_file = _partitions_per_file(partition_size)
    waiting: list[list[str]] = []
    for partition in _partitioned(addresses, partition_size):
        digest.update("".join(f"{address}\n" for address in partition).encode(errors="surrogateescape"))
        entries += len(partition)
        archives += is_archive(partition[0])
        partitions += 1
        if write:
            waiting.append(partition)
            if len(waiting) == per_file:
                _write_entries(folder, partitions // per_file - 1, waiting)
                waiting = []
    if waiting:
        _write_entries(folder, partitions // per_file, waiting)
    return Plan(folder.address, manifest, terms, partition_size, partitions, entries, archives, digest.hexdigest())


def _partitioned(addresses: Iterator[str], size: int) -> Iterator[list[str]]:
    """Addresses in partitions of at most `size`; an archive is a partition of its own."""
    partition: list[str] = []
    for address in addresses:
        if is_archive(address):
            if partition:
                yield partition
            yield [address]
            partition = []
            continue
        partition.append(address)
        if len(partition) == size:
            yield partition
            partition = []
    if partition:
        yield partition


def _partitions_per_file(partition_size: int) -> int:
    return max(1, _ENTRIES_PER_FILE // partition_size)


def _entries_file(folder: StoragePath, number: int) -> StoragePath:
    return folder / _ENTRIES / f"{number:05d}.parquet"


def _write_entries(folder: StoragePath, number: int, partitions: Sequence[Iterable[str]]) -> None:
    schema = arrow.schema([("address", arrow.string())])
    buffer = io.BytesIO()
    with parquet.ParquetWriter(buffer, schema) as writer:
        for partition in partitions:
            writer.write_table(
                arrow.table({"address": list(partition)}, schema=schema), row_group_size=_LARGEST_PARTITION
            )
    _entries_file(folder, number).write(buffer.getvalue())


def _parts(folder: StoragePath) -> set[tuple[int, str]]:
    """Partition number and beginning of the plan's hash of each result file in a folder."""
    return {(int(match[1]), match[2]) for name in folder.names() if (match := _PART.fullmatch(name))}


def _load(file: StoragePath, out: str) -> Plan:
    try:
        record: dict[str, Any] = json.loads(file.read())
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}")
        terms = record["terms"]
        lists = {name: tuple(terms[name]) for name in ("accept", "classes")}
        return Plan(**(record | {"terms": Terms(**terms | lists), "out": out}))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"expected a plan of this version in {file.address}, found {error}: name another --out"
        ) from error
