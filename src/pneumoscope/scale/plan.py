"""The plan of a scoring: which partition holds which files. Made once, and kept beside the results.

OUT/_plan.json                 what is scored, with what; there only once the plan is whole
OUT/_plan/NNNNN.parquet        the addresses, a row group for each partition
OUT/part-NNNNNN-HASH.parquet   the results of a partition; HASH is the plan's
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
from pneumoscope.scale.storage import Place
from pneumoscope.types import PredictionRequest

FORMAT = 1
_PLAN, _ENTRIES = "_plan.json", "_plan"
# Addresses to a file of the plan: some megabytes, whatever the archive's size.
_ENTRIES_TO_A_FILE = 200_000
_PART = re.compile(r"part-(\d{6,})-([0-9a-f]{12})\.parquet")
_LARGEST_PARTITION = 1_000_000


@dataclass(frozen=True)
class Terms:
    """What decides the results, beside the files.

    Attributes:
        bundle: SHA-256 of its manifest, 64 hex digits.
        operating_point: A name in it.
        prevalence: For which probabilities are shown; the manifest's where None.
        code_version: Of the code that judges, as `code_version` gives it.
        device: `cpu` or `cuda`, which round differently.
    """

    bundle: str
    operating_point: str
    prevalence: float | None
    code_version: str
    device: str = "cpu"

    @property
    def request(self) -> PredictionRequest:
        """Settings of the predictions."""
        return PredictionRequest(self.operating_point, self.prevalence)


@dataclass(frozen=True)
class Plan:
    """A whole plan.

    Attributes:
        out: Folder of plan and results.
        manifest: Address of what is scored.
        terms: With what.
        partition_size: Addresses to a partition; an archive is a partition of its own.
        partitions: How many there are, numbered from 0.
        entries: Addresses in all.
        archives: How many of them are archives, which hold any number of images.
        manifest_hash: SHA-256 of the addresses in their order, 64 hex digits.
        format: Of plan and results.
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
        """SHA-256 of all that decides the results, 64 hex digits; neither the place of plan nor results is among that."""
        told = {key: value for key, value in asdict(self).items() if key not in ("out", "manifest")}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def images(self) -> int | None:
        """How many there are, where that is known before they are read."""
        return None if self.archives else self.entries

    def part(self, number: int) -> Place:
        """Where the results of a partition lie, or are to."""
        return Place(self.out) / f"part-{number:06d}-{self.hash[:12]}.parquet"

    def done(self) -> set[int]:
        """The partitions whose results are there.

        Raises:
            DataError: Results of another plan are there.
            StorageError: The folder cannot be listed.
        """
        found = _parts(Place(self.out))
        if others := {mark for _, mark in found} - {self.hash[:12]}:
            raise DataError(
                f"expected results of this run alone in {self.out}, found some of another ({', '.join(sorted(others))}): "
                "name another --out"
            )
        return {number for number, _ in found}

    def addresses(self, number: int) -> list[str]:
        """What a partition holds.

        Raises:
            DataError: The plan's file is gone.
            StorageError: It cannot be read.
        """
        to_a_file = _partitions_to_a_file(self.partition_size)
        file = _file_of_plan(Place(self.out), number // to_a_file)
        try:
            with parquet.ParquetFile(io.BytesIO(file.read())) as held:
                column: list[str] = held.read_row_group(number % to_a_file).column(0).to_pylist()
                return column
        except FileNotFoundError as error:
            raise DataError(f"expected the plan's {file.address}, found none: name another --out") from error


def code_version() -> str:
    """Version of the package and a hash of its source, so that no two that may judge differently share it."""
    home = Path(pneumoscope.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(home.rglob("*.py")):
        digest.update(f"{file.relative_to(home)}\n".encode() + file.read_bytes())
    return f"{pneumoscope.__version__}+{digest.hexdigest()[:12]}"


def open_plan(manifest: str, out: str, terms: Terms, partition_size: int) -> Plan:
    """The plan in a folder; made where none is there, else checked against the files as they are now.

    Args:
        manifest: Address of what is to be scored.
        out: Folder of plan and results.
        terms: With what.
        partition_size: Addresses to a partition.

    Raises:
        ConfigError: A partition size that cannot be.
        DataError: No files; results without a plan; or the plan is of other files or terms.
        StorageError: An address cannot be reached.
    """
    if not 1 <= partition_size <= _LARGEST_PARTITION:
        raise ConfigError(
            f"expected 1 to {_LARGEST_PARTITION:,} films to a partition, found {partition_size}: change it"
        )
    walk, home = open_manifest(manifest), Place(out)
    file = home / _PLAN
    found = _load(file, out) if file.exists() else None
    if found is None and _parts(home):
        raise DataError(f"expected the plan {file.address} beside the results there, found none: name another --out")
    if found and found.partition_size != partition_size:
        raise _other(out, "partition size", found.partition_size, partition_size)
    plan = _made(walk(), manifest, home, terms, partition_size, write=found is None)
    if plan.entries == 0:
        raise DataError(f"expected images behind {manifest}, found none: check the address and the files' endings")
    if found is None:
        file.write(as_json({key: value for key, value in asdict(plan).items() if key != "out"}).encode())
        return plan
    for name in (each.name for each in fields(Terms)):
        before, now = getattr(found.terms, name), getattr(terms, name)
        if before != now:
            raise _other(out, name.replace("_", " "), before, now)
    if plan.manifest_hash != found.manifest_hash:
        raise _other(out, "files", f"{found.entries:,} addresses", f"{plan.entries:,} that are not all the same")
    return found


def _other(out: str, what: str, before: object, now: object) -> DataError:
    return DataError(
        f"expected the {what} that the run in {out} was begun with ({before}), found {now}: "
        "finish it as it was begun, or name another --out"
    )


def _made(addresses: Iterator[str], manifest: str, home: Place, terms: Terms, partition_size: int, write: bool) -> Plan:
    """Walks through all addresses; the plan's files are written where asked, and never more than one of them is in memory."""
    digest = hashlib.sha256()
    partitions = entries = archives = 0
    to_a_file = _partitions_to_a_file(partition_size)
    waiting: list[list[str]] = []
    for partition in _partitioned(addresses, partition_size):
        digest.update("".join(f"{address}\n" for address in partition).encode(errors="surrogateescape"))
        entries += len(partition)
        archives += is_archive(partition[0])
        partitions += 1
        if write:
            waiting.append(partition)
            if len(waiting) == to_a_file:
                _write_entries(home, partitions // to_a_file - 1, waiting)
                waiting = []
    if waiting:
        _write_entries(home, partitions // to_a_file, waiting)
    return Plan(home.address, manifest, terms, partition_size, partitions, entries, archives, digest.hexdigest())


def _partitioned(addresses: Iterator[str], size: int) -> Iterator[list[str]]:
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


def _partitions_to_a_file(partition_size: int) -> int:
    return max(1, _ENTRIES_TO_A_FILE // partition_size)


def _file_of_plan(home: Place, number: int) -> Place:
    return home / _ENTRIES / f"{number:05d}.parquet"


def _write_entries(home: Place, number: int, partitions: Sequence[Iterable[str]]) -> None:
    schema = arrow.schema([("address", arrow.string())])
    buffer = io.BytesIO()
    with parquet.ParquetWriter(buffer, schema) as writer:
        for partition in partitions:
            writer.write_table(
                arrow.table({"address": list(partition)}, schema=schema), row_group_size=_LARGEST_PARTITION
            )
    _file_of_plan(home, number).write(buffer.getvalue())


def _parts(home: Place) -> set[tuple[int, str]]:
    return {(int(match[1]), match[2]) for name in home.names() if (match := _PART.fullmatch(name))}


def _load(file: Place, out: str) -> Plan:
    try:
        told: dict[str, Any] = json.loads(file.read())
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']}")
        return Plan(**(told | {"terms": Terms(**told["terms"]), "out": out}))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"expected a plan of this version in {file.address}, found {error}: name another --out"
        ) from error
