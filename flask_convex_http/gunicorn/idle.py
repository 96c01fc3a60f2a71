"""Connections that wait for their next request. The thread that served the last one returns them by itself.

gunicorn's event loop would be woken for each. Here a thread only arms the socket in a poller of its own, for one event,
and the event loop awaits that poller.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from typing import Any


class _Wait:
    """The wait of a connection for its next request.

    Attributes:
        connection: The connection.
        is_armed: Whether its thread is done with the connection, so that the event loop may close it.
    """

    __slots__ = ("connection", "is_armed")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.is_armed = False


class IdleConnections:
    """The idle connections of a worker.

    `add` may be called in any thread, everything else in that of the event loop.
    """

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._once = select.EPOLLIN | select.EPOLLONESHOT
        self._waits: dict[int, _Wait] = {}

    def __len__(self) -> int:
        return len(self._waits)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a connection is."""
        return self._poll.fileno()

    def add(self, connection: Any) -> None:
        """Await the next request of a connection."""
        sock = connection.sock
        number = sock.fileno()
        self._waits[number] = wait = _Wait(connection)  # before it is armed: its event may come at once
        try:
            if sock.is_watched:
                self._poll.modify(number, self._once)
            else:
                sock.is_watched = True  # before it is armed too: another thread may serve the event, and come here
                self._poll.register(number, self._once)
        except BaseException:
            self._waits.pop(number, None)
            raise
        wait.is_armed = True

    def ready(self) -> Iterator[Any]:
        """Yield the connections whose next request, or end, has arrived. They are idle no more."""
        for number, _ in self._poll.poll(0):
            wait = self._waits.pop(number, None)
            if wait is not None:
                yield wait.connection

    def expired(self, now: float) -> list[Any]:
        """Remove and return the connections whose time is over."""
        waits = list(self._waits.items())
        over = [number for number, wait in waits if wait.is_armed and wait.connection.timeout <= now]
        return [self._waits.pop(number).connection for number in over]

    def forget(self, sock: Any) -> None:
        """Release a socket that is about to be closed or handed over. One that is closed already is released."""
        if sock.is_watched and sock.fileno() >= 0:
            sock.is_watched = False
            try:
                self._poll.unregister(sock)
            except OSError:  # it is closed
                return

    def close(self) -> None:
        """Close the poller."""
        self._poll.close()
