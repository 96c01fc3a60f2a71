"""Notifications between the workers of all processes and machines, by LISTEN and NOTIFY.

They are best effort. Workers also poll every few seconds, which is all they do where the server, or a proxy in front of
it, does not pass notifications on. A notification carries no data: the work itself is in the tables.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time

import psycopg
from psycopg.pq import ConnStatus

from flask_convex_http.engines.postgres.connections import PooledConnection, PostgresConnections, execute
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.log import logger_of

logger = logger_of("database")

#: All applications of a database share the channel. A spurious wake-up costs a worker one look at its queue.
_CHANNEL = b"flask_convex_http"
_BYTE = b"!"
_MAX_BYTES = 4096
#: Seconds to wait for a connection to notify by. The write is committed, and its client waits for the response.
_NOTIFY_TIMEOUT = 0.1
#: Seconds until a listener connects again.
_RECONNECT_AFTER = 5.0


class PostgresNotifications:
    """The notifications of a database.

    Args:
        connections: The connections of the deployment.
    """

    def __init__(self, connections: PostgresConnections) -> None:
        self._connections = connections

    def notify(self) -> None:
        """Wake every listener, in all processes and on all machines. Best effort."""
        with contextlib.suppress(ConvexHTTPError, psycopg.Error):
            connection = self._connections.begin(b"NOTIFY " + _CHANNEL, _NOTIFY_TIMEOUT)
            self._connections.give_back(connection)

    def listen(self) -> PostgresListener:
        """Start to listen."""
        return PostgresListener(self._connections)


class PostgresListener:
    """Waits for notifications, on a connection of its own and on a pipe within the process.

    Args:
        connections: The connections of the deployment.
    """

    def __init__(self, connections: PostgresConnections) -> None:
        self._connections = connections
        self._reading, self._writing = os.pipe()
        for descriptor in (self._reading, self._writing):
            os.set_blocking(descriptor, False)
        self._is_open = True
        self._closing = threading.RLock()  # reentrant: a signal handler may call `wake` within a call
        self._connection: PooledConnection | None = None
        self._next_attempt = 0.0

    def wait(self, timeout: float) -> None:
        """Sleep until a notification or the timeout. Return at once if one came since the last call.

        Args:
            timeout: Seconds.
        """
        deadline = time.monotonic() + max(timeout, 0.0)
        self._connect()
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        if self._connection is not None:
            poll.register(self._connection.pgconn.socket, select.POLLIN)
        if poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
            self._drain()

    def wake(self) -> None:
        """End the current or the next `wait`. Thread-safe, and safe in a signal handler."""
        with self._closing, contextlib.suppress(BlockingIOError):
            if self._is_open:  # after close() the descriptor may belong to another file
                os.write(self._writing, _BYTE)

    def close(self) -> None:
        """Stop listening."""
        with self._closing:
            self._is_open = False
            os.close(self._reading)
            os.close(self._writing)
        self._disconnect()

    def _connect(self) -> None:
        """Connect, unless the last attempt has failed within the last seconds."""
        if self._connection is not None or time.monotonic() < self._next_attempt:
            return
        self._next_attempt = time.monotonic() + _RECONNECT_AFTER
        try:
            connection = self._connections.connect()
            execute(connection, b"LISTEN " + _CHANNEL)
        except (ConvexHTTPError, psycopg.Error) as error:
            logger.info("Other processes cannot wake this worker, so it polls: %s", error)
            return
        self._connection = connection
        self.wake()  # a notification may have come before LISTEN

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._reading, _MAX_BYTES)
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
