"""Files and folders at any address: paths, and what fsspec reaches, such as s3://, gs://, abfs:// and hdfs://."""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from fsspec.core import url_to_fs

from pneumoscope.errors import ConfigError, PneumoscopeError, StorageError
from pneumoscope.files import whole_or_nothing

# Where an object appears whole or not at all once it is put; elsewhere it is moved to its name once it is written.
_ATOMIC = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "r2", "memory"})


def is_path(address: str) -> bool:
    """Whether an address is a path of this machine, and not behind a protocol."""
    return "://" not in address


@dataclass(frozen=True)
class Place:
    """A file or folder, whether it is there or not.

    Attributes:
        address: As it was named.
    """

    address: str

    def __truediv__(self, name: str) -> "Place":
        return Place(f"{self.address.rstrip('/')}/{name}")

    @property
    def parent(self) -> "Place":
        """The folder around it."""
        return Place(posixpath.dirname(self.address) or ".") if "/" in self.address else Place(".")

    def exists(self) -> bool:
        """Whether a file is there.

        Raises:
            StorageError: The address cannot be reached.
        """
        return self._kind() == "file"

    def is_folder(self) -> bool:
        """Whether a folder is there.

        Raises:
            StorageError: The address cannot be reached.
        """
        return self._kind() == "directory"

    def _kind(self) -> str | None:
        # Not by `isfile` and `isdir`, which say no as well where the address cannot be reached.
        with self._told("to look at"):
            try:
                self._system.invalidate_cache(self._path)
                return str(self._system.info(self._path)["type"])
            except FileNotFoundError:
                return None

    def names(self) -> list[str]:
        """Names of the files directly in this folder; none where it is not there.

        Raises:
            StorageError: The address cannot be reached.
        """
        with self._told("to list"):
            self._system.invalidate_cache(self._path)
            try:
                found = self._system.ls(self._path, detail=True)
            except FileNotFoundError:
                return []
            return [posixpath.basename(each["name"]) for each in found if each["type"] == "file"]

    def walk(self) -> Iterator[str]:
        """Addresses of all files in this folder and those in it, sorted within each; hidden ones are left out.

        Raises:
            StorageError: The address cannot be reached.
        """
        with self._told("to list"):
            for folder, folders, files in self._system.walk(self._path):
                # The walk goes on with what is left in `folders`, in this order.
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(files):
                    if name and not name.startswith("."):
                        yield self._system.unstrip_protocol(f"{folder}/{name}")

    def matching(self) -> list[str]:
        """Addresses that fit this one as a pattern, sorted.

        Raises:
            StorageError: The address cannot be reached.
        """
        with self._told("to list"):
            return sorted(map(self._system.unstrip_protocol, self._system.glob(self._path)))

    def read(self, most: int | None = None) -> bytes:
        """The file's bytes, at most so many.

        Raises:
            FileNotFoundError: There is no such file.
            StorageError: The address cannot be reached or read.
        """
        with self._told("to read"):
            try:
                content: bytes = self._system.cat_file(self._path, end=most)
            except OSError:
                # A store has no range of an empty file to give.
                if most is None or self._system.size(self._path) != 0:
                    raise
                return b""
            return content

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, for reading.

        Raises:
            StorageError: There is no such file, or the address cannot be reached.
        """
        try:
            with self._told("to read"), self._system.open(self._path, "rb") as stream:
                yield stream
        except FileNotFoundError as error:
            raise StorageError(f"expected a file at {self.address}, found none: check the address") from error

    def write(self, content: bytes) -> None:
        """Writes the file so that it is there whole or not at all, also after a kill.

        Raises:
            StorageError: The address cannot be written.
            DataError: The disk is full or the folder cannot be written.
        """
        if is_path(self.address):
            with whole_or_nothing(Path(self.address)) as temporary:
                temporary.write_bytes(content)
            return
        with self._told("to write"):
            if _ATOMIC.intersection(_protocols(self._system)):
                self._system.pipe_file(self._path, content)
                return
            self._system.makedirs(posixpath.dirname(self._path), exist_ok=True)
            # Of its own: a worker taken for dead may still be writing the same file, with the same bytes.
            temporary_path = f"{self._path}.partial-{uuid4().hex}"
            self._system.pipe_file(temporary_path, content)
            self._system.mv(temporary_path, self._path)

    @property
    def _system(self) -> Any:
        return _reached(self.address)[0]

    @property
    def _path(self) -> str:
        return _reached(self.address)[1]

    @contextmanager
    def _told(self, wanted: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, PneumoscopeError):
            raise
        except Exception as error:  # every protocol's library has exceptions of its own
            raise StorageError(
                f"expected {wanted} {self.address}, found {str(error).splitlines()[0] if str(error) else error!r}: see that "
                "it can be reached, then run the same command again"
            ) from error


def _reached(address: str) -> tuple[Any, str]:
    try:
        system, path = url_to_fs(address)
    except ImportError as error:
        advice = "pip install 'pneumoscope[s3]'" if address.startswith(("s3://", "s3a://")) else "do as it says"
        raise ConfigError(f"expected the package behind {address}, found it missing ({error}): {advice}") from error
    except ValueError as error:
        raise ConfigError(f"expected an address that fsspec knows, found {address} ({error}): change it") from error
    return system, path


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)
