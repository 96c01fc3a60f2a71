"""Load over HTTP: kept-alive connections, each of which sends its next request after the last response.

One process and one thread with epoll take about 20 µs per request, so that the server gets the machine. Only 2xx counts
as acknowledged, unless another status is given. Requests that are running at the end are waited for, so that the
longest wait is true.

Connections open one after another while earlier ones work, and the time starts at the last one: of idle workers that
share a port, the first to wake would accept nearly all simultaneous connections, and keep them.
"""

from __future__ import annotations

import gc
import http.client
import math
import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.bursts import Burst

#: Seconds for which a response is waited for after the end.
PATIENCE = 15.0
#: Seconds between two new connections.
_PAUSE = 0.002
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"
_LAST_CHUNK = b"\r\n0\r\n\r\n"

#: Takes a request and its response, and returns None or the reason why the response is an error.
Check = Callable[[bytes, bytes], str | None]


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    began: float = 0.0
    request: bytes = b""
    received: bytes = b""


def post(port: int, path: str, body: bytes) -> bytes:
    """Return the bytes of a POST request with JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    """Return the bytes of a GET request as curl sends it."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n".encode()


def ask(port: int, request: bytes) -> tuple[int, bytes]:
    """Send one request, and return status and body of the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, response.read()


def load(
    port: int,
    requests: Iterator[bytes],
    connections: int,
    seconds: float,
    *,
    status: int | None = None,
    check: Check | None = None,
) -> Burst:
    """Send requests for some seconds.

    Args:
        port: The port of the server on this machine.
        requests: An endless iterator of requests.
        connections: The number of connections.
        seconds: The duration.
        status: The status that counts as acknowledged, by default any 2xx.
        check: Judges each response, in place of its status.
    """
    gc.collect()
    gc.disable()
    try:
        return _Load(port, requests, seconds, check or _status_check(status)).run(connections)
    finally:
        gc.enable()


class _Load:
    """One burst of load."""

    def __init__(self, port: int, requests: Iterator[bytes], seconds: float, check: Check) -> None:
        self._address = ("127.0.0.1", port)
        self._requests = requests
        self._check = check
        self._burst = Burst(seconds)
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._start = self._end = math.inf  # until all connections are open

    def run(self, connections: int) -> Burst:
        """Open the connections and work until the time is over and all responses have arrived."""
        for _ in range(connections):
            self._connect()
            self._work_until(time.monotonic() + _PAUSE)
        self._start = time.monotonic()
        self._end = self._start + self._burst.seconds
        self._work_until(self._end + PATIENCE)
        for connection in list(self._open.values()):
            self._failed(connection, "no answer")
        self._poll.close()
        return self._burst

    def _work_until(self, end: float) -> None:
        while self._open and (left := end - time.monotonic()) > 0:
            for number, _ in self._poll.poll(left):
                self._receive(self._open[number])

    def _connect(self) -> None:
        connection = _Connection(socket.create_connection(self._address, timeout=PATIENCE))
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)
        self._send(connection)

    def _send(self, connection: _Connection) -> None:
        connection.began = time.monotonic()
        connection.received = b""
        connection.request = next(self._requests)
        try:
            connection.socket.sendall(connection.request)
        except OSError as error:
            self._failed(connection, type(error).__name__)

    def _receive(self, connection: _Connection) -> None:
        try:
            piece = connection.socket.recv(65536)
        except OSError as error:
            self._failed(connection, type(error).__name__)
            return
        if not piece:
            self._failed(connection, "connection closed")
            return
        connection.received += piece
        if _is_whole(connection.received):
            self._answered(connection)

    def _answered(self, connection: _Connection) -> None:
        now = time.monotonic()
        self._burst.waits.append(now - connection.began)
        reason = self._check(connection.request, connection.received)
        if reason is None:
            self._burst.acknowledged += 1
            self._burst.in_time += self._start <= now <= self._end
        else:
            self._burst.errors[reason] += 1
        if now < self._end:
            self._send(connection)
        else:
            self._close(connection)

    def _failed(self, connection: _Connection, reason: str) -> None:
        self._burst.errors[reason] += 1
        self._burst.waits.append(time.monotonic() - connection.began)
        self._close(connection)
        if time.monotonic() < self._end:
            self._connect()

    def _close(self, connection: _Connection) -> None:
        del self._open[connection.socket.fileno()]
        self._poll.unregister(connection.socket)
        connection.socket.close()


def _status_check(status: int | None) -> Check:
    expected = b"2" if status is None else str(status).encode()

    def check(request: bytes, response: bytes) -> str | None:
        found = response[9:12]
        return None if found.startswith(expected) else f"status {found.decode()}"

    return check


def _is_whole(received: bytes) -> bool:
    head = received.find(_END_OF_HEAD)
    if head < 0:
        return False
    end = head + len(_END_OF_HEAD)
    if length := _LENGTH.search(received, 0, end):
        return len(received) >= end + int(length[1])
    # the bodies here are JSON, which has no line break, so only the last chunk ends like this
    return _CHUNKED.search(received, 0, end) is not None and received.endswith(_LAST_CHUNK)
