"""A watched folder: DICOM files that others put there are taken once they are complete.

    folder/           files of any name; hidden ones, such as those that rsync writes, are left alone, and so are folders
    folder/done/      files that were taken, where they are not deleted
    folder/refused/   files that were not, each with the reason in a .txt file beside it

A file is complete when two looks find it unchanged and it holds what its header announces. Where no look finds it complete for a
minute, it is refused. A file that was taken is renamed before it is deleted or moved: what others put in its place meanwhile is a file
of its own. Neither errors nor log lines have the names of files, which may be patients'.
"""

import logging
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydicom.pixels.utils import get_expected_length

from pneumoscope.data.dicom import read_elements
from pneumoscope.errors import ConfigError, StorageError
from pneumoscope.pacs.periodic import Periodic, Postponed

_log = logging.getLogger("pneumoscope.pacs")
_RIGHTS = 0o700
# A file that is unchanged for so long and yet not whole will not become so.
_PATIENCE_SECONDS = 60.0
# Begins the names of files that were dealt with, until they are deleted or moved. They are listed as others are: one that a killed
# process leaves, or that is another file after all, is taken.
_CLAIM = ".pneumoscope-"
# Bytes of the preamble and of the four letters after it.
_HEAD = 132
_DESCRIPTION = (
    *(
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "NumberOfFrames",
        "BitsAllocated",
        "PhotometricInterpretation",
        "PixelData",
    ),
)

Take = Callable[[bytes], str]
# Inode, size and time of the last change.
_Version = tuple[int, int, int]


@dataclass(frozen=True)
class WatchSettings:
    """Watched folder: the table `[watch]`.

    Attributes:
        folder: Path of the folder.
        taken: Fate of files that were taken: `delete`, or `keep` in `done`.
        every_seconds: Pause between two looks, seconds.
        megabytes: Size of the largest file that is taken, MB.
    """

    folder: str = ""
    taken: Literal["delete", "keep"] = "delete"
    every_seconds: float = 5.0
    megabytes: int = 200

    def __post_init__(self) -> None:
        """Raises ConfigError for values that are out of range."""
        if not self.folder:
            raise ConfigError("expected a path in watch.folder, found none: name the folder")
        for name, value in (("every_seconds", self.every_seconds), ("megabytes", self.megabytes)):
            if not 0 < value < 100_000:
                raise ConfigError(f"expected watch.{name} above 0 and below 100000, found {value:g}: change it")

    def within(self, folder: Path) -> "WatchSettings":
        """Settings whose path, if relative, is relative to a folder."""
        return replace(self, folder=str(folder / self.folder))


def check_watched(settings: WatchSettings) -> None:
    """Check that the watched folder is there, and can be read and written.

    Raises:
        ConfigError: It cannot.
    """
    folder = Path(settings.folder)
    if not folder.is_dir():
        raise ConfigError(f"expected a folder as watch.folder, found none at {folder}: make it, or name another")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(
            f"expected to read and write watch.folder {folder}, found that it cannot be: correct its rights, since files that were "
            "taken are deleted or moved"
        )


