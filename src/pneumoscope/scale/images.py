"""Addresses become images: paths as they are, everything else as bytes, read ahead; archives image by image."""

import tarfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePosixPath
from types import TracebackType

from pneumoscope.data.reading import MAX_BYTES
from pneumoscope.inference.inputs import is_dicom, is_image_name
from pneumoscope.scale.manifest import is_archive
from pneumoscope.scale.storage import Place, is_path
from pneumoscope.types import NamedImage, UnreadImage

Named = str | NamedImage | UnreadImage
"""A path; or an image's bytes, or the reason why there are none, with its name."""

# A store answers after tens of milliseconds; an image is judged in five.
_AHEAD = 16
_TOO_LARGE = f"more than {MAX_BYTES:,} bytes"


class ImageReader:
    """Reads images by several threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AHEAD, thread_name_prefix="read")

    def __enter__(self) -> "ImageReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def images(self, addresses: Iterable[str]) -> Iterator[Named]:
        """The images behind addresses, in their order; those of an archive are named `archive#member`.

        Raises:
            StorageError: An address cannot be reached; an image that is not there is an `UnreadImage` one.
        """
        waiting: deque[Named | Future[Named]] = deque()
        for address in addresses:
            if is_archive(address):
                yield from _arrived(waiting, 0)
                yield from _archived(address)
            else:
                waiting.append(address if is_path(address) else self._threads.submit(_read, address))
                yield from _arrived(waiting, _AHEAD)
        yield from _arrived(waiting, 0)


def _arrived(waiting: "deque[Named | Future[Named]]", left: int) -> Iterator[Named]:
    while len(waiting) > left:
        first = waiting.popleft()
        yield first.result() if isinstance(first, Future) else first


def _read(address: str) -> Named:
    try:
        content = Place(address).read(MAX_BYTES + 1)
    except FileNotFoundError:
        return UnreadImage(address, "no such file")
    return NamedImage(address, content) if len(content) <= MAX_BYTES else UnreadImage(address, _TOO_LARGE)


def _archived(address: str) -> Iterator[Named]:
    """An archive is read once, from its beginning to its end; where it is damaged it ends with an image that says so."""
    with Place(address).opened() as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Header) as archive:
                for member in archive:
                    if member.isfile() and (image := _member(archive, member, f"{address}#{member.name}")):
                        yield image
        except (tarfile.TarError, EOFError, ValueError) as error:
            yield UnreadImage(address, f"a damaged archive: {error}")


class _Header(tarfile.TarInfo):
    """Tells an archive that breaks off from one that ends; to the library both are the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(archive)
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError("it breaks off") from error


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Named | None:
    """The image that a file in an archive holds; None where it is none, as far as name and first bytes tell."""
    told = False if PurePosixPath(member.name).name.startswith(".") else is_image_name(member.name)
    if told is False:
        return None
    if member.size > MAX_BYTES:
        return UnreadImage(name, _TOO_LARGE) if told else None
    stream = archive.extractfile(member)
    content = stream.read() if stream else b""
    return NamedImage(name, content) if told or is_dicom(content) else None
