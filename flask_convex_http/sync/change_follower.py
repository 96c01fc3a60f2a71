"""Follow the commits of a database for all clients of `http.changes` in a process, in one thread.

The clients that have all commits so far share each read, and the bytes of each event. For a client that is behind, such
as one that has connected again, commits are read separately until it has caught up. Nothing is read for a client whose
connection is full.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from flask_convex_http.engines import Engine
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.history.feed import CommitFeed
from flask_convex_http.log import logger_of
from flask_convex_http.web.streams.changes import encoded_commits

logger = logger_of("live")

#: Seconds between two looks for new commits.
_INTERVAL = 0.1
#: Seconds for which the end of the process waits for the thread.
_STOP_SECONDS = 5.0


class ChangeClient(Protocol):
    """A client of the change feed.

    Attributes:
        since: The number of the last commit that it was sent. The follower sets it.
        tables: The names of the tables whose changes it gets; None for all.
    """

    since: int
    tables: frozenset[str] | None

    def on_events(self, events: bytes) -> None:
        """Send events. Called on the loop. `ChangeFollower.ready` is called when it takes more."""

    def end(self) -> None:
        """Close the connection. Called on the loop."""


class ChangeFollower:
    """Reads commits for clients.

    Args:
        engine: The database.
        feed: Reads the commits.
        call: Calls a function on the loop.
    """

    def __init__(self, engine: Engine, feed: CommitFeed, call: Callable[[Callable[[], object]], None]) -> None:
        self._engine = engine
        self._feed = feed
        self._call = call
        self._lock = threading.Lock()
        self._clients: set[ChangeClient] = set()
        self._ready: set[ChangeClient] = set()
        self._wake = threading.Event()
        self._has_asked = False
        self._version: object = None
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="convex-changes", daemon=True)

    # --- called in other threads -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, client: ChangeClient) -> None:
        """Send a client the commits after its last one from now on. Thread-safe."""
        with self._lock:
            self._clients.add(client)
        self.ready(client)

    def ready(self, client: ChangeClient) -> None:
        """Note that a client takes more events. Thread-safe."""
        with self._lock:
            if client in self._clients:
                self._ready.add(client)
                self._has_asked = True
        self._wake.set()

    def remove(self, client: ChangeClient) -> None:
        """Send a client nothing from now on. Thread-safe."""
        with self._lock:
            self._clients.discard(client)
            self._ready.discard(client)

    def stop(self) -> None:
        """Stop the thread, and wait for it."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join(_STOP_SECONDS)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_stopping:
            self._wake.wait(_INTERVAL if self._ready else None)
            self._wake.clear()
            try:
                groups = self._due_groups()
            except Exception as error:
                self._end(list(self._clients), error)
                continue
            for since, clients in groups.items():
                self._read_or_end(since, clients)

    def _due_groups(self) -> dict[int, list[ChangeClient]]:
        """Return the clients that take events, by their last commit, if there may be commits for them."""
        version = self._engine.version()
        with self._lock:
            if version is not None and version == self._version and not self._has_asked:
                return {}
            self._version, self._has_asked = version, False
            groups: dict[int, list[ChangeClient]] = {}
            for client in self._ready:
                groups.setdefault(client.since, []).append(client)
            return groups

    def _read_or_end(self, since: int, clients: list[ChangeClient]) -> None:
        try:
            self._read(since, clients)
        except Exception as error:
            self._end(clients, error)

    def _read(self, since: int, clients: list[ChangeClient]) -> None:
        commits = self._feed.read(since)
        if not commits:
            return
        with self._lock:
            clients = [client for client in clients if client in self._ready]
            self._ready.difference_update(clients)
        encoded: dict[frozenset[str] | None, bytes] = {}
        for client in clients:
            client.since = commits[-1].number
            if client.tables not in encoded:
                encoded[client.tables] = encoded_commits(commits, client.tables)
            self._send(client, encoded[client.tables])

    def _send(self, client: ChangeClient, events: bytes) -> None:
        self._call(lambda: client.on_events(events))

    def _end(self, clients: list[ChangeClient], error: Exception) -> None:
        """Disconnect clients. They connect again, and get the status of the error."""
        if isinstance(error, ConvexHTTPError):
            logger.warning("%d clients that follow the changes were disconnected: %s", len(clients), error)
        else:
            logger.exception("Clients that follow the changes were disconnected", exc_info=error)
        for client in clients:
            self.remove(client)
            self._call(client.end)