class FolderWatcher(Periodic):
    """Look at a folder at intervals; files that are complete are handed over.

    A folder that vanishes or cannot be read, and a full disk, are failures: looks go on, after growing pauses. A file that cannot be
    read or handed over stays where it is, and holds up no other.

    Attributes:
        taken: Number of files handed over and accepted.
        refused: Number of files that were refused.
    """

    def __init__(self, settings: WatchSettings, take: Take) -> None:
        """Prepares the thread.

        Args:
            settings: Folder, and what becomes of its files.
            take: Function that puts a DICOM file on disk; gives the reason where it is refused, else an empty text. Where it
                raises, the file is tried again.
        """
        super().__init__("watched folder", settings.every_seconds)
        self.taken, self.refused = 0, 0
        self._settings, self._take = settings, take
        self._folder = Path(settings.folder)
        # Name to version and number of looks that found the same one before.
        self._seen: dict[str, tuple[_Version, int]] = {}
        # Name to version and reason of refusal of what was dealt with, but could be neither deleted nor moved.
        self._stuck: dict[str, tuple[_Version, str]] = {}
        self._later = Postponed(self.every_seconds)

    def step(self) -> None:
        """Looks once.

        Raises:
            StorageError: The folder cannot be read, or files that were dealt with can be neither deleted nor moved.
            Exception: The first failure to read or hand over a file, where none succeeded.
        """
        found = self._versions()
        before = self._seen
        self._seen = {
            name: (version, before[name][1] + 1 if before.get(name, (None,))[0] == version else 0)
            for name, version in found.items()
        }
        self._later.keep_only(found)
        stuck, self._stuck = self._stuck, {}
        for name, (version, reason) in stuck.items():
            if found.get(name) == version:
                self._put_away(name, version, reason)
        ready = [
            name for name, (version, looks) in self._seen.items() if looks and stuck.get(name, (None,))[0] != version
        ]
        self._later.try_each(ready, self._deal_with, lambda: self.stopping)
        if self._stuck:
            raise StorageError(
                f"expected to move or delete {len(self._stuck)} files in the watched folder, could not: correct its rights"
            )

    def _versions(self) -> dict[str, _Version]:
        """Name to version of what lies in the folder; symbolic links are themselves, not what they point to."""
        found = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    is_hidden = entry.name.startswith(".") and not entry.name.startswith(_CLAIM)
                    if is_hidden or entry.is_dir(follow_symlinks=False):
                        continue
                    with suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        found[entry.name] = _version(status)
        except OSError as error:
            raise StorageError(
                f"expected a readable folder as watch.folder, found: {error.strerror}: check path and rights"
            ) from error
        return found

    def _deal_with(self, name: str) -> bool:
        """Hands over, or refuses, one file; gives False, and leaves it alone, while it may still grow."""
        version, looks = self._seen[name]
        content, reason = self._read(name, version)
        if content is not None and _is_whole(content):
            reason = self._take(content)
        elif content is not None and looks * self.every_seconds >= _PATIENCE_SECONDS:
            reason = "expected a whole DICOM image, found one that is cut short or has no pixels: send it again"
        elif not reason:
            return False
        if reason:
            self.refused += 1
        else:
            self.taken += 1
        self._put_away(name, version, reason)
        return True

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(mode=_RIGHTS, exist_ok=True)
        return folder

    def _read(self, name: str, version: _Version) -> tuple[bytes | None, str]:
        """Bytes of a file, and the reason why it is refused; neither where it changed meanwhile."""
        path, most = self._folder / name, self._settings.megabytes * 1_000_000
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return None, "expected a file, found a symbolic link or the like: copy the file itself"
            # What took the file's place since is neither followed nor waited for.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
                if (size := os.fstat(stream.fileno()).st_size) > most:
                    return (
                        None,
                        f"expected at most {most / 1e6:,.0f} MB, found more: raise watch.megabytes if images are so large",
                    )
                content = stream.read(size)
                if _version(os.fstat(stream.fileno())) != version:
                    return None, ""
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            raise StorageError(
                f"expected to read a file in the watched folder, found: {error.strerror}: correct its rights"
            ) from error
        if len(content) >= _HEAD and not content[:_HEAD].endswith(b"DICM"):
            return None, "expected a DICOM file, found another: export it as DICOM"
        return content, ""

    def _put_away(self, name: str, version: _Version, reason: str) -> None:
        """Deletes or moves a file that was dealt with; the reason lies beside one that was refused."""
        path, claim = self._folder / name, self._folder / f"{_CLAIM}{secrets.token_hex(8)}"
        is_deleted = not reason and self._settings.taken == "delete"
        try:
            target = claim if is_deleted else _free(self._made("refused" if reason else "done"), name)
            if _version(path.lstat()) != version:
                return
            path.rename(claim)
            if _version(claim.lstat()) != version:
                return
            if is_deleted:
                claim.unlink()
            else:
                claim.rename(target)
        except FileNotFoundError:
            return
        except OSError:
            self._stuck[claim.name if claim.exists() else name] = version, reason
            return
        if reason:
            try:
                target.with_name(f"{target.name}.txt").write_text(f"{reason}\n", encoding="utf-8")
            except OSError as error:
                _log.warning("watched folder: the reason of a refused file cannot be written: %s", error.strerror)


def _version(status: os.stat_result) -> _Version:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _free(folder: Path, name: str) -> Path:
    """Path in a folder that neither a file nor its reason has yet: the name, or the name with a number."""
    number, path = 1, folder / name
    while path.is_symlink() or path.exists() or path.with_name(f"{path.name}.txt").exists():
        number += 1
        path = folder / f"{name}-{number}"
    return path


def _is_whole(content: bytes) -> bool:
    """Whether a file holds all pixels that its header announces."""
    try:
        dataset = read_elements(content, _DESCRIPTION)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            return "PixelData" in dataset  # pydicom leaves out a sequence of fragments without its end
        return len(dataset.PixelData) >= get_expected_length(dataset)
    except Exception:  # pydicom's errors for damaged files are of every type
        return False
