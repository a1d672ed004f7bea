"""Images that the service keeps, where the user wants it: a reader finds the worklist again on another machine."""

import asyncio
import contextlib
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from pneumoscope.errors import ConfigError, DataError
from pneumoscope.files import atomic_write
from pneumoscope.serving.problems import Problem, ProblemError

# A file's name says what the history, which keeps nothing of patients, does not: hash, key of the patient and date.
_NAME = re.compile(r"([0-9a-f]{64})(?:-([0-9a-f]{16})?-(\d{4}-\d\d-\d\d)?)?")
_FOLDER_RIGHTS, _FILE_RIGHTS = 0o700, 0o600


@dataclass(frozen=True, slots=True)
class KeptImage:
    """Image that is kept, or is to be.

    Attributes:
        sha256: SHA-256 of the file.
        patient: Key of the patient, 16 hex digits; empty where it is not known.
        taken: Date of the acquisition, ISO 8601; empty where it is not known.
    """

    sha256: str
    patient: str = ""
    taken: str = ""

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.sha256}-{self.patient}-{self.taken}" if self.patient or self.taken else self.sha256


class KeptImages:
    """Folder of image files, readable by its owner alone."""

    def __init__(self, folder: Path, bytes_limit: int) -> None:
        """Open or create the folder.

        Args:
            folder: Folder.
            bytes_limit: Largest sum of all files, bytes; images beyond it are not kept.

        Raises:
            ConfigError: The folder cannot be used.
        """
        self._folder, self._limit = folder.resolve(), bytes_limit
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=_FOLDER_RIGHTS)
            found = [
                (KeptImage(*(part or "" for part in name.groups())), each.stat().st_size)
                for each in self._folder.iterdir()
                if (name := _NAME.fullmatch(each.name))
            ]
        except OSError as error:
            raise ConfigError(
                f"expected a folder at {folder}, found: {error}: name another with --keep-films"
            ) from error

        self._kept = {image.sha256: (image, size) for image, size in found}
        self._held = sum(size for _, size in self._kept.values())

    def find(self, sha256: str) -> KeptImage | None:
        """Find what is known of a kept image; None where it is not kept."""
        return self._kept[sha256][0] if sha256 in self._kept else None

    async def add(self, images: Iterable[tuple[KeptImage, bytes]]) -> int:
        """Keep images; gives how many there was no room for.

        Raises:
            DataError: An image cannot be written.
        """
        left_out = 0
        for image, content in images:
            if not image.sha256 or image.sha256 in self._kept:
                continue
            if self._held + len(content) > self._limit:
                left_out += 1
                continue
            self._count(image, len(content))
            try:
                await asyncio.to_thread(_write, self._folder / image.file, content)
            except DataError:
                self._discount(image.sha256)
                raise
        return left_out

    def _count(self, image: KeptImage, size: int) -> None:
        self._kept[image.sha256] = image, size
        self._held += size

    def _discount(self, sha256: str) -> None:
        if sha256 in self._kept:
            self._held -= self._kept.pop(sha256)[1]

    async def read(self, sha256: str) -> bytes:
        """Bytes of a kept image.

        Raises:
            ProblemError: No such image.
        """
        if (image := self.find(sha256)) is None:
            raise ProblemError(Problem.NOT_FOUND, f"expected a kept image {sha256[:64]}, found none")
        return await asyncio.to_thread((self._folder / image.file).read_bytes)

    async def keep_only(self, hashes: Collection[str]) -> None:
        """Delete all images but those with these hashes."""
        for sha256 in set(self._kept) - set(hashes):
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(os.unlink, self._folder / self._kept[sha256][0].file)
            self._discount(sha256)


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.touch(mode=_FILE_RIGHTS)
        temporary.write_bytes(content)
