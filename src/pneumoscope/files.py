"""Atomic writes, file locks, JSON and hashes of files."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pneumoscope.errors import DataError

_TEMPORARY = ".partial-"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Temporary path beside `path` that replaces it when the block succeeds and is removed when it fails.

    Raises:
        DataError: Full disk, or folder that cannot be written.
    """
    temporary = path.with_name(f"{path.name}{_TEMPORARY}{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
    except OSError as error:
        raise _as_data_error(error, path) from error
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _as_data_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of processes that were killed while they wrote `path`."""
    for leftover in path.parent.glob(f"{path.name}{_TEMPORARY}*"):
        owner = leftover.name.rpartition("-")[2]
        if not Path(f"/proc/{owner}").exists() or owner == str(os.getpid()):
            leftover.unlink(missing_ok=True)


def _as_data_error(error: OSError, path: Path) -> DataError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        free_mb = shutil.disk_usage(folder).free / 1e6
        return DataError(
            f"expected free disk space for {path}, found {free_mb:.0f} MB free: "
            "free some space or name another folder, then run the same command again"
        )
    return DataError(f"cannot write {path}: {error.strerror or error}; name another folder")


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file for the block; waits for other processes, and is released when this one ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    except OSError as error:
        raise _as_data_error(error, path) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON in the format of `to_dict`, atomically."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """JSON text with an indent of two spaces and a final newline; NaN becomes null."""
    return json.dumps(_without_nan(value), indent=2, ensure_ascii=False) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_or_empty(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits; empty where it is no file or cannot be read."""
    try:
        return sha256_of_file(path) if path.is_file() else ""
    except OSError:
        return ""


def sha256_of_lines(lines: Iterator[str] | list[str]) -> str:
    """SHA-256 of lines joined by newlines, 64 hex digits."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
