"""One stream of server-sent events on the event loop: the results of one live query.

The client is a browser's `EventSource`, which connects again by itself. The first event is the present result.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from flask_convex_http.sync.submissions import Outcome, Submission, Update

if TYPE_CHECKING:
    from flask_convex_http.sync.execution import SyncIdentity
    from flask_convex_http.sync.service import SyncService
    from flask_convex_http.sync.streams import StreamCall

#: Bytes that wait for the client until nothing new is sent to it.
_HIGH_WATER = 256 * 1024


class EventStream(asyncio.Protocol):
    """The server's end of a stream.

    Args:
        service: Runs the query.
        head: The head of the response.
        call: The query.
        identity: The identity of the client.
        address: The address of the client, whose place is reserved.
    """

    def __init__(
        self, service: SyncService, head: bytes, call: StreamCall, identity: SyncIdentity, address: str
    ) -> None:
        self._service = service
        self._head = head
        self._call = call
        self._identity = identity
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._opened = self._last_sent = self._loop.time()
        self._paused_since: float | None = None
        self._unsent: tuple[int, Outcome] | None = None
        self._is_submitted = False

    # --- called by asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the head of the response, and subscribe to the query."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_HIGH_WATER)
        self._transport.write(self._head)
        self._service.loop.add(self)
        self._is_submitted = True
        self._service.submit(Submission(self, self._identity, {0: self._call}))

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything."""
        self._service.loop.release(self._address)
        self._service.loop.discard(self)
        if self._is_submitted:
            self._service.submit(Submission(self, is_end=True))

    def pause_writing(self) -> None:
        """Note that the client reads too slowly."""
        self._paused_since = self._loop.time()

    def resume_writing(self) -> None:
        """Send the newest result."""
        self._paused_since = None
        self._flush()

    # --- called by the event loop ------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Send a sign of life, and end a stream whose client reads nothing or whose token has expired."""
        assert self._transport is not None
        limits, expiry = self._service.limits, self._identity.expiry
        if self._paused_since is not None and now - self._paused_since > limits.stall_seconds:
            self._transport.abort()
        elif now - self._opened > limits.stream_seconds or (expiry is not None and self._service.now() > expiry):
            self._transport.close()  # the guards of the route are asked again when the client connects again
        elif now - self._last_sent > limits.ping_seconds and self._paused_since is None:
            self._write(b":\n\n")

    def say_goodbye(self) -> None:
        """Close the connection. The client connects again."""
        assert self._transport is not None
        self._transport.close()

    def on_update(self, commit: int, update: Update) -> None:
        """Send the result of a round."""
        outcome = update.results.get(0)
        if outcome is not None:
            self._unsent = commit, outcome
            self._flush()

    def _flush(self) -> None:
        unsent = self._unsent
        if unsent is not None and self._paused_since is None:
            self._unsent = None
            self._write(event(*unsent))

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._last_sent = self._loop.time()
        if not self._transport.is_closing():
            self._transport.write(data)


def event(commit: int, outcome: Outcome) -> bytes:
    """Return the event of a result: a message with its JSON, or an event "failure" with the error."""
    kind = b"" if outcome.value is not None else b"event: failure\n"
    data = outcome.value if outcome.value is not None else outcome.error_data or b"null"
    lines = b"".join(b"data: %b\n" % line for line in data.splitlines())
    return b"id: %d\n%b%b\n" % (commit, kind, lines)
