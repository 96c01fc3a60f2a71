"""A proxy in front of PostgreSQL's socket that counts the round trips of an app.

All packets that a client sends without waiting for a response are one round trip. To tell whether it waits, each
response is held back for a moment, and packets that come in that time belong to the same round trip.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

#: The name of the socket in its folder.
SOCKET = ".s.PGSQL.5432"
#: Seconds for which a response is held back.
_DELAY = 0.003
_CHUNK = 1 << 20


class Counter:
    """Counts the round trips of all connections through it.

    Args:
        server: The folder of the server's socket.
        folder: The folder of the proxy's socket.

    Attributes:
        trips: The number of round trips.
    """

    def __init__(self, server: Path, folder: Path) -> None:
        self.trips = 0
        self._server = str(server / SOCKET)
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / SOCKET))
        self._socket.listen()

    def __enter__(self) -> Counter:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the socket was closed
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._server)
            self._exchange(client, server)

    def _exchange(self, client: socket.socket, server: socket.socket) -> None:
        is_open, waits = True, False
        while is_open:
            ready, _, _ = select.select([client, server], [], [])
            if server in ready:
                is_open, waits = _forward_response(client, server), False
                continue
            if not waits:
                self._count()
            is_open, waits = _forward_pending(client, server), True

    def _count(self) -> None:
        with self._lock:
            self.trips += 1


def _forward_response(client: socket.socket, server: socket.socket) -> bool:
    """Forward the bytes that a server has sent, and return whether both sides are still connected."""
    response = server.recv(_CHUNK)
    time.sleep(_DELAY)
    if not response or not _forward_pending(client, server):
        return False
    client.sendall(response)
    return True


def _forward_pending(client: socket.socket, server: socket.socket) -> bool:
    """Forward the bytes that a client has sent, and return whether it is still connected."""
    ready, _, _ = select.select([client], [], [], 0)
    if not ready:
        return True
    request = client.recv(_CHUNK)
    server.sendall(request)
    return bool(request)
