"""How often an app asks its database and waits for the answer: a proxy before PostgreSQL's socket that counts it.

All that is sent without waiting for an answer is one round trip, however many packets it is. To be sure that nobody
waits, an answer is held back for a moment: what is sent in the meantime belongs to what was sent before.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

#: What PostgreSQL's clients look for in a folder.
SOCKET = ".s.PGSQL.5432"
#: Seconds an answer is held back.
_HELD = 0.003
_PIECE = 1 << 20


class Counter:
    """Counts the round trips of all connections through it.

    Args:
        server: The folder of the server's socket.
        folder: Where the counter's own socket is.

    Attributes:
        trips: How many there were.
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
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._server)
            waits = False
            while True:
                ready, _, _ = select.select([client, server], [], [])
                if server in ready:
                    answer = server.recv(_PIECE)
                    time.sleep(_HELD)
                    if not answer or not _pass_what_is_there(client, server):
                        return
                    client.sendall(answer)
                    waits = False
                    continue
                if not waits:
                    self._count()
                    waits = True
                if not _pass_what_is_there(client, server):
                    return

    def _count(self) -> None:
        with self._lock:
            self.trips += 1


def _pass_what_is_there(client: socket.socket, server: socket.socket) -> bool:
    """Pass on what a client has sent so far; whether it is still there."""
    ready, _, _ = select.select([client], [], [], 0)
    if not ready:
        return True
    request = client.recv(_PIECE)
    server.sendall(request)
    return bool(request)
