"""The predictions of a batch on disk: a journal while it runs, the asked file once it is whole.

The journal lies beside the asked file and has one line per image, in the order of the images. After a kill the last line may
be cut short; it is taken off, and the batch goes on behind what is left. The first line says what was asked, so that a batch
goes on only with the same bundle and settings.
"""

import csv
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from pneumoscope.errors import DataError
from pneumoscope.files import whole_or_nothing
from pneumoscope.types import Prediction

if TYPE_CHECKING:
    import pyarrow as arrow

# Of a table of predictions, in the order in which `table_row` gives them.
COLUMNS = (
    *("file", "sha256", "decision", "reasons", "detail", "pneumonia_probability"),
    *("normal_probability", "bacterial_probability", "viral_probability"),
    *("operating_point", "threshold", "sensitivity", "specificity", "fitted_on", "evidence"),
    *("bundle_name", "bundle_version", "bundle_sha256", "notice"),
)
FORMATS = (".jsonl", ".csv", ".parquet")
_SECONDS_BETWEEN_SYNCS = 2.0
_ROWS_PER_GROUP = 10_000


class Journal:
    """Predictions that survive a kill."""

    def __init__(self, out: Path, asked: dict[str, Any]) -> None:
        """Opens the journal of a batch, a new one or that of a batch that was broken off.

        Args:
            out: The asked file; its ending decides the format.
            asked: What decides the predictions, as plain data.

        Raises:
            DataError: An unknown format, a file that is there already, a journal of another batch, or no room to write.
        """
        if out.suffix.lower() not in FORMATS:
            raise DataError(f"expected a file ending in {', '.join(FORMATS)}, found {out}: name it so")
        if out.exists():
            raise DataError(f"expected no file at {out}, found one: name another, or add --overwrite")
        if out.suffix.lower() == ".parquet":
            import pyarrow  # noqa: F401 - where it is missing, that is told before the work and not after it
        self.out = out
        self.path = out.with_name(f"{out.name}.journal")
        self._asked = json.dumps(asked, sort_keys=True)
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
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def _lock(self) -> None:
        """Held until the process ends, however it ends."""
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"expected {self.path} to belong to this run alone, found another writing it: wait for that one"
            ) from error

    def _begin(self) -> None:
        end = self._stream.seek(0, os.SEEK_END)
        self._stream.seek(0)
        first = self._stream.readline()
        if not first.endswith(b"\n"):  # new, or killed in its first line
            self._stream.truncate(0)
            self._stream.write(self._asked.encode() + b"\n")
            self._stream.flush()
            return
        if first.decode(errors="replace").rstrip("\n") != self._asked:
            raise DataError(
                f"expected in {self.path} what this command asks for, found a batch of another bundle or other settings: "
                "finish that one with its own command, or add --overwrite"
            )
        whole = self._stream.tell()
        for line in self._stream:
            if not line.endswith(b"\n") or not _is_whole(line):
                break
            whole += len(line)
        if whole < end:
            self._stream.truncate(whole)
        self._stream.seek(0, os.SEEK_END)

    def done(self) -> Iterator[Prediction]:
        """Predictions so far, in their order."""
        with self.path.open("rb") as stream:
            stream.readline()
            for line in stream:
                yield Prediction.from_json(json.loads(line))

    def append(self, predictions: list[Prediction]) -> None:
        """Adds predictions; they survive a kill from here on, and the loss of power from a few seconds later on.

        Raises:
            DataError: The disk is full.
        """
        lines = "".join(json.dumps(p.as_json(), ensure_ascii=False) + "\n" for p in predictions)
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
        """Makes the asked file from the journal, and drops that.

        Raises:
            DataError: The file cannot be written.
        """
        with whole_or_nothing(self.out) as temporary:
            _WRITERS[self.out.suffix.lower()](self.done(), temporary)
        self.path.unlink()


def discard(out: Path) -> None:
    """Drops the file and the journal of an earlier batch, where there are such."""
    for path in (out, out.with_name(f"{out.name}.journal")):
        path.unlink(missing_ok=True)


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def table_row(prediction: Prediction) -> dict[str, Any]:
    """One row of a table of predictions: nested names joined by `_`, reasons by `;`."""
    classes = prediction.class_probability or {}
    row: dict[str, Any] = {"file": prediction.file, "sha256": prediction.sha256, "decision": prediction.decision.value}
    row |= {"reasons": ";".join(prediction.reasons), "detail": prediction.detail}
    row |= {"pneumonia_probability": prediction.pneumonia_probability}
    row |= {f"{name}_probability": classes.get(name) for name in ("normal", "bacterial", "viral")}
    point = prediction.operating_point.as_json()
    row |= {("operating_point" if key == "name" else key): value for key, value in point.items()}
    row |= {"evidence": prediction.evidence}
    row |= {f"bundle_{key}": value for key, value in asdict(prediction.bundle).items()}
    return row | {"notice": prediction.notice}


def _write_jsonl(predictions: Iterator[Prediction], file: Path) -> None:
    with file.open("w", encoding="utf-8") as stream:
        for prediction in predictions:
            stream.write(json.dumps(prediction.as_json(), ensure_ascii=False) + "\n")


def _write_csv(predictions: Iterator[Prediction], file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(map(table_row, predictions))


def _write_parquet(predictions: Iterator[Prediction], file: Path) -> None:
    from pyarrow import parquet

    writer = None
    try:
        while some := list(islice(predictions, _ROWS_PER_GROUP)):
            table = as_table(some)
            if writer is None:
                writer = parquet.ParquetWriter(file, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def as_table(predictions: Iterable[Prediction]) -> "arrow.Table":
    """An Arrow table of predictions, with `table_row`'s columns: float64 for numbers, else text."""
    import pyarrow as arrow

    kinds = [(name, arrow.float64() if _is_number(name) else arrow.string()) for name in COLUMNS]
    return arrow.Table.from_pylist([table_row(each) for each in predictions], schema=arrow.schema(kinds))


def _is_number(column: str) -> bool:
    return column in ("threshold", "sensitivity", "specificity") or column.endswith("_probability")


_WRITERS = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}
