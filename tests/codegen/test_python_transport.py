"""How a generated Python client sends requests."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from flask_convex_http.codegen.python_base.client import BaseClient
from flask_convex_http.codegen.python_base.transport import StandardTransport
from flask_convex_http.codegen.python_base.values import ResponseError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """A server that sends the same bytes for each request.

    Attributes:
        response: The bytes.
        connections: The number of connections so far.
        closes: Whether it closes a connection after a response without saying so.
        gate: Waits for as many requests as it has parties.
    """

    def __init__(self) -> None:
        self.response = OK
        self.connections = 0
        self.closes = False
        self.gate = threading.Barrier(1)
        self.closed = threading.Event()
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def serve(self) -> None:
        """Serve until the socket is shut down."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def stop(self) -> None:
        """Stop."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve_one(self, connection: socket.socket) -> None:
        with connection:
            while head := connection.recv(65536):
                while not head.endswith(b"{}"):
                    head += connection.recv(65536)
                self.requests.append(head)
                self.gate.wait(30)
                connection.sendall(self.response)
                if self.closes:
                    break
        self.closed.set()


@contextmanager
def serving() -> Iterator[Server]:
    """Yield a server."""
    server = Server()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def test_connections_stay_open() -> None:
    """Requests one after another use one connection, and requests at one time one each."""
    with serving() as server, closing(StandardTransport(10)) as transport:
        for _ in range(3):
            assert transport.post(f"{server.url}/api/query?a=1", b"{}", {"X-One": "1"}) == (200, b"{}")
        assert server.connections == 1
        assert server.requests[0].startswith(b"POST /api/query?a=1 HTTP/1.1\r\n") and b"X-One: 1" in server.requests[0]
        server.gate = threading.Barrier(2)
        threads = [threading.Thread(target=transport.post, args=(server.url, b"{}", {})) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.connections == 2


def test_a_closed_connection_is_replaced() -> None:
    """A connection that the server has closed is opened again."""
    with serving() as server, closing(StandardTransport(10)) as transport:
        server.closes = True
        transport.post(server.url, b"{}", {})
        assert server.closed.wait(30)
        assert transport.post(server.url, b"{}", {}) == (200, b"{}")
        assert server.connections == 2


@pytest.mark.parametrize("response", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"])
def test_broken_responses(response: bytes) -> None:
    """A response that is cut off, or no HTTP, is an OSError. The next request has a connection of its own."""
    with serving() as server, closing(StandardTransport(10)) as transport:
        server.response, server.closes = response, True
        with pytest.raises(OSError):
            transport.post(server.url, b"{}", {})
        server.response = OK
        assert transport.post(server.url, b"{}", {})[0] == 200


def test_wrong_statuses() -> None:
    """A status that is no success is an error with the code and the message of the server, as far as it has them."""
    with serving() as server, BaseClient(server.url, transport=StandardTransport(10)) as client:
        body = b'{"code": "Busy", "message": "Try later"}'
        server.response = b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        with pytest.raises(ResponseError, match="503: Try later") as caught:
            client.upload(server.url, b"{}")
        assert (caught.value.status, caught.value.code) == (503, "Busy")
        server.response = b"HTTP/1.1 302 Found\r\nContent-Length: 6\r\n\r\n<html>"
        with pytest.raises(ResponseError, match="302: The response is no JSON: b'<html>'"):
            client.upload(server.url, b"{}")


def test_requests() -> None:
    """Where `requests` is installed, a client sends with it: over one connection, and without following redirects."""
    pytest.importorskip("requests")
    with serving() as server, BaseClient(server.url) as client:
        server.response = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"storageId":"a"}'
        assert [client.upload(server.url, b"{}") for _ in range(2)] == ["a", "a"]
        assert server.connections == 1
        assert b"python-requests" in server.requests[0]
        server.response = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 2\r\n\r\n{}"
        with pytest.raises(ResponseError, match="302"):
            client.upload(server.url, b"{}")


def test_wrong_url() -> None:
    """A URL without a scheme is rejected at once."""
    with pytest.raises(ValueError, match="starts with http:// or https://"):
        BaseClient("shop.example")
