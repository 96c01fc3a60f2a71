"""One WebSocket connection on an event loop: frames in and out, over a connection that a WSGI server has handed over.

The frames are those of `websockets`, whose protocol has no I/O of its own. Three rules keep a client from holding
memory: a message has a largest size, a client that sends faster than its messages are processed is not read from, and a
client that reads nothing for a while is cut off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, cast

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from flask_convex_http.log import logger_of

logger = logger_of("live")
#: `websockets` logs each frame at DEBUG, and each client's mistake at ERROR. These lines are of no use here.
_silent = logging.Logger("flask_convex_http.live.frames", logging.CRITICAL + 1)

#: Bytes that wait for the client until nothing new is computed for it.
HIGH_WATER = 256 * 1024
#: Seconds that the client has to close the connection after the closing handshake.
_CLOSE_SECONDS = 5.0

#: Close codes of RFC 6455, and of its registry.
GOING_AWAY, UNSUPPORTED, POLICY, SERVICE_RESTART = 1001, 1003, 1008, 1012


class Receiver(Protocol):
    """What receives the messages of a connection."""

    def on_message(self, data: bytes) -> None:
        """Handle a text message."""

    def on_writable(self) -> None:
        """Send the waiting messages, since the client has read the earlier ones."""

    def on_close(self) -> None:
        """Release everything. Called once."""


class WebSocket(asyncio.Protocol):
    """A server's end of a WebSocket.

    Args:
        head: The request, as it would be read from the connection.
        max_size: The largest size of a message, in bytes.
        on_open: Called after the handshake with this connection; returns what receives its messages.
        on_gone: Called with this connection when it is closed, even if it was never open.

    Attributes:
        last_sent: The time of the last text message to the client, on the loop's clock.
        last_received: The time of the last bytes from the client.
        paused_since: The time since which the client reads too slowly, or None.
    """

    __slots__ = (
        "_fragments",
        "_head",
        "_is_held",
        "_loop",
        "_max_size",
        "_on_gone",
        "_on_open",
        "_protocol",
        "_receiver",
        "_transport",
        "is_closing",
        "last_received",
        "last_sent",
        "paused_since",
    )

    def __init__(
        self,
        head: bytes,
        *,
        max_size: int,
        on_open: Callable[[WebSocket], Receiver],
        on_gone: Callable[[WebSocket], None],
    ) -> None:
        self._head = head
        self._max_size = max_size
        self._on_open = on_open
        self._on_gone = on_gone
        self._receiver: Receiver | None = None
        self._fragments: list[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.is_closing = self._is_held = False
        self.last_sent = self.last_received = self._loop.time()
        self.paused_since: float | None = None

    # --- called by asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the handshake."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        self._protocol = ServerProtocol(max_size=self._max_size, logger=_silent)
        self._protocol.receive_data(self._head)
        self._head = b""
        request = next(iter(self._protocol.events_received()), None)
        if not isinstance(request, Request):
            self.abort()
            return
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        self._flush()
        if response.status_code == 101:
            self._receiver = self._on_open(self)
        else:
            self._end()

    def data_received(self, data: bytes) -> None:
        """Pass messages on."""
        self.last_received = self._loop.time()
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._receive(event)
        self._flush()

    def eof_received(self) -> None:
        """Let asyncio close the connection."""
        self._protocol.receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything."""
        self.is_closing = True
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.on_close()
        self._on_gone(self)

    def pause_writing(self) -> None:
        """Note that the client reads too slowly, and read nothing from it until it does."""
        self.paused_since = self._loop.time()
        self._update_reading()

    def resume_writing(self) -> None:
        """Send the waiting messages."""
        self.paused_since = None
        self._update_reading()
        if self._receiver is not None and not self.is_closing:
            self._receiver.on_writable()

    # --- called by the receiver --------------------------------------------------------------------------------------

    def send(self, text: bytes) -> None:
        """Send a text message, unless the connection is closing."""
        if self.is_closing:
            return
        self._protocol.send_text(text)
        self.last_sent = self._loop.time()
        self._flush()

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        if not self.is_closing:
            self._protocol.send_ping(b"")
            self._flush()

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake."""
        if self.is_closing:
            return
        self.is_closing = True
        try:
            self._protocol.send_close(code, reason)
        except InvalidState:  # the client has begun it
            return
        self._flush()
        self._update_reading()  # the client's part of the closing handshake must arrive
        assert self._transport is not None
        self._loop.call_later(_CLOSE_SECONDS, self._transport.abort)

    def abort(self) -> None:
        """Cut the connection off, without what waits for the client."""
        self.is_closing = True
        if self._transport is not None:
            self._transport.abort()

    def hold(self, *, is_held: bool) -> None:
        """Read nothing from the client while its messages wait.

        Args:
            is_held: Whether messages wait.
        """
        if is_held != self._is_held:
            self._is_held = is_held
            self._update_reading()

    def _update_reading(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        is_held = self._is_held or self.paused_since is not None
        if is_held and not self.is_closing:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # --- frames ------------------------------------------------------------------------------------------------------

    def _receive(self, frame: Frame) -> None:
        if self._receiver is None or self.is_closing:
            return
        if frame.opcode is Opcode.BINARY:
            self.close(UNSUPPORTED, "The protocol has text messages only")
        elif frame.opcode is Opcode.TEXT and frame.fin:
            self._receiver.on_message(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT:
            self._fragments = [bytes(frame.data)]
        elif frame.opcode is Opcode.CONT and self._fragments is not None:
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                data, self._fragments = b"".join(self._fragments), None
                self._receiver.on_message(data)

    def _flush(self) -> None:
        assert self._transport is not None
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:  # the mark of the end
                self._end()

    def _end(self) -> None:
        """Close the connection when all is sent, and at the latest after a while."""
        assert self._transport is not None
        self.is_closing = True
        if not self._transport.is_closing():
            self._transport.close()
            self._loop.call_later(_CLOSE_SECONDS, self._transport.abort)
