"""A stream of server-sent events on the event loop, and the response that hands its connection over.

The client is a browser's `EventSource` or the like, which connects again by itself.
"""

from __future__ import annotations

import asyncio
import socket
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from flask import Response

from flask_convex_http.sync.handed_over import HandedOver
from flask_convex_http.sync.handover import Environ
from flask_convex_http.web.requests.request_ids import HEADER

if TYPE_CHECKING:
    from flask_convex_http.sync.service import SyncService


MEDIA_TYPE = "text/event-stream; charset=utf-8"
#: Bytes that wait for the client until nothing new is sent to it.
_HIGH_WATER = 256 * 1024


class EventConnection(asyncio.Protocol):
    """The server's end of a stream.

    Args:
        service: Serves the connections of the process.
        head: The head of the response.
        address: The address of the client, whose place is reserved.
        seconds: Seconds after which the stream ends, and its client passes the guards of the route again.
        expiry: The time at which the client's token expires, in seconds since the epoch, or None.
    """

    def __init__(
        self, service: SyncService, head: bytes, address: str, *, seconds: float, expiry: float | None
    ) -> None:
        self._service = service
        self._head = head
        self._address = address
        self._seconds = seconds
        self._expiry = expiry
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._opened = self._last_sent = self._loop.time()
        self._paused_since: float | None = None

    @abstractmethod
    def on_open(self) -> None:
        """Subscribe to what the client follows."""

    @abstractmethod
    def on_writable(self) -> None:
        """Send what waits, since the client has read the earlier events."""

    @abstractmethod
    def on_close(self) -> None:
        """Release what the client follows."""

    @property
    def is_writable(self) -> bool:
        """Whether the client reads fast enough for more."""
        return self._paused_since is None

    def write(self, data: bytes) -> None:
        """Send events."""
        assert self._transport is not None
        self._last_sent = self._loop.time()
        if not self._transport.is_closing():
            self._transport.write(data)

    def end(self) -> None:
        """Close the connection after what was written. The client connects again."""
        if self._transport is not None:
            self._transport.close()

    # --- called by asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the head of the response, and subscribe."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_HIGH_WATER)
        self._transport.write(self._head)
        self._service.loop.add(self)
        self.on_open()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything."""
        self._service.loop.release(self._address)
        self._service.loop.discard(self)
        self.on_close()

    def pause_writing(self) -> None:
        """Note that the client reads too slowly."""
        self._paused_since = self._loop.time()

    def resume_writing(self) -> None:
        """Go on."""
        self._paused_since = None
        self.on_writable()

    # --- called by the event loop ------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Send a sign of life, and end a stream whose client reads nothing or whose token has expired."""
        assert self._transport is not None
        limits = self._service.limits
        if self._paused_since is not None and now - self._paused_since > limits.stall_seconds:
            self._transport.abort()
        elif now - self._opened > self._seconds or (self._expiry is not None and self._service.now() > self._expiry):
            self.end()
        elif now - self._last_sent > limits.ping_seconds and self.is_writable:
            self.write(b":\n\n")

    def say_goodbye(self) -> None:
        """Close the connection. The client connects again."""
        self.end()


#: Makes the server's end of a stream, on the loop, given the head of the response.
MakeConnection = Callable[[bytes], EventConnection]


class EventResponse(HandedOver):
    """The response that hands the connection of a stream over.

    Args:
        service: Serves the connections of the process.
        make: Makes the server's end of the stream.
        address: The address of the client, whose place is reserved.
        request_id: The id of the request.
    """

    def __init__(self, service: SyncService, make: MakeConnection, address: str, request_id: str) -> None:
        super().__init__(service, address, content_type=MEDIA_TYPE)
        self._make = make
        self._request_id = request_id

    def _serve(self, taken: socket.socket, environ: Environ) -> None:
        head = self._head(environ)
        self._service.loop.adopt(taken, lambda: self._make(head))

    def _head(self, environ: Environ) -> bytes:
        headers = self.get_wsgi_headers(environ)
        headers.remove("Content-Length")
        headers["Connection"] = "close"
        headers[HEADER] = self._request_id
        lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def with_stream_headers(response: Response) -> Response:
    """Add the headers that keep caches and proxies from holding events back, and return the response."""
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"  # for nginx, which would wait for more
    return response
