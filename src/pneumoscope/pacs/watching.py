"""A watched folder: DICOM files that others put there are taken once they are complete.

    folder/           files of any name, also in subfolders; hidden ones, such as those that rsync writes, are left alone
    folder/done/      files that were taken, where they are not deleted, in subfolders as they were
    folder/refused/   files that were not, in subfolders as they were, each with the reason in a .txt file beside it

A file is complete when two looks find it unchanged and it holds what its header announces. Where no look finds it complete for a
minute, it is refused; what is no DICOM file at all is refused at the second look. A file that was taken is renamed before it is deleted
or moved: what others put in its place meanwhile is a file of its own. Subfolders stay, since others may still write there. Neither
errors nor log lines have the names of files, which may be patients'.
"""

import logging
import os
import secrets
import stat
from collections import Counter
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
# Number of folders that subfolders may be within one another.
_DEEPEST = 16
_OWN_FOLDERS = ("done", "refused")
# Begins the names of files that were dealt with, until they are deleted or moved. They are listed as others are: one that a killed
# process leaves, or that is another file after all, is taken.
_CLAIM = ".pneumoscope-"
# Bytes of the preamble, and with the four letters after it.
_PREAMBLE, _HEAD = 128, 132
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
CountRefusal = Callable[[Literal["too_large", "not_understood"]], None]
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
    """Look at a folder and its subfolders at intervals; files that are complete are handed over.

    A folder that vanishes or cannot be read, and a full disk, are failures: looks go on, after growing pauses. A file that cannot be
    read or handed over stays where it is, and holds up no other.

    Attributes:
        taken: Number of files handed over and accepted.
        refused: Number of files that were refused.
    """

    def __init__(self, settings: WatchSettings, take: Take, count_refusal: CountRefusal = lambda _: None) -> None:
        """Prepares the thread.

        Args:
            settings: Folder, and what becomes of its files.
            take: Function that puts a DICOM file on disk; gives the reason where it is refused, else an empty text. Where it
                raises, the file is tried again.
            count_refusal: Function that counts a file that is refused without being handed over.
        """
        super().__init__("watched folder", settings.every_seconds)
        self.taken, self.refused = 0, 0
        self._settings, self._take, self._count_refusal = settings, take, count_refusal
        self._folder = Path(settings.folder)
        self._too_large = (
            f"expected at most {settings.megabytes:,.0f} MB, found more: raise watch.megabytes if images are so large"
        )
        # Reason to number of files that were refused in this look.
        self._refusals = Counter[str]()
        # Path in the folder to version and number of looks that found the same one before.
        self._seen: dict[str, tuple[_Version, int]] = {}
        # Path in the folder to version and reason of refusal of what was dealt with, but could be neither deleted nor moved.
        self._stuck: dict[str, tuple[_Version, str]] = {}
        self._later = Postponed(self.every_seconds)

    def step(self) -> None:
        """Looks once.

        Raises:
            StorageError: The folder or a subfolder cannot be read, or files that were dealt with can be neither deleted nor moved.
            Exception: The first failure to read or hand over a file, where none succeeded.
        """
        found, unread = self._versions()
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
        try:
            self._later.try_each(ready, self._deal_with, lambda: self.stopping)
        finally:
            for reason, number in self._refusals.items():
                _log.warning("watched folder: files refused: %d: %s", number, reason)
            self._refusals.clear()
        if self._stuck:
            raise StorageError(
                f"expected to move or delete {len(self._stuck)} files in the watched folder, could not: correct its rights"
            )
        if unread:
            raise StorageError(
                f"expected subfolders of the watched folder that can be read, at most {_DEEPEST} deep, found {unread} others: "
                "correct their rights, or move them up"
            )

    def _versions(self) -> tuple[dict[str, _Version], int]:
        """Path in the folder to version of each file, also in subfolders, and the number of subfolders that are not read.

        Symbolic links are themselves, not what they point to. `fwalk` follows none that takes the place of a folder meanwhile; files
        that are reached by one later have other versions.
        """
        found, unread = dict[str, _Version](), list[OSError]()
        top = f"{self._folder}/."  # the folder itself may be a symbolic link
        try:
            for path, folders, names, descriptor in os.fwalk(top, onerror=unread.append):
                parent = Path(os.path.relpath(path, top))
                entries = [(name, str(parent / name)) for name in (*folders, *names)]
                folders.clear()
                for name, entry in entries:
                    is_hidden = name.startswith(".") and not name.startswith(_CLAIM)
                    if is_hidden or entry in _OWN_FOLDERS:
                        continue
                    with suppress(FileNotFoundError):
                        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                        if not stat.S_ISDIR(status.st_mode):
                            found[entry] = _version(status)
                        elif len(parent.parts) < _DEEPEST:
                            folders.append(name)
                        else:
                            unread.append(OSError("too deep"))
        except OSError as error:
            raise StorageError(
                f"expected a readable folder as watch.folder, found: {error.strerror}: check path and rights"
            ) from error
        return found, sum(not isinstance(error, FileNotFoundError) for error in unread)

    def _deal_with(self, name: str) -> bool:
        """Hands over, or refuses, one file; gives False, and leaves it alone, while it may still grow."""
        version, looks = self._seen[name]
        content, reason = self._read(name, version)
        if content is not None and _is_whole(content):
            reason = self._take(content)
        else:
            if content is not None and looks * self.every_seconds >= _PATIENCE_SECONDS:
                reason = "expected a whole DICOM image, found one that is cut short or has no pixels: send it again"
            if not reason:
                return False
            self._count_refusal("too_large" if reason == self._too_large else "not_understood")
        if reason:
            self.refused += 1
            self._refusals[reason] += 1
        else:
            self.taken += 1
        self._put_away(name, version, reason)
        return True

    def _made(self, own: str, name: str) -> Path:
        """Folder within one of the watcher's own, for a file from the same subfolder."""
        folder = self._folder / own
        folder.mkdir(mode=_RIGHTS, exist_ok=True)
        for part in Path(name).parent.parts:
            # A file of this name may lie there from before.
            is_taken = (folder / part).is_symlink() or ((folder / part).exists() and not (folder / part).is_dir())
            folder = _free(folder, part) if is_taken else folder / part
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
                    return None, self._too_large
                content = stream.read(size)
                if _version(os.fstat(stream.fileno())) != version:
                    return None, ""
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            raise StorageError(
                f"expected to read a file in the watched folder, found: {error.strerror}: correct its rights"
            ) from error
        if _is_no_dicom(content):
            return None, "expected a DICOM file, found another: export it as DICOM"
        return content, ""

    def _put_away(self, name: str, version: _Version, reason: str) -> None:
        """Deletes or moves a file that was dealt with; the reason lies beside one that was refused."""
        path = self._folder / name
        claim = path.with_name(f"{_CLAIM}{secrets.token_hex(8)}")
        is_deleted = not reason and self._settings.taken == "delete"
        try:
            target = claim if is_deleted else _free(self._made("refused" if reason else "done", name), path.name)
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
            self._stuck[str(claim.relative_to(self._folder)) if claim.exists() else name] = version, reason
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


def _is_no_dicom(content: bytes) -> bool:
    """Whether a file, whole or not, is none of DICOM; a preamble that is not whole yet has to be of zeros, as nearly all are."""
    return not content.startswith(b"DICM", _PREAMBLE) if len(content) >= _HEAD else any(content[:_PREAMBLE])


def _is_whole(content: bytes) -> bool:
    """Whether a file holds all pixels that its header announces."""
    try:
        dataset = read_elements(content, _DESCRIPTION)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            return "PixelData" in dataset  # pydicom leaves out a sequence of fragments without its end
        return len(dataset.PixelData) >= get_expected_length(dataset)
    except Exception:  # pydicom's errors for damaged files are of every type
        return False
