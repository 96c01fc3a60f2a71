"""Lines to a database that can be cut: by the server, or by what is between it and its clients."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from tests.databases import PostgresServer
from tests.killing import short_folder

_SOCKET = ".s.PGSQL.5432"
_SIZE = 65536


def schema_of(url: str) -> str:
    """The name of a database, to its server."""
    return url.partition("%3D")[2].partition("&")[0]


def named(url: str) -> str:
    """The URL with a name by which `cut` finds its connections."""
    return f"{url}&application_name={schema_of(url)}"


def cut(postgres: PostgresServer, url: str) -> int:
    """Have the server cut all connections of the clients of a named URL; answers how many there were."""
    sql = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s"
    return len(postgres.run(sql, schema_of(url)))


class Line:
    """A proxy on a socket of its own.

    Args:
        folder: Where it listens; what `host` says in a URL.
        server: Where it leads.

    Attributes:
        fails: When it breaks: "before" a COMMIT has come to the server, or "after" it was made and before that is told.
        failures: How often it did.
    """

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.fails: Literal["never", "before", "after"] = "never"
        self.failures = 0
        self._target = str(server.folder / _SOCKET)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / _SOCKET))
        self._listening.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more clients."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._target)
            is_last = False
            while True:
                readable, _, _ = select.select([client, server], [], [])
                if client in readable:
                    asked = client.recv(_SIZE)
                    is_last = self.fails != "never" and b"COMMIT" in asked
                    self.failures += is_last
                    if not asked or (is_last and self.fails == "before"):
                        return
                    server.sendall(asked)
                if server in readable:
                    answered = server.recv(_SIZE)
                    if not answered or is_last:
                        return
                    client.sendall(answered)


@contextmanager
def line_to(server: PostgresServer, url: str) -> Iterator[tuple[Line, str]]:
    """A line, and the URL by which a database is reached through it."""
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder("line-"))
        line = Line(folder, server)
        stack.callback(line.close)
        yield line, url.replace(str(server.folder), str(folder))
