"""Connections to a database that break, because of the server or of a proxy in front of it."""

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
    """Return the name of the server's schema that is the database of a URL."""
    return url.partition("%3D")[2].partition("&")[0]


def with_application_name(url: str) -> str:
    """Return the URL with an application name, by which `terminate_connections` finds its connections."""
    return f"{url}&application_name={schema_of(url)}"


def terminate_connections(postgres: PostgresServer, url: str) -> int:
    """Terminate all connections of a URL with an application name, and return how many there were."""
    sql = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s"
    return len(postgres.run(sql, schema_of(url)))


class Proxy:
    """A proxy in front of a server, on a socket of its own.

    Args:
        folder: The folder of its socket, which is the `host` of a URL.
        server: The server.

    Attributes:
        fails: When it drops a connection: "never", "before" it passes a COMMIT on, or "after" the server has executed
            the COMMIT and before it passes the result back.
        failures: How often it has dropped a connection.
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
        """Accept no more clients."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._target)
            is_last = False
            while True:
                readable, _, _ = select.select([client, server], [], [])
                if client in readable:
                    request = client.recv(_SIZE)
                    is_last = self.fails != "never" and b"COMMIT" in request
                    self.failures += is_last
                    if not request or (is_last and self.fails == "before"):
                        return
                    server.sendall(request)
                if server in readable:
                    response = server.recv(_SIZE)
                    if not response or is_last:
                        return
                    client.sendall(response)


@contextmanager
def proxy_to(server: PostgresServer, url: str) -> Iterator[tuple[Proxy, str]]:
    """Yield a proxy, and the URL of the database through it."""
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder("proxy-"))
        proxy = Proxy(folder, server)
        stack.callback(proxy.close)
        yield proxy, url.replace(str(server.folder), str(folder))
