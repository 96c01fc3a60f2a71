"""Connections that wait for their next request. The thread that served the last one returns them by itself.

gunicorn's event loop would be woken for each. Here a thread only arms the socket in a poller of its own, for one event,
and the event loop awaits that poller.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from typing import Any


class IdleConnections:
    """The idle connections of a worker.

    `add` may be called in any thread, everything else in that of the event loop.
    """

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._once = select.EPOLLIN | select.EPOLLONESHOT
        self._connections: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a connection is."""
        return self._poll.fileno()

    def add(self, connection: Any) -> None:
        """Await the next request of a connection."""
        sock = connection.sock
        number = sock.fileno()
        self._connections[number] = connection  # before it is armed: its event may come at once
        try:
            if sock.is_watched:
                self._poll.modify(number, self._once)
            else:
                sock.is_watched = True  # before it is armed too: another thread may serve the event, and come here
                self._poll.register(number, self._once)
        except BaseException:
            self._connections.pop(number, None)
            raise

    def ready(self) -> Iterator[Any]:
        """Yield the connections whose next request, or end, has arrived. They are idle no more."""
        for number, _ in self._poll.poll(0):
            connection = self._connections.pop(number, None)
            if connection is not None:
                yield connection

    def expired(self, now: float) -> list[Any]:
        """Remove and return the connections whose time is over."""
        over = [connection for connection in list(self._connections.values()) if connection.timeout <= now]
        for connection in over:
            del self._connections[connection.sock.fileno()]
        return over

    def cap(self, deadline: float) -> None:
        """Let no connection stay after a time."""
        for connection in list(self._connections.values()):
            connection.timeout = min(connection.timeout, deadline)

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
