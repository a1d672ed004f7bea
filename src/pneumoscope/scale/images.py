"""Images behind addresses: local paths unchanged, all others as bytes that are read ahead; archives image by image."""

import tarfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePosixPath
from types import TracebackType

from pneumoscope.data.image_files import format_of, has_image_suffix
from pneumoscope.data.limits import MAX_BYTES
from pneumoscope.scale.manifest import is_archive
from pneumoscope.scale.storage import StoragePath, is_path
from pneumoscope.types import NamedImage, UnreadImage

AddressedImage = str | NamedImage | UnreadImage
"""Local path of an image; or its name with its bytes, or with the reason why these could not be read."""

# Images that are read ahead: a store responds after tens of milliseconds, a prediction takes five.
_AHEAD = 16
_TOO_LARGE = f"more than {MAX_BYTES:,} bytes"


class ImageReader:
    """Reader of images with several threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AHEAD, thread_name_prefix="read")

    def __enter__(self) -> "ImageReader":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def images(self, addresses: Iterable[str]) -> Iterator[AddressedImage]:
        """Reads the images behind addresses, in their order; images of an archive are named `archive#member`.

        Raises:
            StorageError: An address cannot be reached. An image that does not exist is an `UnreadImage` instead.
        """
        pending: deque[AddressedImage | Future[AddressedImage]] = deque()
        for address in addresses:
            if is_archive(address):
                yield from _drain(pending, 0)
                yield from _archive_images(address)
            else:
                pending.append(address if is_path(address) else self._threads.submit(_read, address))
                yield from _drain(pending, _AHEAD)
        yield from _drain(pending, 0)


def _drain(pending: "deque[AddressedImage | Future[AddressedImage]]", remaining: int) -> Iterator[AddressedImage]:
    """Takes images from the front, waiting for those that are being read, until `remaining` are left."""
    while len(pending) > remaining:
        first = pending.popleft()
        yield first.result() if isinstance(first, Future) else first


def _read(address: str) -> AddressedImage:
    try:
        content = StoragePath(address).read(MAX_BYTES + 1)
    except FileNotFoundError:
        return UnreadImage(address, "no such file")
    return NamedImage(address, content) if len(content) <= MAX_BYTES else UnreadImage(address, _TOO_LARGE)


def _archive_images(address: str) -> Iterator[AddressedImage]:
    """Images of a tar archive, which is read once from beginning to end; an unread image stands for damage."""
    with StoragePath(address).open() as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Header) as archive:
                for member in archive:
                    if member.isfile() and (image := _member(archive, member, f"{address}#{member.name}")):
                        yield image
        except (tarfile.TarError, EOFError, ValueError) as error:
            yield UnreadImage(address, f"a damaged archive: {error}")


class _Header(tarfile.TarInfo):
    """Header that distinguishes a truncated archive from a complete one; for tarfile both have ended."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(archive)
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError("it is truncated") from error


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> AddressedImage | None:
    """Image of a file in an archive; None where the file is no image by its name or first bytes."""
    if PurePosixPath(member.name).name.startswith("."):
        return None
    by_name = has_image_suffix(member.name)
    if member.size > MAX_BYTES:
        return UnreadImage(name, _TOO_LARGE) if by_name else None
    stream = archive.extractfile(member)
    content = stream.read() if stream else b""
    return NamedImage(name, content) if by_name or format_of(content) else None
