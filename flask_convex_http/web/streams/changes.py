"""The change feed over HTTP: the commits of the app as server-sent events, resumable with `Last-Event-ID`.

Each event is one commit with all its changes, and its id is the number of the commit. So a client that reconnects gets
the commits after the last one that it has received whole, none twice. A commit without changes for the client is an
event without data, which only moves the client's last id.

The connection leaves the server and holds no thread, where the server lends it. Elsewhere a response takes a thread of
the server, so it ends sooner, and the number of responses at the same time is limited for each process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from flask import Request, Response, current_app

from flask_convex_http.errors import ConvexHTTPError, OverloadedError, RegistrationError, RequestError
from flask_convex_http.history.feed import CommitFeed, only
from flask_convex_http.history.rows import Commit
from flask_convex_http.log import logger_of
from flask_convex_http.runtime import ActionCtx
from flask_convex_http.schema.documents import Document
from flask_convex_http.web.state import current_backend

logger = logger_of()

#: Seconds between two comments that keep a connection open on which nothing else is sent.
_HEARTBEAT = 10.0
#: The milliseconds after which a client reconnects.
_RETRY = 1000
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would wait until a buffer is full
_DIGITS = 15
#: Seconds after which a response that takes a thread ends, and how many of them a process has.
_SECONDS, _THREADS = 30.0, 4
#: The function of an app that opens a stream whose connection leaves the server, in its extensions.
OPEN_CHANGES = "convex_http_open_changes"


class FeedRequest(msgspec.Struct, frozen=True):
    """What a client of the feed follows.

    Attributes:
        since: The number of the last commit that it has received.
        tables: The names of the tables whose changes it gets; None for all.
        seconds: Seconds after which its response ends; None for the default.
        reserve: Reserves a place, and returns what releases it. Raises `OverloadedError`.
    """

    since: int
    tables: frozenset[str] | None
    seconds: float | None
    reserve: Callable[[], Callable[[], None]]


class ChangeStreams:
    """The handler of a change feed.

    Args:
        tables: The classes of the documents; None for all.
        seconds: Seconds after which a response ends; None for 15 minutes, or 30 seconds where it takes a thread.
        max_clients: The largest number of responses of a process at the same time; None for no limit of the feed, or 4
            where each takes a thread.

    Raises:
        RegistrationError: An option cannot work.
    """

    def __init__(self, tables: Sequence[type[Document]] | None, seconds: float | None, max_clients: int | None) -> None:
        _check_options(seconds, max_clients)
        for table in tables or ():
            if not isinstance(table, type) or not issubclass(table, Document):
                raise RegistrationError(f"changes(tables=...) takes classes such as [Item], not {table!r}")
        self._tables = None if tables is None else tuple(tables)
        self._seconds = seconds
        self._has_limit = max_clients is not None
        self._free = threading.BoundedSemaphore(max_clients or _THREADS)

    def respond(self, ctx: ActionCtx, request: Request) -> Response:
        """Return the response to a client, which streams the commits after the one that it names.

        Raises:
            RequestError: The number of the commit is malformed.
            HistoryError: The commits after it are purged, or there is no such commit.
            OverloadedError: Too many clients are connected.
        """
        backend = current_backend()
        feed, since = backend.history.feed, _cursor_of(request)
        names = None
        if self._tables is not None:
            schema = backend.schema
            names = frozenset(name for each in self._tables for name in schema.table_for(each).id_prefixes)
        if since is None:
            since = feed.last_commit()
        first = feed.read(since)  # raises before the response begins
        reserve = self._reserve if self._has_limit else lambda: lambda: None
        opened: Response | None = current_app.extensions[OPEN_CHANGES](
            ctx, request, FeedRequest(since, names, self._seconds, reserve)
        )
        return self._in_thread(feed, since, first, names) if opened is None else opened

    def _in_thread(self, feed: CommitFeed, since: int, first: list[Commit], names: frozenset[str] | None) -> Response:
        release = self._reserve()
        end = time.monotonic() + (_SECONDS if self._seconds is None else self._seconds)
        events = _events(feed, since, first, names, end)
        response = Response(_released(events, release), mimetype="text/event-stream", headers=_HEADERS)
        response.call_on_close(release)  # also if the response is never sent, as that to HEAD
        return response

    def _reserve(self) -> Callable[[], None]:
        if not self._free.acquire(blocking=False):
            raise OverloadedError("Too many clients follow the changes; try again in a moment")
        return _once(self._free.release)


def _check_options(seconds: Any, max_clients: Any) -> None:
    """Check the numbers of a feed.

    Raises:
        RegistrationError: One of them cannot work.
    """
    if seconds is not None and (not isinstance(seconds, int | float) or not 0 <= seconds <= 3600):
        raise RegistrationError(f"changes(seconds={seconds!r}) must be 0 to 3600")
    if max_clients is not None and (
        isinstance(max_clients, bool) or not isinstance(max_clients, int) or max_clients < 1
    ):
        raise RegistrationError(f"changes(max_clients={max_clients!r}) must be 1 or more")


def _cursor_of(request: Request) -> int | None:
    """Return the number of the last commit that a client has received, or None if it begins now.

    Raises:
        RequestError: It is not a number.
    """
    text = request.headers.get("Last-Event-ID") or request.args.get("since")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise RequestError("Last-Event-ID and since must be the number of a commit", 400)
    return int(text)


def _events(
    feed: CommitFeed, since: int, commits: list[Commit], names: frozenset[str] | None, end: float
) -> Iterator[bytes]:
    """Yield the events of a response until its end."""
    yield beginning(since)
    try:
        while True:
            if commits:
                yield encoded_commits(commits, names)
                since = commits[-1].number
            left = end - time.monotonic()
            if left <= 0:
                return
            commits = feed.poll(since, min(left, _HEARTBEAT))
            if not commits:
                yield b":\n\n"
    except ConvexHTTPError as error:  # the client reconnects, and gets the status of the error
        logger.warning("A client that follows the changes was disconnected: %s", error)


def beginning(since: int) -> bytes:
    """Return the first event of a response, which sets the client's last id and when it connects again."""
    return b"retry: %d\nid: %d\n\n" % (_RETRY, since)


def encoded_commits(commits: Sequence[Commit], names: frozenset[str] | None) -> bytes:
    """Return the events of commits. Those without changes for the client are one event, which moves its last id.

    Args:
        commits: The commits, at least one.
        names: The names of the tables whose changes the client gets; None for all.
    """
    shown = [commit if names is None else only(commit, names) for commit in commits]
    events = [_event(commit) for commit in shown if commit.changes]
    if not shown[-1].changes:
        events.append(b"id: %d\n\n" % shown[-1].number)
    return b"".join(events)


def _event(commit: Commit) -> bytes:
    return b"id: %d\nevent: commit\ndata: %s\n\n" % (commit.number, msgspec.json.encode(commit))


def _released(events: Iterator[bytes], release: Callable[[], None]) -> Iterator[bytes]:
    """Yield events, and call a function at their end."""
    try:
        yield from events
    finally:
        release()


def _once(call: Callable[[], Any]) -> Callable[[], None]:
    """Return a function that calls another one at its first call only."""
    calls = [call]

    def run() -> None:
        if calls:
            calls.pop()()

    return run
