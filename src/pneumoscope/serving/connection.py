"""Connection of uvicorn that ends for callers who send their headers slowly or without end.

Where there are too many connections, those that have waited longest without a request in progress are closed for the new
ones: who opens many and asks nothing keeps nobody else out.
"""

import asyncio
import time
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Browsers send a few thousand bytes of headers, at once.
HEADER_BYTES, HEADER_SECONDS = 32 * 1024, 10.0
# Connections at a time.
CONNECTIONS = 512


class Connection(HttpToolsProtocol):
    """Connection that closes where headers take too long or too much, or, while idle, where there are too many."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Starts as uvicorn makes it."""
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._in_headers = True
        self._idle_since = 0.0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register a new caller, and make room for it."""
        super().connection_made(transport)
        self._idle_since = time.monotonic()
        self._deadline = self.loop.call_later(HEADER_SECONDS, transport.abort)
        self._shed_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Handles the end of the connection."""
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handles some bytes of one or more requests."""
        if self._in_headers:
            self._header_bytes += len(data)
            if self._deadline is None:  # the next request on a connection that was kept
                self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.abort)
        super().data_received(data)
        if self._in_headers and self._header_bytes > HEADER_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """Notes that the headers are whole."""
        self._cancel()
        self._in_headers, self._header_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Notes that the body is whole; headers follow again."""
        self._in_headers = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note when the answer is whole: the connection waits from now on."""
        self._idle_since = time.monotonic()
        super().on_response_complete()

    @property
    def _is_idle(self) -> bool:
        """Whether no request is in progress: its header is not whole yet, or all of its answer is sent."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and not self.pipeline and not self.transport.get_write_buffer_size()

    def _shed_idle(self) -> None:
        """Abort the connections beyond the limit that have been idle longest; the new one where all others are busy."""
        connections = cast("set[Connection]", self.connections)
        is_open = [one for one in connections if not one.transport.is_closing()]
        excess = len(is_open) - CONNECTIONS
        if excess > 0:
            for one in sorted((one for one in is_open if one._is_idle), key=lambda one: one._idle_since)[:excess]:
                one.transport.abort()

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
