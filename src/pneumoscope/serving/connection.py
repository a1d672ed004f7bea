"""One connection: uvicorn's, with an end to callers who send their headers slowly, or without end."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Browsers send a few thousand bytes of headers, at once.
HEADER_BYTES, HEADER_SECONDS = 32 * 1024, 10.0
# More callers at a time than this are turned away before a word is read.
CONNECTIONS = 512


class Connection(HttpToolsProtocol):
    """Closes where headers take too long or too much, or where there are too many connections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn makes it."""
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._in_headers = True
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._deadline = self.loop.call_later(HEADER_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has left."""
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of one or more requests."""
        if self._in_headers:
            self._header_bytes += len(data)
            if self._deadline is None:  # the next request on a connection that was kept
                self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.abort)
        super().data_received(data)
        if self._in_headers and self._header_bytes > HEADER_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """The headers are whole."""
        self._cancel()
        self._in_headers, self._header_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole; what follows are headers again."""
        self._in_headers = True
        super().on_message_complete()

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
