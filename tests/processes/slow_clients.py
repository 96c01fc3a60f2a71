"""Slow clients, and a server whose worker waits for them for a short time."""

import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from tests.processes.servers import Deployment, Kind, Server, running

HEAD = b"POST /api/items HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKED = CHUNKS + b"10000\r\n" + b" " * 40_000
LARGE = HEAD + b"Content-Length: 100000\r\n\r\n" + b" " * 40_000
GET = b"GET /health HTTP/1.1\r\nHost: a\r\n"
#: Parts of small bodies: of one with a length, and of chunked ones in a size, in a chunk, after it and in a trailer.
BODIES = [
    HEAD + b"Content-Length: 10000\r\n\r\n{",
    *(CHUNKS + part for part in (b"1", b"5\r\n{", b"1\r\n{\r\n", b"0\r\nX")),
]
#: A head after which the client awaits a 100.
EXPECTING = HEAD + b"Content-Length: 10000\r\nExpect: 100-continue\r\n\r\n"
#: Parts of requests: of none, of a request line, of a head, of the end of a head, and of a small body.
PARTS = [b"", b"GET /hea", GET, GET + b"\r", *BODIES]


def serving(folder: Path, settings: str = "tests.processes.impatient", *options: str) -> AbstractContextManager[Server]:
    """Run a server with these settings; the default has one worker with four threads."""
    deployment = Deployment(folder)
    deployment.migrate()
    deployment.settings["CONVEX_WORKER"] = "off"
    command = ("gunicorn", "-c", f"python:{settings}", *options, "example_app:create_app()")
    return running(Server(deployment, Kind(command, (0,))))


@contextmanager
def clients(server: Server, *sent: bytes) -> Iterator[list[socket.socket]]:
    """Yield connections that have sent these bytes."""
    with ExitStack() as stack:
        opened = []
        for data in sent:
            client = stack.enter_context(socket.create_connection((server.host, server.port), timeout=30))
            client.sendall(data)
            opened.append(client)
        time.sleep(0.2)
        yield opened


def seconds_for_health(server: Server) -> float:
    """Return how long /health takes."""
    began = time.monotonic()
    assert server.request("GET", "/health").status == 200
    return time.monotonic() - began


def answer(client: socket.socket) -> bytes:
    """Return the start of a response, or nothing if the connection was closed."""
    try:
        return client.recv(1000)
    except ConnectionResetError:
        return b""
