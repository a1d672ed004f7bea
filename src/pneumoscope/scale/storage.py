"""Files and folders at any address: local paths, and stores that fsspec reaches, such as s3://, gs://, abfs:// and hdfs://."""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from fsspec.core import url_to_fs

from pneumoscope.errors import ConfigError, PneumoscopeError, StorageError
from pneumoscope.files import atomic_write

# Protocols that put an object whole or not at all; with all others a file is moved to its name once it is written.
_ATOMIC = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "r2", "memory"})


def is_path(address: str) -> bool:
    """Whether an address is a path of this machine, without a protocol."""
    return "://" not in address


@dataclass(frozen=True)
class StoragePath:
    """Path of a file or folder on this machine or in a store, whether it exists or not.

    Attributes:
        address: Local path, or address with a protocol, as the user gave it.
    """

    address: str

    def __truediv__(self, name: str) -> "StoragePath":
        return StoragePath(f"{self.address.rstrip('/')}/{name}")

    @property
    def parent(self) -> "StoragePath":
        """Folder that contains this file or folder."""
        return StoragePath(posixpath.dirname(self.address) or ".") if "/" in self.address else StoragePath(".")

    def exists(self) -> bool:
        """Whether this is an existing file.

        Raises:
            StorageError: The address cannot be reached.
        """
        return self._type() == "file"

    def is_folder(self) -> bool:
        """Whether this is an existing folder.

        Raises:
            StorageError: The address cannot be reached.
        """
        return self._type() == "directory"

    def _type(self) -> str | None:
        """Type that fsspec reports, such as file or directory; None where nothing exists."""
        # `isfile` and `isdir` are also False where the address cannot be reached.
        with self._storage_errors("access"):
            try:
                self._filesystem.invalidate_cache(self._path)
                return str(self._filesystem.info(self._path)["type"])
            except FileNotFoundError:
                return None

    def names(self) -> list[str]:
        """Names of the files directly in this folder; none where the folder does not exist.

        Raises:
            StorageError: The address cannot be reached.
        """
        with self._storage_errors("list"):
            self._filesystem.invalidate_cache(self._path)
            try:
                found = self._filesystem.ls(self._path, detail=True)
            except FileNotFoundError:
                return []
            return [posixpath.basename(each["name"]) for each in found if each["type"] == "file"]

    def walk(self) -> Iterator[str]:
        """Addresses of all files in this folder and its subfolders, sorted within each, without hidden ones.

        Raises:
            StorageError: The address cannot be reached.
        """
        with self._storage_errors("list"):
            for folder, folders, files in self._filesystem.walk(self._path):
                # fsspec descends into what is left in `folders`, in this order.
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(files):
                    if name and not name.startswith("."):
                        yield self._filesystem.unstrip_protocol(f"{folder}/{name}")

    def matching(self) -> list[str]:
        """Addresses that match this one as a pattern, sorted.

        Raises:
            StorageError: The address cannot be reached.
        """
        with self._storage_errors("list"):
            return sorted(map(self._filesystem.unstrip_protocol, self._filesystem.glob(self._path)))

    def read(self, max_bytes: int | None = None) -> bytes:
        """Reads the file.

        Args:
            max_bytes: Number of bytes to read at most, from the beginning; all where None.

        Raises:
            FileNotFoundError: There is no such file.
            StorageError: The address cannot be reached or read.
        """
        with self._storage_errors("read"):
            try:
                content: bytes = self._filesystem.cat_file(self._path, end=max_bytes)
            except OSError:
                # Stores refuse a range of an empty file.
                if max_bytes is None or self._filesystem.size(self._path) != 0:
                    raise
                return b""
            return content

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Opens the file for reading.

        Raises:
            StorageError: The file does not exist, or the address cannot be reached.
        """
        try:
            with self._storage_errors("read"), self._filesystem.open(self._path, "rb") as stream:
                yield stream
        except FileNotFoundError as error:
            raise StorageError(f"expected a file at {self.address}, found none: check the address") from error

    def write(self, content: bytes) -> None:
        """Writes the file so that it exists whole or not at all, also after a kill.

        Raises:
            StorageError: The address cannot be written.
            DataError: The disk is full or the folder cannot be written.
        """
        if is_path(self.address):
            with atomic_write(Path(self.address)) as temporary:
                temporary.write_bytes(content)
            return
        with self._storage_errors("write"):
            if _ATOMIC.intersection(_protocols(self._filesystem)):
                self._filesystem.pipe_file(self._path, content)
                return
            self._filesystem.makedirs(posixpath.dirname(self._path), exist_ok=True)
            # A name of its own: a worker taken for dead may still be writing the same file, with the same bytes.
            temporary_path = f"{self._path}.partial-{uuid4().hex}"
            self._filesystem.pipe_file(temporary_path, content)
            self._filesystem.mv(temporary_path, self._path)

    @property
    def _filesystem(self) -> Any:
        return _filesystem_and_path(self.address)[0]

    @property
    def _path(self) -> str:
        return _filesystem_and_path(self.address)[1]

    @contextmanager
    def _storage_errors(self, action: str) -> Iterator[None]:
        """Turns the errors of a protocol's library into a `StorageError`, except for missing files."""
        try:
            yield
        except (FileNotFoundError, PneumoscopeError):
            raise
        except Exception as error:  # every protocol's library has its own exceptions
            cause = str(error).splitlines()[0] if str(error) else repr(error)
            raise StorageError(
                f"cannot {action} {self.address}: {cause}; check that it can be reached, then run the same command again to "
                "resume"
            ) from error


def _filesystem_and_path(address: str) -> tuple[Any, str]:
    try:
        filesystem, path = url_to_fs(address)
    except ImportError as error:
        advice = "pip install 'pneumoscope[s3]'" if address.startswith(("s3://", "s3a://")) else "install it"
        raise ConfigError(f"expected the package behind {address}, found it missing ({error}): {advice}") from error
    except ValueError as error:
        raise ConfigError(f"expected an address that fsspec knows, found {address} ({error}): change it") from error
    return filesystem, path


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
