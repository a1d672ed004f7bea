"""Images that the service keeps, where the user wants it: a reader finds the worklist again on another machine."""

import asyncio
import contextlib
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from pneumoscope.errors import ConfigError, DataError
from pneumoscope.files import atomic_write
from pneumoscope.serving.problems import Problem, ProblemError

_HASH = re.compile(r"[0-9a-f]{64}")
_FOLDER_RIGHTS, _FILE_RIGHTS = 0o700, 0o600


class KeptImages:
    """Folder of image files by their SHA-256, readable by its owner alone."""

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
            self._sizes = {
                each.name: each.stat().st_size for each in self._folder.iterdir() if _HASH.fullmatch(each.name)
            }
        except OSError as error:
            raise ConfigError(
                f"expected a folder at {folder}, found: {error}: name another with --keep-films"
            ) from error

        self._held = sum(self._sizes.values())

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._sizes

    async def add(self, images: Sequence[tuple[str, bytes]]) -> int:
        """Keep images by their SHA-256; gives how many there was no room for.

        Raises:
            DataError: An image cannot be written.
        """
        left_out = 0
        for sha256, content in images:
            if not sha256 or sha256 in self._sizes:
                continue
            if self._held + len(content) > self._limit:
                left_out += 1
                continue
            self._count(sha256, len(content))
            try:
                await asyncio.to_thread(_write, self._folder / sha256, content)
            except DataError:
                self._discount(sha256)
                raise
        return left_out

    def _count(self, sha256: str, size: int) -> None:
        self._sizes[sha256] = size
        self._held += size

    def _discount(self, sha256: str) -> None:
        self._held -= self._sizes.pop(sha256, 0)

    async def read(self, sha256: str) -> bytes:
        """Bytes of a kept image.

        Raises:
            ProblemError: No such image.
        """
        if sha256 not in self._sizes:
            raise ProblemError(Problem.NOT_FOUND, f"expected a kept image {sha256[:64]}, found none")
        return await asyncio.to_thread((self._folder / sha256).read_bytes)

    async def keep_only(self, hashes: Collection[str]) -> None:
        """Delete all images but those with these hashes."""
        for sha256 in set(self._sizes) - set(hashes):
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(os.unlink, self._folder / sha256)
            self._discount(sha256)


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.touch(mode=_FILE_RIGHTS)
        temporary.write_bytes(content)
