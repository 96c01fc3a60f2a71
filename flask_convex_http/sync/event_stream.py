"""One stream of server-sent events of a live query. The first event is the present result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_convex_http.sync.server_sent_events import EventConnection
from flask_convex_http.sync.submissions import Outcome, Submission, Update

if TYPE_CHECKING:
    from flask_convex_http.sync.execution import SyncIdentity
    from flask_convex_http.sync.service import SyncService
    from flask_convex_http.sync.streams import StreamCall


class EventStream(EventConnection):
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
        super().__init__(service, head, address, seconds=service.limits.stream_seconds, expiry=identity.expiry)
        self._call = call
        self._identity = identity
        self._unsent: tuple[int, Outcome] | None = None
        self._is_submitted = False

    def on_open(self) -> None:
        """Subscribe to the query."""
        self._is_submitted = True
        self._service.submit(Submission(self, self._identity, {0: self._call}))

    def on_writable(self) -> None:
        """Send the newest result."""
        self._flush()

    def on_close(self) -> None:
        """Release the query."""
        if self._is_submitted:
            self._service.submit(Submission(self, is_end=True))

    def on_update(self, commit: int, update: Update) -> None:
        """Send the result of a round."""
        outcome = update.results.get(0)
        if outcome is not None:
            self._unsent = commit, outcome
            self._flush()

    def _flush(self) -> None:
        unsent = self._unsent
        if unsent is not None and self.is_writable:
            self._unsent = None
            self.write(event(*unsent))


def event(commit: int, outcome: Outcome) -> bytes:
    """Return the event of a result: a message with its JSON, or an event "failure" with the error."""
    kind = b"" if outcome.value is not None else b"event: failure\n"
    data = outcome.value if outcome.value is not None else outcome.error_data or b"null"
    lines = b"".join(b"data: %b\n" % line for line in data.splitlines())
    return b"id: %d\n%b%b\n" % (commit, kind, lines)
