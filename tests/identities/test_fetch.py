"""Documents of an issuer that sends them slowly."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flask_convex_http.identities import fetch
from flask_convex_http.identities.fetch import FetchError, fetch_json


@contextmanager
def dripping(start: bytes) -> Iterator[str]:
    """Yield the URL of a server that sends the start of a response, and then a byte now and then, for ever."""
    ended = threading.Event()

    def serve() -> None:
        try:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(start)
                while not ended.wait(0.01):
                    connection.sendall(b"1")
        except OSError:
            return  # the client has had enough

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/jwks.json"
        finally:
            ended.set()
            socket.create_connection(listener.getsockname()).close()  # where the deadline has come before the request
            thread.join()


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["status", "header", "body", "body of a length", "chunked body"],
)
def test_a_fetch_ends_in_time(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch is abandoned at its deadline, in whatever part of the response the issuer sends byte by byte."""
    monkeypatch.setattr(fetch, "TIMEOUT", 0.05)
    with dripping(start) as url, pytest.raises(FetchError, match=r"not complete in time|timed out"):
        fetch_json(url)
