"""Request bodies, read within limits of bytes and time, into memory alone."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.settings import Settings
from pneumoscope.types import NamedImage

IMAGE_TYPES = ("image/jpeg", "image/png", "application/dicom", "application/octet-stream")
FORM_TYPE = "multipart/form-data"
JSON_TYPE = "application/json"
CSV_TYPE = "text/csv"
# Largest body of text: thousands of readings, a hundred thousand reports.
_TEXT_BYTES = 8 * 2**20
# Bytes of a form beside those of each image.
_FORM_BYTES = 4096


@dataclass
class _Reservation:
    """Memory that one request holds, bytes."""

    bytes: int = 0


class Uploads:
    """Reader of bodies, with an account of the memory that they hold until they are answered.

    Attributes:
        held: Bytes of all images that are arriving, waiting or at work.
    """

    def __init__(self, settings: Settings) -> None:
        """Starts with no memory held, within the limits of the settings."""
        self._settings = settings
        self.held = 0

    @asynccontextmanager
    async def image(self, request: Request, name: str) -> AsyncIterator[NamedImage]:
        """Body as an image, held until the block ends.

        Raises:
            ProblemError: Empty, too large, too slow, of another type, or no room for it now.
        """
        self._check_type(request, IMAGE_TYPES, optional=True)
        limit = self._settings.image_bytes
        self._check_announced(request, limit)
        with self._reserved() as reservation:
            parts = bytearray()
            async for chunk in self._in_time(request, limit, reservation):
                parts += chunk
            if not parts:
                raise ProblemError(Problem.INVALID_REQUEST, "expected an image as the body, found an empty one")
            yield NamedImage(name, bytes(parts))

    @asynccontextmanager
    async def images(self, request: Request) -> AsyncIterator[list[NamedImage]]:
        """Files of a form, held until the block ends.

        Raises:
            ProblemError: Empty, too large, too slow, of another type, no room for it now, too many files, or none.
        """
        self._check_type(request, (FORM_TYPE,))
        limit = min((self._settings.image_bytes + _FORM_BYTES) * self._settings.images, self._settings.held_bytes)
        self._check_announced(request, limit)
        with self._reserved() as reservation:
            yield await self._files(request, limit, reservation)

    async def text(self, request: Request, kind: str) -> bytes:
        """Body of a type of text, such as JSON or CSV, as bytes.

        Raises:
            ProblemError: Too large, too slow, of another type, or no room for it now.
        """
        self._check_type(request, (kind,))
        self._check_announced(request, _TEXT_BYTES)
        parts = bytearray()
        with self._reserved() as reservation:
            async for chunk in self._in_time(request, _TEXT_BYTES, reservation):
                parts += chunk
        return bytes(parts)

    async def _files(self, request: Request, limit: int, reservation: _Reservation) -> list[NamedImage]:
        body = self._in_time(request, limit, reservation)
        parser = MultiPartParser(request.headers, body, max_files=self._settings.images + 1)
        # Larger parts would otherwise go to a file on disk.
        parser.spool_max_size = limit
        try:
            form = await parser.parse()
        except MultiPartException as error:
            if error.message.startswith("Too many files"):
                raise self._too_many() from error
            raise ProblemError(Problem.BAD_REQUEST, f"expected a form, found: {error.message}") from error
        except (KeyError, ValueError) as error:
            raise ProblemError(Problem.BAD_REQUEST, f"expected a form with a boundary, found: {error}") from error
        try:
            files = [value for key, value in form.multi_items() if key == "files" and isinstance(value, UploadFile)]
            if not files:
                raise ProblemError(
                    Problem.INVALID_REQUEST, "expected at least one file in the field `files`, found none"
                )
            if len(files) > self._settings.images:
                raise self._too_many()
            if max(file.size or 0 for file in files) > self._settings.image_bytes:
                raise self._too_large(self._settings.image_bytes)
            return [NamedImage(file.filename or "", await file.read()) for file in files]
        finally:
            await form.close()

    @contextmanager
    def _reserved(self) -> Iterator[_Reservation]:
        reservation = _Reservation()
        try:
            yield reservation
        finally:
            self.held -= reservation.bytes

    def _take(self, reservation: _Reservation, count: int) -> None:
        if self.held + count > self._settings.held_bytes:
            message = f"expected room for {count} more bytes, found {self.held} held by images that wait"
            raise ProblemError(Problem.BUSY, message, {"Retry-After": "1", "Connection": "close"})
        reservation.bytes += count
        self.held += count

    async def _in_time(self, request: Request, limit: int, reservation: _Reservation) -> AsyncGenerator[bytes, None]:
        left = asyncio.get_running_loop().time() + self._settings.upload_seconds
        found = 0
        stream = request.stream()
        try:
            while True:
                async with asyncio.timeout_at(left):
                    chunk = await anext(stream, None)
                if chunk is None:
                    return
                found += len(chunk)
                if found > limit:
                    raise self._too_large(limit)
                self._take(reservation, len(chunk))
                yield chunk
        except TimeoutError as error:
            message = (
                f"expected the whole body within {self._settings.upload_seconds:g} seconds, found {found} bytes of it"
            )
            raise ProblemError(Problem.UPLOAD_TIMEOUT, message, {"Connection": "close"}) from error

    def _check_type(self, request: Request, known: tuple[str, ...], optional: bool = False) -> None:
        found = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if found not in known and not (optional and not found):
            raise ProblemError(
                Problem.UNSUPPORTED_MEDIA_TYPE,
                f"expected {' or '.join(known)}, found {found[:100] or 'none'}",
                {"Accept": ", ".join(known), "Connection": "close"},
            )

    def _check_announced(self, request: Request, limit: int) -> None:
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            raise self._too_large(limit)

    def _too_large(self, limit: int) -> ProblemError:
        return ProblemError(Problem.TOO_LARGE, f"expected at most {limit} bytes, found more", {"Connection": "close"})

    def _too_many(self) -> ProblemError:
        return ProblemError(
            Problem.TOO_MANY_IMAGES,
            f"expected at most {self._settings.images} files, found more",
            {"Connection": "close"},
        )


def parsed(adapter: TypeAdapter[Any], content: bytes) -> Any:
    """Body as the schema has it.

    Raises:
        ProblemError: Another body.
    """
    try:
        return adapter.validate_json(content)
    except ValidationError as error:
        errors = [
            {"where": ".".join(map(str, ("body", *each["loc"]))), "found": each["msg"]} for each in error.errors()[:10]
        ]
        detail = "; ".join(f"{each['where']}: {each['found']}" for each in errors[:3])
        raise ProblemError(Problem.INVALID_REQUEST, detail, errors=errors) from error
