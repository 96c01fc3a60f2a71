"""Waking the workers of other processes and machines, by LISTEN and NOTIFY where the server has them.

Nothing depends on it: workers look by themselves every few seconds, and go on doing so where the server, or what stands
before it, does not pass notifications on. What is worth waking for is in the tables only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time

import psycopg
from psycopg.pq import ConnStatus

from flask_convex_http.engines.postgres.connections import Connections, PooledConnection, run
from flask_convex_http.errors import ConvexHTTPError

logger = logging.getLogger("flask_convex_http")

#: One for all applications of a database: who is woken in vain looks once.
_CHANNEL = b"flask_convex_http"
_BYTE = b"!"
_MUCH = 4096
#: Seconds that one waits for a connection to wake others by: its write is committed, and a client waits for the answer.
_PATIENCE = 0.1
#: Seconds until a lost connection is tried again.
_AGAIN = 5.0


def notify(connections: Connections) -> None:
    """Wake every worker that waits. If that fails, they look by themselves."""
    with contextlib.suppress(ConvexHTTPError, psycopg.Error):
        connection = connections.begin(b"NOTIFY " + _CHANNEL, _PATIENCE)
        connections.give(connection)


class Listener:
    """Waits to be woken, by a connection of its own and by a pipe for this process.

    Args:
        connections: Where the database is.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._reading, self._writing = os.pipe()
        for descriptor in (self._reading, self._writing):
            os.set_blocking(descriptor, False)
        self._is_open = True
        self._closing = threading.RLock()  # a signal handler may call in the middle of a call
        self._connection: PooledConnection | None = None
        self._next_try = 0.0

    def wait(self, timeout: float) -> None:
        """Sleep until somebody calls, or the time is over; return at once if somebody has called since the last time.

        Args:
            timeout: Seconds.
        """
        end = time.monotonic() + max(timeout, 0.0)
        self._connect()
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        if self._connection is not None:
            poll.register(self._connection.pgconn.socket, select.POLLIN)
        if poll.poll(max(end - time.monotonic(), 0.0) * 1000):
            self._drain()

    def wake(self) -> None:
        """Wake the one that waits here; from any thread, and from a signal handler."""
        with self._closing, contextlib.suppress(BlockingIOError):
            if self._is_open:  # or else the number may be another file's
                os.write(self._writing, _BYTE)

    def close(self) -> None:
        """Stop listening."""
        with self._closing:
            self._is_open = False
            os.close(self._reading)
            os.close(self._writing)
        self._disconnect()

    def _connect(self) -> None:
        """Listen, unless that was tried in vain a moment ago."""
        if self._connection is not None or time.monotonic() < self._next_try:
            return
        self._next_try = time.monotonic() + _AGAIN
        try:
            connection = self._connections.connect()
            run(connection, b"LISTEN " + _CHANNEL)
        except (ConvexHTTPError, psycopg.Error) as error:
            logger.info("Other processes cannot wake this worker; it looks by itself: %s", error)
            return
        self._connection = connection
        self.wake()  # something may have been notified before

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._reading, _MUCH)
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(psycopg.Error):
            connection.pgconn.consume_input()
            while connection.pgconn.notifies():
                pass
        if connection.pgconn.status == ConnStatus.BAD:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None and self._connection.is_ours:
            self._connection.close()
        self._connection = None
