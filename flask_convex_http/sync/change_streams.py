"""Opens streams of server-sent events for `http.changes`, whose connections leave the server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from flask import Flask, Request, Response

from flask_convex_http.backend import Backend
from flask_convex_http.errors import OverloadedError
from flask_convex_http.function_api.identity import Client
from flask_convex_http.runtime import ActionCtx
from flask_convex_http.sync.execution import SyncIdentity
from flask_convex_http.sync.handover import can_hand_over
from flask_convex_http.sync.server_sent_events import EventConnection, EventResponse, with_stream_headers
from flask_convex_http.sync.service import SyncService, service_of
from flask_convex_http.web.requests.request_ids import request_id
from flask_convex_http.web.streams.changes import FeedRequest, beginning

if TYPE_CHECKING:
    from flask_convex_http.sync.change_follower import ChangeFollower


class ChangeStream(EventConnection):
    """The server's end of a stream of commits.

    Args:
        service: Serves the connections of the process.
        follower: Reads the commits.
        head: The head of the response.
        address: The address of the client, whose place is reserved.
        feed: What the client follows.
        release: Called when the stream has ended.
        expiry: See `EventConnection`.

    Attributes:
        since: See `ChangeClient`.
        tables: See `ChangeClient`.
    """

    def __init__(
        self,
        service: SyncService,
        follower: ChangeFollower,
        head: bytes,
        address: str,
        feed: FeedRequest,
        release: Callable[[], None],
        *,
        expiry: float | None,
    ) -> None:
        seconds = service.limits.stream_seconds if feed.seconds is None else feed.seconds
        super().__init__(service, head, address, seconds=seconds, expiry=expiry)
        self.since = feed.since
        self.tables = feed.tables
        self._follower = follower
        self._release = release

    def on_open(self) -> None:
        """Tell the client when to connect again, and follow the commits."""
        self.write(beginning(self.since))
        self._follower.add(self)

    def on_writable(self) -> None:
        """Ask for the next commits."""
        self._follower.ready(self)

    def on_close(self) -> None:
        """Follow the commits no more."""
        self._follower.remove(self)
        self._release()

    def on_events(self, events: bytes) -> None:
        """See `ChangeClient`."""
        self.write(events)
        if self.is_writable:
            self._follower.ready(self)


def open_changes(app: Flask, backend: Backend, ctx: ActionCtx, current: Request, feed: FeedRequest) -> Response | None:
    """Return the response of a stream, or None if the server does not lend its connection.

    Args:
        app: The app.
        backend: Its backend.
        ctx: The ctx of the handler.
        current: The request.
        feed: What the client follows.

    Raises:
        OverloadedError: Too many clients are connected.
    """
    if current.method != "GET" or not can_hand_over(current.environ):
        return None
    service, address = service_of(app, backend), current.remote_addr or ""
    release = feed.reserve()
    if not service.loop.reserve(address):
        release()
        raise OverloadedError("There are too many connections; try again later")
    expiry = SyncIdentity.of(Client(ctx.auth.known), "").expiry
    make = partial(_made, service, address, feed, release, expiry)
    return with_stream_headers(EventResponse(service, make, address, request_id(current)))


def _made(
    service: SyncService,
    address: str,
    feed: FeedRequest,
    release: Callable[[], None],
    expiry: float | None,
    head: bytes,
) -> ChangeStream:
    return ChangeStream(service, service.follower(), head, address, feed, release, expiry=expiry)
