"""The body of a request, within limits of bytes and time, in memory alone."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pneumoscope.inference.detector import NamedImage
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.settings import Settings

IMAGE_TYPES = ("image/jpeg", "image/png", "application/dicom", "application/octet-stream")
FORM_TYPE = "multipart/form-data"
# A form's own words beside each image's bytes.
_AROUND = 4096


class Uploads:
    """Reads bodies."""

    def __init__(self, settings: Settings) -> None:
        """Within these limits."""
        self._settings = settings

    async def image(self, request: Request, name: str) -> NamedImage:
        """The body as an image.

        Raises:
            ProblemError: Empty, too large, too slow, or of another type.
        """
        self._check_type(request, IMAGE_TYPES, optional=True)
        limit = self._settings.image_bytes
        self._check_announced(request, limit)
        parts = bytearray()
        async for chunk in self._in_time(request, limit):
            parts += chunk
        if not parts:
            raise ProblemError(Problem.INVALID_REQUEST, "expected an image as the body, found an empty one")
        return NamedImage(name, bytes(parts))

    async def images(self, request: Request) -> list[NamedImage]:
        """The files of a form.

        Raises:
            ProblemError: Likewise, too many files, or none.
        """
        self._check_type(request, (FORM_TYPE,))
        limit = (self._settings.image_bytes + _AROUND) * self._settings.images
        self._check_announced(request, limit)
        parser = MultiPartParser(request.headers, self._in_time(request, limit), max_files=self._settings.images + 1)
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

    async def _in_time(self, request: Request, limit: int) -> AsyncGenerator[bytes, None]:
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
                yield chunk
        except TimeoutError as error:
            told = (
                f"expected the whole body within {self._settings.upload_seconds:g} seconds, found {found} bytes of it"
            )
            raise ProblemError(Problem.UPLOAD_TIMEOUT, told, {"Connection": "close"}) from error

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
