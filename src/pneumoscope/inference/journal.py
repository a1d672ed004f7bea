"""Predictions of a batch on disk: a journal while the batch runs, the output file once it is complete.

The journal lies beside the output file. Its first line is a header with bundle and settings, so that a batch is resumed only
with the same ones; then follows one line per image, in the order of the images. After a kill the last line may be cut short:
it is removed, and the batch is resumed behind the lines that are left.
"""

import csv
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from pneumoscope.errors import DataError
from pneumoscope.files import atomic_write
from pneumoscope.inference.prediction import Prediction, row_columns
from pneumoscope.types import BINARY, ClassScheme

if TYPE_CHECKING:
    import pyarrow as arrow

FORMATS = (".jsonl", ".csv", ".parquet")
_SECONDS_BETWEEN_SYNCS = 2.0
_ROWS_PER_GROUP = 10_000


class Journal:
    """Predictions of a batch, which survive a kill.

    Attributes:
        out: Output file.
        path: Journal.
    """

    def __init__(self, out: Path, header: dict[str, Any], scheme: ClassScheme = BINARY) -> None:
        """Opens the journal of a batch: a new one, or the one of an interrupted batch.

        Args:
            out: Output file; its ending decides the format.
            header: Bundle and settings that determine the predictions, as plain data.
            scheme: Classes of the bundle.

        Raises:
            DataError: An unknown format, an output file that exists, a journal of another batch, or no room to write.
        """
        if out.suffix.lower() not in FORMATS:
            raise DataError(f"expected a file ending in {', '.join(FORMATS)}, found {out}: name it so")
        if out.exists():
            raise DataError(f"expected no file at {out}, found one: name another, or add --overwrite")
        if out.suffix.lower() == ".parquet":
            import pyarrow  # noqa: F401 - fails before the predictions where the package is missing, not after them
        self.out = out
        self._scheme = scheme
        self.path = out.with_name(f"{out.name}.journal")
        self._header = json.dumps(header, sort_keys=True)
        self._synced = time.monotonic()
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._stream: BinaryIO = self.path.open("a+b")
            try:
                self._lock()
                self._begin()
            except BaseException:
                self._stream.close()
                raise
        except OSError as error:
            raise DataError(f"expected to write {self.path}, found {error.strerror}: name another folder") from error

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def _lock(self) -> None:
        """Locks the journal until the stream is closed or the process ends, however it ends."""
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"expected {self.path} to belong to this run alone, found another writing it: wait for that one"
            ) from error

    def _begin(self) -> None:
        """Writes the header of a new journal, or checks that of an earlier one and removes a line that is cut short."""
        end = self._stream.seek(0, os.SEEK_END)
        self._stream.seek(0)
        first = self._stream.readline()
        if not first.endswith(b"\n"):  # a new journal, or one cut short in its first line
            self._stream.truncate(0)
            self._stream.write(self._header.encode() + b"\n")
            self._stream.flush()
            return
        if first.decode(errors="replace").rstrip("\n") != self._header:
            raise DataError(
                f"expected the journal of this command in {self.path}, found a batch of another bundle or other settings: "
                "finish that one with its own command, or add --overwrite"
            )
        intact = self._stream.tell()
        for line in self._stream:
            if not line.endswith(b"\n") or not _is_record(line):
                break
            intact += len(line)
        if intact < end:
            self._stream.truncate(intact)
        self._stream.seek(0, os.SEEK_END)

    def done(self) -> Iterator[Prediction]:
        """Predictions that the journal holds, in their order."""
        with self.path.open("rb") as stream:
            stream.readline()
            for line in stream:
                yield Prediction.from_dict(json.loads(line), self._scheme)

    def append(self, predictions: list[Prediction]) -> None:
        """Appends predictions, which survive a kill at once and a loss of power after a few seconds.

        Raises:
            DataError: The disk is full.
        """
        lines = "".join(json.dumps(p.to_dict(), ensure_ascii=False) + "\n" for p in predictions)
        try:
            self._stream.write(lines.encode())
            self._stream.flush()
            if time.monotonic() - self._synced > _SECONDS_BETWEEN_SYNCS:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise DataError(
                f"expected to write {self.path}, found {error.strerror}: make room and run the same command again"
            ) from error

    def finish(self) -> None:
        """Writes the output file from the journal, and removes the journal.

        Raises:
            DataError: The file cannot be written.
        """
        with atomic_write(self.out) as temporary:
            _WRITERS[self.out.suffix.lower()](self.done(), temporary, self._scheme)
        self.path.unlink()


def discard(out: Path) -> None:
    """Removes the output file and the journal of an earlier batch, where they exist."""
    for path in (out, out.with_name(f"{out.name}.journal")):
        path.unlink(missing_ok=True)


def _is_record(line: bytes) -> bool:
    """Whether a line is a JSON object: after a loss of power a line may have its length and not its content."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _write_jsonl(predictions: Iterator[Prediction], file: Path, scheme: ClassScheme) -> None:
    with file.open("w", encoding="utf-8") as stream:
        for prediction in predictions:
            stream.write(json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n")


def _write_csv(predictions: Iterator[Prediction], file: Path, scheme: ClassScheme) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, row_columns(scheme))
        writer.writeheader()
        writer.writerows(_as_text(prediction.to_row()) for prediction in predictions)


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    """Row as CSV files have it, in which truth is written as in JSON."""
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in row.items()}


def _write_parquet(predictions: Iterator[Prediction], file: Path, scheme: ClassScheme) -> None:
    from pyarrow import parquet

    writer = None
    try:
        while group := list(islice(predictions, _ROWS_PER_GROUP)):
            table = as_table(group, scheme)
            if writer is None:
                writer = parquet.ParquetWriter(file, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def as_table(predictions: Iterable[Prediction], scheme: ClassScheme) -> "arrow.Table":
    """Arrow table of predictions by a bundle with these classes, with the columns of `Prediction.to_row`: float64 for numbers, bool for `validated`, text for all others."""
    import pyarrow as arrow

    types = {"validated": arrow.bool_()}
    kinds = [(n, types.get(n, arrow.float64() if _is_number(n) else arrow.string())) for n in row_columns(scheme)]
    return arrow.Table.from_pylist([each.to_row() for each in predictions], schema=arrow.schema(kinds))


def _is_number(column: str) -> bool:
    return (
        column in ("threshold", "sensitivity", "specificity")
        or column.endswith("probability")
        or column.startswith("zone_")
    )


_WRITERS = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}
